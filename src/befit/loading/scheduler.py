"""The scheduler: which batch is next, what is in work, what was delivered, and when an epoch is over.

It is the same for every engine, so the batches and their order are too.
"""

from __future__ import annotations

import enum
import itertools
import sys
import time
import weakref

from befit.errors import LoaderError, WorkerDiedError, WorkerTimeoutError
from befit.loading.randomness import permutation
from befit.typing import Batch, BatchSource, LoadEngine, LoadResult, LoadTask


class Scheduler:
    """Owns the source, the engine and the count of epochs; at most one of its epochs runs at a time."""

    def __init__(
        self,
        source: BatchSource,
        engine: LoadEngine,
        *,
        window: int,
        order_seed: int | None,
        seed: int | None,
        timeout: float | None,
    ) -> None:
        self.source = source
        self.engine = engine
        self.window = window  # batches in work or ready ahead of the consumer
        self.timeout = timeout
        self.epoch = 0
        self._order_seed = order_seed
        self._seed = seed
        self._tickets = itertools.count()
        # Weak, so that an iterator that its consumer drops ends at once.
        self._running: weakref.ref[Epoch] | None = None

    def begin(self, epoch: Epoch) -> list[int]:
        """End the epoch before, start the engine on the source as it is now, and return the new order."""
        self.end_running()
        length = len(self.source)
        order = list(range(length))
        if self._order_seed is not None:
            order = [int(index) for index in permutation(length, self._order_seed, self.epoch)]
        self._running = weakref.ref(epoch)
        self.engine.start(self.source)
        return order

    def end_running(self) -> None:
        """Close the epoch that runs, if one does."""
        running = self._running() if self._running is not None else None
        if running is not None:
            running.close()
        self._running = None

    def task(self, index: int) -> LoadTask:
        """Return a new task for the batch ``index`` of this epoch."""
        seed = None if self._seed is None else (self._seed, self.epoch)
        return LoadTask(next(self._tickets), index, seed)

    def close(self) -> None:
        """End the running epoch, then the engine."""
        try:
            self.end_running()
        finally:
            self.engine.close()


class _State(enum.Enum):
    NEW = enum.auto()  # nothing was asked for yet
    RUNNING = enum.auto()
    CUT_OFF = enum.auto()  # ended from outside, before the last batch
    OVER = enum.auto()  # complete, or ended by an error that was raised


class Epoch:
    """One pass over the source: an iterator that delivers each batch once, in order.

    It begins with the first ``next``. It is complete when the last batch was delivered and the consumer is
    done with that batch: when it asks for another, drops or closes the iterator, or begins the next epoch.
    Then, and only then, ``source.on_epoch_end`` is called.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._state = _State.NEW
        self._number = 0
        self._order: list[int] = []
        self._submitted = 0  # positions below were given to the engine
        self._delivered = 0  # positions below were given to the consumer
        self._in_work: dict[int, int] = {}  # ticket -> position
        self._ready: dict[int, LoadResult] = {}  # position -> result
        self._repeated: set[int] = set()  # positions whose worker died once
        self.only_looked_at = False  # while it is set, ending the epoch leaves no trace

    def __iter__(self) -> Epoch:
        return self

    @property
    def all_delivered(self) -> bool:
        """Whether the last batch was handed out."""
        return self._state is not _State.NEW and self._delivered == len(self._order)

    def __next__(self) -> Batch:
        if self._state is _State.NEW:
            self._order = self._scheduler.begin(self)
            self._number = self._scheduler.epoch
            self._state = _State.RUNNING
        if self._state is _State.CUT_OFF:
            raise LoaderError(
                f"this epoch was ended after {self._delivered} of {len(self._order)} batches, by close() or "
                "because another one was begun on the same Loader; write a second Loader(sequence) for a "
                "second iteration"
            )
        if self.all_delivered:
            self.close()
        if self._state is _State.OVER:
            raise StopIteration
        try:
            result = self._wait_for(self._delivered)
            if result.error is None:
                self._delivered += 1
                self._submit_ahead()
        except BaseException:
            self._end(_State.OVER)
            self._scheduler.engine.close()  # a message may be half read, a worker may hang
            raise
        if result.error is not None:
            self._end(_State.OVER)
            error = _explained(result.error, self._order[self._delivered], self._number)
            del result
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return result.batch

    def close(self) -> None:
        """End the epoch: a complete one with ``on_epoch_end``, any other without."""
        if self._state in (_State.CUT_OFF, _State.OVER):
            return
        complete = self.all_delivered
        self._end(_State.OVER if complete or self._state is _State.NEW else _State.CUT_OFF)
        if complete and not self.only_looked_at:
            on_epoch_end = getattr(self._scheduler.source, "on_epoch_end", None)
            if on_epoch_end is not None:
                on_epoch_end()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()

    def _end(self, state: _State) -> None:
        used = not self.only_looked_at and (self._delivered or not self._order)
        if self._state is _State.RUNNING and used:
            self._scheduler.epoch += 1
        self._state = state
        self._ready.clear()
        self._in_work.clear()

    def _submit_ahead(self) -> None:
        while self._submitted < min(len(self._order), self._delivered + self._scheduler.window):
            self._submit(self._submitted)
            self._submitted += 1

    def _submit(self, position: int) -> None:
        task = self._scheduler.task(self._order[position])
        self._in_work[task.ticket] = position
        self._scheduler.engine.submit(task)

    def _wait_for(self, position: int) -> LoadResult:
        timeout = self._scheduler.timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        self._submit_ahead()
        while position not in self._ready:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                result = self._scheduler.engine.next_ready(remaining)
            except TimeoutError:
                raise WorkerTimeoutError(
                    f"batch index {self._order[position]} did not come within {timeout} s; "
                    f"{len(self._in_work)} batches are in work: indices "
                    f"{[self._order[other] for other in sorted(self._in_work.values())]}; "
                    "pass a larger timeout, or find out where its __getitem__ waits"
                ) from None
            self._take(result)
        return self._ready.pop(position)

    def _take(self, result: LoadResult) -> None:
        position = self._in_work.pop(result.ticket, None)
        if position is None:
            return  # of an epoch that was abandoned
        if isinstance(result.error, WorkerDiedError):
            if position not in self._repeated:
                self._repeated.add(position)
                self._submit(position)
                return
            result = result._replace(
                error=WorkerDiedError(
                    f"batch index {self._order[position]} killed two workers, one after the other: "
                    f"{result.error}"
                )
            )
        self._ready[position] = result


def _explained(error: BaseException, index: int, epoch: int) -> BaseException:
    """Return ``error`` with the batch it came from, fit to be raised by ``__next__``."""
    if isinstance(error, StopIteration):
        # Raised as it is, it would end the consumer's loop as if the epoch were complete.
        stopped = LoaderError(
            f"__getitem__({index}) raised StopIteration; raise an error that says what is wrong"
        )
        stopped.__cause__ = error
        error = stopped
    error.add_note(f"befit: while loading batch index {index} in epoch {epoch}")
    return error
