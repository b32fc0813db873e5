"""The enqueuers of Keras 2, on befit's engines: ``start``, then batches from ``get()``, then ``stop``.

``OrderedEnqueuer`` runs over a ``Loader``. A generator cannot be divided, so ``GeneratorEnqueuer`` reads it
in one thread.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import threading
import warnings
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from befit._internal.arguments import as_count
from befit.errors import LoaderError, UnsupportedObjectError
from befit.loading.enqueuer_queue import EnqueuerQueue, ItemQueue, QueuedBatch, ResultQueue
from befit.loading.item_buffer import END, ItemBuffer, fill, read_item
from befit.loading.loader import Loader
from befit.typing import Batch, BatchSource

_numbers = itertools.count(1)


class SequenceEnqueuer(ABC):
    """Base class to enqueue inputs: a source, read ahead by workers.

    The stream of batches that ``get()`` returns is endless, unless its source ends.

    Example:
        >>> from befit import Sequence
        >>> from befit.loading import OrderedEnqueuer
        >>> enqueuer = OrderedEnqueuer(Sequence.from_arrays([1, 2, 3], batch_size=2))
        >>> enqueuer.start(workers=2, max_queue_size=10)
        >>> batches = enqueuer.get()
        >>> [next(batches).tolist() for _ in range(3)]
        [[1, 2], [3], [1, 2]]
        >>> enqueuer.stop()

    Source: Keras 2.1, ``keras.utils.SequenceEnqueuer``.
    """

    _started = False

    @abstractmethod
    def is_running(self) -> bool:
        """Return whether batches may be taken: from ``start`` until ``stop``, the end or an error."""

    @abstractmethod
    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """Start the workers.

        Args:
            workers: Batches that are made at a time; 0: each when it is asked for, by the caller.
            max_queue_size: Batches that are in work or ready ahead of the consumer.

        Raises:
            ArgumentError: a number is out of range.
            LoaderError: the enqueuer is running.
        """

    @abstractmethod
    def stop(self, timeout: float | None = None) -> None:
        """Stop the workers and wait for them; ``start`` may be called again.

        Args:
            timeout: Seconds to wait at most; ``None``: as long as they take.
        """

    @property
    @abstractmethod
    def queue(self) -> EnqueuerQueue:
        """What was read ahead, for loops that poll: ``empty()``, ``qsize()``, ``full()``, ``get()``."""

    @abstractmethod
    def _next(self) -> Any:
        """Return the next batch, or ``END``."""

    def get(self) -> Iterator[Batch]:
        """Return a generator of batches; it skips those that are ``None``.

        All generators of one enqueuer share its batches, and may be used in different threads. They end after
        ``stop``.

        Raises:
            LoaderError: (iterating) ``start`` was never called.
        """
        if not self._started:
            raise LoaderError(f"this {type(self).__name__} was not started; call start(workers=...) before")
        while self.is_running():
            batch = self._next()
            if batch is END:
                return
            if batch is not None:
                yield batch

    def _check_startable(self) -> None:
        if self.is_running():
            raise LoaderError(f"this {type(self).__name__} is running; call stop() before start()")
        self._started = True


class _Run(NamedTuple):
    """From ``start`` to ``stop``."""

    loader: Loader
    due: deque[QueuedBatch]


class OrderedEnqueuer(SequenceEnqueuer):
    """Makes the batches of a sequence ahead of time, one epoch after the other, without end.

    In each epoch every batch comes exactly once, in order; then ``sequence.on_epoch_end()`` is called, once.
    An exception in ``__getitem__`` is raised where its batch is due, and stops the enqueuer.

    Args:
        sequence: A ``Sequence``.
        use_multiprocessing: Make batches in processes, not in threads. They are not forked.
        shuffle: Take the batches in a new random order in each epoch.

    Raises:
        UnsupportedObjectError: ``sequence`` has no ``__len__`` or no ``__getitem__``.

    Example:
        >>> from befit import Sequence
        >>> from befit.loading import OrderedEnqueuer
        >>> enqueuer = OrderedEnqueuer(Sequence.from_arrays([1, 2, 3, 4], batch_size=2))
        >>> enqueuer.start(workers=2)
        >>> [batch.tolist() for batch, _ in zip(enqueuer.get(), range(4))]
        [[1, 2], [3, 4], [1, 2], [3, 4]]
        >>> enqueuer.stop()

    Source: Keras 2.1, ``keras.utils.OrderedEnqueuer``.
    """

    def __init__(
        self, sequence: BatchSource, use_multiprocessing: bool = False, shuffle: bool = False
    ) -> None:
        Loader(sequence)  # says what is wrong with it, here and not at start()
        self.sequence = sequence
        self.use_multiprocessing = use_multiprocessing
        self.shuffle = shuffle
        self.workers = 0
        self._ahead = 0
        self._run: _Run | None = None
        self._epoch: Iterator[Batch] | None = None
        # One thread at a time asks the loader, or ends it; on_epoch_end, called meanwhile, may call stop().
        self._lock = threading.RLock()

    def is_running(self) -> bool:
        """Return whether batches may be taken: from ``start`` until ``stop`` or an error."""
        return self._run is not None

    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """Begin an epoch; workers start with the first batch that is asked for.

        Args:
            workers: Threads or processes; 0: each batch when it is asked for, by the caller.
            max_queue_size: Batches that are in work or ready ahead of the consumer, at least one per worker.

        Raises:
            ArgumentError: a number is out of range.
            LoaderError: the enqueuer is running.
        """
        workers = as_count("workers", workers, minimum=0)
        ahead = as_count("max_queue_size", max_queue_size)
        self._check_startable()
        self.workers = workers
        self._ahead = ahead
        loader = Loader(
            self.sequence,
            workers=workers,
            engine="processes" if self.use_multiprocessing and workers else "auto",
            prefetch=max(1, ahead // max(1, workers)),
            shuffle=self.shuffle,
        )
        self._run = _Run(loader, deque())

    def stop(self, timeout: float | None = None) -> None:
        """Stop the workers; an epoch that is cut off is not ended by ``on_epoch_end``.

        Args:
            timeout: Seconds to wait for a consumer in another thread that is waiting for its batch; ``None``:
                as long as it takes.
        """
        run, self._run = self._run, None  # from here on, no generator asks for more
        if run is None or not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            return  # what was not waited for is closed by that consumer, in _load_next
        try:
            self._epoch = None
            run.loader.close()
        finally:
            self._lock.release()

    @property
    def queue(self) -> ResultQueue:
        """The queue of batches to come: ``queue.get()`` returns at once, and ``get()`` of that the batch.

        Example:
            >>> from befit.loading import OrderedEnqueuer
            >>> enqueuer = OrderedEnqueuer([["x", "y"], ["v", "w"]])
            >>> enqueuer.start()
            >>> while enqueuer.is_running():
            ...     if not enqueuer.queue.empty():
            ...         batch = enqueuer.queue.get().get()
            ...         break
            >>> batch, next(enqueuer.get())
            (['x', 'y'], ['v', 'w'])
            >>> enqueuer.stop()
        """
        return ResultQueue(self._ahead, self.is_running, self._promise)

    def _promise(self) -> QueuedBatch:
        run = self._run
        due = deque() if run is None else run.due
        return QueuedBatch(due, functools.partial(self._load_next, run), self._lock)

    def _next(self) -> Any:
        return self._promise().wait()

    def _load_next(self, run: _Run | None) -> Any:
        """Return the next batch of ``run``, or ``END`` where it is over; the lock is held."""
        if run is None or self._run is not run:
            return END
        try:
            return self._next_of(run.loader)
        except BaseException:
            self._run = None
            raise
        finally:
            if self._run is not run:
                self._epoch = None
                run.loader.close()

    def _next_of(self, loader: Loader) -> Batch:
        if self._epoch is not None:
            batch = next(self._epoch, END)
            if batch is not END:
                return batch
        self._epoch = iter(loader)
        batch = next(self._epoch, END)
        if batch is END:
            raise LoaderError(
                f"{type(self.sequence).__qualname__} has no batches: its len() is 0, and the stream of an "
                "enqueuer is endless"
            )
        return batch


class GeneratorEnqueuer(SequenceEnqueuer):
    """Reads a generator ahead, in a thread; each of its items is delivered exactly once.

    A generator makes one item after the other, so there is one thread, however many workers are asked for;
    what should be made in parallel belongs into a ``Sequence``. Items come in the generator's order. When the
    generator ends, ``get()`` ends; an exception in it is raised after the items before it, with its own type,
    and stops the enqueuer. What was read ahead when ``stop`` is called comes first after the next ``start``.

    Args:
        generator: A generator, or another iterator.
        use_multiprocessing: Has no effect but a warning: processes would each deliver every item.
        wait_time: Has no effect: nobody polls.
        random_seed: Has no effect: it was for processes.

    Raises:
        UnsupportedObjectError: ``generator`` is no iterator.

    Example:
        >>> from befit.loading import GeneratorEnqueuer
        >>> enqueuer = GeneratorEnqueuer(number**2 for number in range(4))
        >>> enqueuer.start(max_queue_size=2)
        >>> list(enqueuer.get())
        [0, 1, 4, 9]
        >>> enqueuer.is_running()
        False

    Source: Keras 2.1, ``keras.utils.GeneratorEnqueuer``.
    """

    def __init__(
        self,
        generator: Iterator[Batch],
        use_multiprocessing: bool = False,
        wait_time: float = 0.05,
        random_seed: int | None = None,
    ) -> None:
        if not hasattr(generator, "__next__"):
            raise UnsupportedObjectError(
                f"{type(generator).__qualname__} is no generator; write iter(...) around it, or "
                "OrderedEnqueuer for a Sequence"
            )
        if use_multiprocessing:
            warnings.warn(
                "GeneratorEnqueuer reads its generator in a thread: each of several processes would repeat "
                "every item; make it a befit.Sequence and use OrderedEnqueuer(..., use_multiprocessing=True)",
                stacklevel=2,
            )
        self.use_multiprocessing = use_multiprocessing
        self.wait_time = wait_time
        self.random_seed = random_seed
        self._generator = generator
        self._buffer = ItemBuffer()
        self._reads_ahead = False
        self._threads: list[threading.Thread] = []
        # The thread refers to buffer and generator, not to the enqueuer: dropping that ends the thread.
        weakref.finalize(self, self._buffer.close)

    def is_running(self) -> bool:
        """Return whether items may be taken: from ``start`` until ``stop``, the end or an error."""
        return self._buffer.is_open()

    def start(self, workers: int = 1, max_queue_size: int = 10) -> None:
        """Start reading ahead.

        Args:
            workers: 0: each item is made when it is asked for, by the caller; otherwise there is one thread.
            max_queue_size: Items that are ready ahead of the consumer, at most.

        Raises:
            ArgumentError: a number is out of range.
            LoaderError: the enqueuer is running.
        """
        workers = as_count("workers", workers, minimum=0)
        size = as_count("max_queue_size", max_queue_size)
        self._check_startable()
        self._buffer.open(size)
        self._reads_ahead = workers > 0
        if not self._reads_ahead:
            return
        # The generator's code sees the caller's context: a custom_object_scope that is open now, for one.
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(fill, self._buffer, self._generator, self._buffer.life),
            name=f"befit-enqueuer-{next(_numbers)}",
            daemon=True,
        )
        self._threads = [*(old for old in self._threads if old.is_alive()), thread]
        thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Stop reading, and wait for the item in hand.

        Args:
            timeout: Seconds to wait at most; ``None``: as long as the item takes.
        """
        self._buffer.close()
        for thread in self._threads:
            if thread is not threading.current_thread():  # the generator itself may call stop()
                thread.join(timeout)

    @property
    def queue(self) -> ItemQueue:
        """The queue of items that are ready; ``queue.get()`` returns an item.

        Example:
            >>> import time
            >>> from befit.loading import GeneratorEnqueuer
            >>> enqueuer = GeneratorEnqueuer(number**2 for number in range(4))
            >>> enqueuer.start()
            >>> items = []
            >>> while enqueuer.is_running():
            ...     if not enqueuer.queue.empty():
            ...         items.append(enqueuer.queue.get())
            ...     else:
            ...         time.sleep(enqueuer.wait_time)
            >>> items
            [0, 1, 4, 9]
        """
        return ItemQueue(self._buffer, self._make_one)

    def _make_one(self) -> None:
        """Read an item if none is there and no thread reads."""
        if self._reads_ahead:
            return
        with self._buffer.reading:
            if self._buffer.is_open() and self._buffer.is_empty():
                read_item(self._buffer, self._generator)

    def _next(self) -> Any:
        if self._reads_ahead:
            return self._buffer.take()
        with self._buffer.reading:  # until the item is taken: a second consumer makes its own
            if self._buffer.is_empty():
                read_item(self._buffer, self._generator)
            return self._buffer.take()
