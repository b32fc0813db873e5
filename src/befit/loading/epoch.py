"""One epoch: an iterator over batches that engines compute in any order."""

from __future__ import annotations

import enum
import sys
import time
from typing import TYPE_CHECKING

from befit.errors import LoaderError, WorkerDiedError, WorkerTimeoutError
from befit.typing import Batch, LoadResult

if TYPE_CHECKING:
    from befit.loading.scheduler import Scheduler


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
        self.number = 0
        self._start = 0  # batches of the epoch that were used in an earlier life
        self._order: list[int] = []
        self._submitted = 0  # positions below were given to the engine
        self._delivered = 0  # positions below were given to the consumer
        self._in_work: dict[int, int] = {}  # ticket -> position
        self._ready: dict[int, LoadResult] = {}  # position -> result
        self._repeated: set[int] = set()  # positions whose worker died once
        self.only_looked_at = False  # while it is set, ending the epoch leaves no trace
        self._read_ahead = 0

    def __iter__(self) -> Epoch:
        return self

    def __len__(self) -> int:
        """How many batches it delivers; known once it has begun."""
        return len(self._order)

    @property
    def is_running(self) -> bool:
        """Whether it has begun, and is neither complete nor cut off."""
        return self._state is _State.RUNNING

    @property
    def all_delivered(self) -> bool:
        """Whether the last batch was handed out."""
        return self._state is not _State.NEW and self._delivered == len(self._order)

    @property
    def read_ahead(self) -> int:
        """Batches that were delivered and not used yet: they wait somewhere behind this iterator."""
        return self._read_ahead

    @read_ahead.setter
    def read_ahead(self, count: int) -> None:
        self._read_ahead = count
        if self._state is _State.OVER:  # after an error; what waits is used all the same
            self._scheduler.went_on(self.number, self.position)

    @property
    def position(self) -> int:
        """How many batches of the epoch all ranks together have used; may count repeated ones at its end."""
        return self._start + self._used * self._scheduler.shard.world

    @property
    def _used(self) -> int:
        return 0 if self.only_looked_at else self._delivered - self._read_ahead

    def __next__(self) -> Batch:
        meter = self._scheduler.meter
        asked = meter.clock()
        if self._state is not _State.RUNNING or self._delivered == len(self._order):
            self._begin_or_end()
        position = self._delivered
        try:
            result = self._ready.pop(position, None) or self._wait_for(position)
            if result.error is None:
                self._delivered = position + 1
                self._submit_ahead()
                cost = result.seconds, result.nbytes, result.cpu_seconds
                meter.delivered(asked, self._order[position], *cost)
                return result.batch
        except BaseException:
            self._delivered = position  # the batch did not reach the consumer
            self._end(_State.OVER)
            self._scheduler.engine.close()  # a message may be half read, a worker may hang
            raise
        self._end(_State.OVER)
        error = _explained(result.error, self._order[position], self.number)
        del result
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    def _begin_or_end(self) -> None:
        """Begin an epoch that is new; raise where there is no next batch."""
        if self._state is _State.NEW:
            self._order, self._start = self._scheduler.begin(self)
            self.number = self._scheduler.epoch
            self._state = _State.RUNNING
            self._scheduler.meter.begin_epoch(self.number)
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

    def close(self) -> None:
        """End the epoch: a complete one with ``on_epoch_end``, any other without."""
        if self._state in (_State.CUT_OFF, _State.OVER):
            return
        complete = self.all_delivered and not self._read_ahead
        self._end(_State.OVER if complete or self._state is _State.NEW else _State.CUT_OFF)
        if complete and not self.only_looked_at:
            on_epoch_end = getattr(self._scheduler.source, "on_epoch_end", None)
            if on_epoch_end is not None:
                on_epoch_end()

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()

    def _end(self, state: _State) -> None:
        if self._state is _State.RUNNING:
            complete = self.all_delivered and not self._read_ahead
            failed = state is _State.OVER and self._delivered > 0 and not complete
            if not self.only_looked_at and (self._used or complete or failed):
                self._scheduler.ended(self.number, self.position, complete=complete)
            else:
                self._scheduler.not_begun(self._start)
        self._state = state
        self._ready.clear()
        self._in_work.clear()

    def _submit_ahead(self) -> None:
        window = self._scheduler.window * self._scheduler.engine.stretch
        end = min(len(self._order), self._delivered + window)
        while self._submitted < end:
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
        if result.worker_died:
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
