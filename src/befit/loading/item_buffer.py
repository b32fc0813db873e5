"""What a generator made, between the thread that reads it and those who wait for it."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from befit.typing import Batch

END = object()
"""What ``ItemBuffer.take`` returns in place of an item when none will come."""


class ItemBuffer:
    """Items between the thread that reads a generator and its consumers; keeps them while it is closed.

    The end of the generator, and an exception in it, stand behind its last item. Whoever holds ``reading``,
    and nobody else, calls the generator and puts items in.
    """

    def __init__(self) -> None:
        self.reading = threading.Lock()
        self.life = 0  # how often it was opened; a thread of an earlier life ends
        self._changed = threading.Condition()
        self._items: deque[Any] = deque()
        self._size = 0
        self._is_open = False
        self._is_complete = False  # nothing follows the items
        self._error: BaseException | None = None

    def open(self, size: int) -> None:
        """Let items in, ``size`` at most, and out."""
        with self._changed:
            self._size = size
            self._is_open = True
            self.life += 1

    def close(self) -> None:
        """Send everybody away who waits; the items stay."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def is_open(self) -> bool:
        """Return whether items go in and out; closes it where all are out and nothing follows.

        So those who look, and do not wait in ``take``, learn of the end, too.
        """
        with self._changed:
            if self._is_complete and not self._items and self._error is None:
                self._end()
            return self._is_open

    def is_empty(self) -> bool:
        """Return whether ``take`` would have to wait."""
        with self._changed:
            return not self._items and not self._is_complete

    def count(self) -> int:
        """Return how many items can be taken."""
        with self._changed:
            return len(self._items) if self._is_open else 0

    def is_full(self) -> bool:
        """Return whether no item is let in."""
        with self._changed:
            return self._is_open and len(self._items) >= self._size

    def wait_for_room(self, life: int) -> bool:
        """Return whether another item is wanted, as soon as that is known."""

        def over() -> bool:
            return not self._is_open or self._is_complete or life != self.life

        with self._changed:
            # It looks again every second: the garbage collector may close the buffer in this very thread,
            # just before it sleeps.
            while not self._changed.wait_for(lambda: over() or len(self._items) < self._size, timeout=1.0):
                pass
            return not over()

    def put(self, item: Any) -> None:
        """Append ``item``, also after ``close``: it was taken from the generator and must not be lost."""
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def complete(self, error: BaseException | None) -> None:
        """Note that nothing follows, or only ``error``."""
        with self._changed:
            self._is_complete, self._error = True, error
            self._changed.notify_all()

    def take(self, timeout: float | None = None) -> Any:
        """Wait for an item; ``END``: it is closed, or the generator's end was reached, which closes it.

        Raises:
            queue.Empty: ``timeout`` seconds have passed.
        """
        with self._changed:
            there = self._changed.wait_for(
                lambda: self._items or self._is_complete or not self._is_open, timeout
            )
            if not there:
                raise queue.Empty(f"no item was ready within {timeout} s")
            if not self._is_open:
                return END
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
            error, self._error = self._error, None
            self._end()
        if error is None:
            return END
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _end(self) -> None:
        self._is_open = self._is_complete = False  # what is no generator may have more after a restart
        self._changed.notify_all()


def fill(buffer: ItemBuffer, generator: Iterator[Batch], life: int) -> None:
    """Run in the thread of a ``GeneratorEnqueuer``."""
    with buffer.reading:  # held for a whole life: a thread that a timed-out stop() left behind is waited for
        while buffer.wait_for_room(life):
            read_item(buffer, generator)


def read_item(buffer: ItemBuffer, generator: Iterator[Batch]) -> None:
    """Put the generator's next item, or what came instead, into the buffer."""
    try:
        item = next(generator)
    except StopIteration:
        buffer.complete(None)
    except BaseException as error:  # noqa: BLE001 - it is raised where the item is asked for
        buffer.complete(error)
    else:
        buffer.put(item)
