"""What ``enqueuer.queue`` is: the reading side of a ``queue.Queue``, for loops that poll as in Keras 2."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from befit.errors import ArgumentError, LoaderError
from befit.loading.item_buffer import END, ItemBuffer
from befit.typing import Batch

__all__ = ["EnqueuerQueue", "ItemQueue", "QueuedBatch", "ResultQueue"]

_PENDING = object()


class EnqueuerQueue(ABC):
    """The batches of an enqueuer as a queue; it shares them with ``get()``, each comes once, in order."""

    @abstractmethod
    def empty(self) -> bool:
        """Return whether ``get`` would have to wait, or nothing will come."""

    @abstractmethod
    def qsize(self) -> int:
        """Return how many times ``get`` would not have to wait."""

    @abstractmethod
    def full(self) -> bool:
        """Return whether there are ``max_queue_size``."""

    @abstractmethod
    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return what is next, and take it out.

        Args:
            block: Wait for it.
            timeout: Seconds to wait at most; ``None``: as long as it takes.

        Raises:
            queue.Empty: it is not there, or nothing will come: the source has ended, or ``stop`` was called.
            ArgumentError: ``timeout`` is negative.
        """

    def get_nowait(self) -> Any:
        """Return what is next, if it is there.

        Raises:
            queue.Empty: it is not there.
        """
        return self.get(block=False)


class ItemQueue(EnqueuerQueue):
    """The items of a generator.

    Args:
        buffer: Where they are.
        make_one: Makes sure that one is there, where no thread does.
    """

    def __init__(self, buffer: ItemBuffer, make_one: Callable[[], None]) -> None:
        self._buffer = buffer
        self._make_one = make_one

    def empty(self) -> bool:
        """Return whether no item is ready, nor an error that ``get`` would raise."""
        self._make_one()
        return not self._buffer.is_open() or self._buffer.is_empty()

    def qsize(self) -> int:
        """Return how many items are ready."""
        self._make_one()
        return self._buffer.count()

    def full(self) -> bool:
        """Return whether ``max_queue_size`` items are ready."""
        self._make_one()
        return self._buffer.is_full()

    def get(self, block: bool = True, timeout: float | None = None) -> Batch:
        """Return the next item; ``None`` is one, too.

        An error of the generator is raised where its item is due, and stops the enqueuer.

        Args:
            block: Wait for it.
            timeout: Seconds to wait at most; ``None``: as long as it takes.

        Raises:
            queue.Empty: it is not there, or none will come: the generator has ended, or ``stop`` was called.
            ArgumentError: ``timeout`` is negative.
        """
        _check_timeout(block, timeout)
        self._make_one()
        item = self._buffer.take(timeout if block else 0.0)
        if item is END:
            raise queue.Empty("the generator has ended, or the enqueuer does not run; nothing will come")
        return item


class QueuedBatch:
    """The promise of a batch; ``get`` waits for it. It can be unpacked and indexed as if it were the batch.

    Args:
        due: The promises that are not kept yet, in order; this one is appended.
        load_next: Returns the batch that is next in the source, or ``END``.
        lock: Held by whoever calls ``load_next``.
    """

    def __init__(self, due: deque[QueuedBatch], load_next: Callable[[], Any], lock: threading.RLock) -> None:
        self._batch: Any = _PENDING
        self._due = due
        self._load_next = load_next
        self._lock = lock
        due.append(self)

    def get(self, timeout: float | None = None) -> Batch:
        """Return the batch, as often as it is asked for.

        Args:
            timeout: Has no effect: a worker that dies is noticed, and its batch made again.

        Raises:
            LoaderError: the enqueuer was stopped, or an error stopped it, before the batch was loaded.
            Exception: ``__getitem__`` raised it; it stops the enqueuer.
        """
        batch = self.wait()
        if batch is END:
            raise LoaderError(
                "the enqueuer was stopped, or an error stopped it, before this batch was loaded; call get() "
                "before stop()"
            )
        return batch

    def wait(self) -> Any:
        """Return the batch, or ``END`` where the enqueuer was stopped before."""
        with self._lock:
            while self._batch is _PENDING:  # those before it come first, also where nobody has asked for them
                batch = self._load_next()
                if batch is END:
                    return END
                self._due.popleft()._batch = batch
        return self._batch

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get())

    def __len__(self) -> int:
        return len(self.get())

    def __getitem__(self, index: Any) -> Any:
        return self.get()[index]


class ResultQueue(EnqueuerQueue):
    """The batches of a sequence as promises, which are there as soon as the enqueuer runs.

    Args:
        size: How many batches are in work or ready.
        is_running: Whether there will be more.
        promise: Returns the next one.
    """

    def __init__(self, size: int, is_running: Callable[[], bool], promise: Callable[[], QueuedBatch]) -> None:
        self._size = size
        self._is_running = is_running
        self._promise = promise

    def empty(self) -> bool:
        """Return whether the enqueuer does not run."""
        return not self._is_running()

    def qsize(self) -> int:
        """Return ``max_queue_size`` while the enqueuer runs, and 0 otherwise."""
        return self._size if self._is_running() else 0

    def full(self) -> bool:
        """Return whether the enqueuer runs."""
        return self._is_running()

    def get(self, block: bool = True, timeout: float | None = None) -> QueuedBatch:
        """Return the promise of the next batch, at once; its own ``get()`` returns the batch.

        Args:
            block: Has no effect: nobody has to wait.
            timeout: Has no effect.

        Raises:
            queue.Empty: the enqueuer does not run.
            ArgumentError: ``timeout`` is negative.
        """
        _check_timeout(block, timeout)
        if not self._is_running():
            raise queue.Empty(
                "the enqueuer does not run, so nothing will come; call start(workers=...) before"
            )
        return self._promise()

    def task_done(self) -> None:
        """Has no effect: an epoch ends when a batch of the next one is asked for."""


def _check_timeout(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and not timeout >= 0:
        raise ArgumentError(f"timeout is {timeout!r}; write seconds from 0 on, or None to wait for ever")
