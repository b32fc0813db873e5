"""The items of an iterator, read in order, ahead of whoever takes them, and never beyond what is wanted."""

from __future__ import annotations

import contextvars
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["END", "ReadAhead"]

END = object()
"""What ``ReadAhead.take`` returns in place of an item when none will come."""

_numbers = itertools.count(1)


class ReadAhead:
    """Items between an iterator and its consumer, in passes; what one pass leaves, the next one takes.

    A thread reads, while there is something to read and room for it. It never waits: where it would have to,
    it ends, and ``take`` begins another one. So none is left behind by a consumer that does not come back.

    ``_changed`` guards everything but the iterator, which belongs to whoever holds ``_reading``.

    Args:
        source: The iterator.
        size: Items that are ready ahead of the consumer, at most; 0: each is made when it is asked for.
        own: Makes an item the consumer's alone, before the iterator, which may use it again, goes on.
    """

    def __init__(self, source: Iterator[Any], size: int, own: Callable[[Any], Any]) -> None:
        self._source = source
        self._size = size
        self._own = own
        self._changed = threading.Condition()
        self._reading = threading.Lock()
        self._items: deque[Any] = deque()
        self._life = 0  # the number of the pass; an earlier one gets nothing any more
        self._left: int | None = 0  # items that this pass still takes; None: all there are
        self._context = contextvars.copy_context()
        self._thread: threading.Thread | None = None
        self._has_reader = False  # the thread will look at all this once more before it ends
        self._is_complete = False  # nothing follows the items, or only the error
        self._error: BaseException | None = None
        self._asked = 0  # how often the iterator was asked for an item

    def begin(self, count: int | None, context: contextvars.Context | None = None) -> int:
        """Begin a pass over ``count`` items, or all, and return its number; the pass before is over.

        The code of the iterator sees ``context``, or the caller's.
        """
        with self._changed:
            self._life += 1
            self._left = count
            self._context = context or contextvars.copy_context()
            self._changed.notify_all()
            return self._life

    def end(self, life: int) -> None:
        """End a pass; the thread ends after the item in its hand."""
        with self._changed:
            if life == self._life:
                self._left = 0
                self._changed.notify_all()

    def stop(self, timeout: float | None) -> None:
        """End the pass that runs, and wait for the thread."""
        self.end(self._life)
        self._join(timeout)

    def take(self, life: int, *, keep_error: bool = False) -> Any:
        """Return the next item; ``END``: the pass is over, or the iterator.

        An error of the iterator is raised behind the items before it; ``keep_error``: it stays, and ``END``
        comes.
        """
        while True:
            with self._changed:
                if life != self._life or self._left == 0:
                    return END
                if self._items:
                    item = self._items.popleft()
                    if self._left is not None:
                        self._left -= 1
                    self._read_on()
                    break
                if self._is_complete:
                    if self._error is None or keep_error:
                        return END
                    error, self._error = self._error, None
                    self._is_complete = False  # an iterator that is no generator may have more
                    try:
                        raise error
                    finally:
                        del error  # its traceback holds this frame
                if self._size:
                    self._read_on()
                    self._changed.wait()
                    continue
            self._read_item()
        if self._left == 0:
            self._join(None)  # it has nothing more to read, and is gone before the consumer goes on
        return item

    def look(self, count: int, context: contextvars.Context | None = None) -> list[Any]:
        """Return the next ``count`` items, or fewer if the iterator ends or fails; they stay."""
        life = self.begin(count, context)
        items: list[Any] = []
        try:
            while (item := self.take(life, keep_error=True)) is not END:
                items.append(item)
        finally:
            self.put_back(items)
        return items

    def put_back(self, items: Sequence[Any]) -> None:
        """End the pass, and let the next one begin with ``items``."""
        with self._changed:
            self._left = 0
            self._items.extendleft(reversed(items))
            self._changed.notify_all()

    def _wants_more(self) -> bool:
        return not self._is_complete and (self._left is None or len(self._items) < self._left)

    def _read_on(self) -> None:
        # Not for each item that was taken: a thread reads half of the room at least.
        if self._size and not self._has_reader and self._wants_more() and len(self._items) <= self._size // 2:
            thread = threading.Thread(target=self._read, name=f"befit-stream-{next(_numbers)}", daemon=True)
            thread.start()
            self._thread, self._has_reader = thread, True

    def _read(self) -> None:
        """Run in the thread."""
        while True:
            with self._changed:
                if not self._wants_more() or len(self._items) >= self._size:
                    self._has_reader = False
                    self._changed.notify_all()
                    return
            self._read_item()

    def _read_item(self) -> None:
        item, error, is_complete = None, None, False
        with self._reading:
            self._asked += 1
            try:
                item = self._own(self._context.run(next, self._source))
            except StopIteration:
                is_complete = True
            except BaseException as raised:  # noqa: BLE001 - it is raised where the item is due
                raised.add_note(
                    f"raised by {type(self._source).__qualname__}, which befit.loading.Stream asked for the "
                    f"{self._asked}. time"
                )
                error, is_complete = raised, True
            with self._changed:
                if is_complete:
                    self._is_complete, self._error = True, error
                elif item is not None:
                    self._items.append(item)
                self._changed.notify_all()
        del error  # its traceback holds this frame

    def _join(self, timeout: float | None) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
