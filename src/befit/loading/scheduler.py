"""The scheduler: which batch is next, what is in work, what was delivered, and when an epoch is over.

It is the same for every engine, so the batches and their order are too.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence

from befit.errors import LoaderError
from befit.loading.epoch import Epoch
from befit.loading.meter import Meter
from befit.loading.randomness import permutation
from befit.loading.shards import Shard
from befit.typing import BatchSource, LoadEngine, LoadTask


class Scheduler:
    """Owns the source, the engine and the count of epochs; at most one of its epochs runs at a time.

    Args:
        source: Where batches come from.
        engine: What computes them.
        window: Batches in work or ready ahead of the consumer.
        order_seed: Decides the order of the batches in each epoch; ``None``: the order of their numbers.
        seed: Decides the random numbers in each batch; ``None``: nothing does.
        timeout: Seconds to wait for a batch; ``None``: for ever.
        shard: The part of each epoch that is delivered here.
        meter: Counts what is delivered.
    """

    def __init__(
        self,
        source: BatchSource,
        engine: LoadEngine,
        *,
        window: int,
        order_seed: int | None,
        seed: int | None,
        timeout: float | None,
        shard: Shard = Shard(),  # noqa: B008 - a value
        meter: Meter | None = None,
    ) -> None:
        self.source = source
        self.engine = engine
        self.window = window
        self.timeout = timeout
        self.shard = shard
        self.meter = meter if meter is not None else Meter("inline", 0, window)
        self.order_seed = order_seed
        self.seed = seed
        self.epoch = 0
        self._resume_at = 0  # batches of the next epoch that were used in an earlier life
        self._stopped_at: tuple[int, int] | None = None  # epoch and position where the last epoch was cut off
        self._tickets = itertools.count()
        # Weak, so that an iterator that its consumer drops ends at once.
        self._running: weakref.ref[Epoch] | None = None

    def begin(self, epoch: Epoch) -> tuple[list[int], int]:
        """End the epoch before, and start the engine on the source as it is now.

        Returns: The batches to deliver, and how many of the whole epoch come before the first of them.
        """
        self.end_running()
        order, position = self._order(), self._resume_at
        if position > len(order):
            raise LoaderError(
                f"the state was saved {position} batches into an epoch, and "
                f"{type(self.source).__qualname__} has {len(order)} batches now; load the state of the same "
                "data with the same batch size"
            )
        mine = self.shard.take(order, position)
        self._running = weakref.ref(epoch)
        try:
            self.engine.start(self.source)
        except BaseException:
            self.engine.close()  # some workers may have been told what changed, and some not
            raise
        self._resume_at, self._stopped_at = 0, None
        return mine, position

    def end_running(self) -> None:
        """Close the epoch that runs, if one does."""
        running = self._running() if self._running is not None else None
        if running is not None:
            running.close()
        self._running = None

    def ended(self, number: int, position: int, *, complete: bool) -> None:
        """Note that epoch ``number`` is over, ``position`` batches into it."""
        self.epoch = number + 1
        if not complete:
            self._stopped_at = number, position

    def went_on(self, number: int, position: int) -> None:
        """Note that batches of epoch ``number``, which an error has ended, were used after that."""
        if self._stopped_at is not None and self._stopped_at[0] == number:
            self._stopped_at = number, position

    def not_begun(self, position: int) -> None:
        """Note that an epoch was only looked at: the next one begins where it did."""
        self._resume_at = position

    def task(self, index: int) -> LoadTask:
        """Return a new task for the batch ``index`` of this epoch."""
        seed = None if self.seed is None else (self.seed, self.epoch)
        return LoadTask(next(self._tickets), index, seed)

    def place(self) -> tuple[int, int]:
        """Return the epoch, and how many of its batches all ranks together have used."""
        running = self._running() if self._running is not None else None
        if running is not None and running.is_running:
            return running.number, min(running.position, len(self.source))
        if self._stopped_at is not None:
            return self._stopped_at[0], min(self._stopped_at[1], len(self.source))
        return self.epoch, self._resume_at

    def go_to(self, epoch: int, position: int) -> None:
        """Let the next epoch be ``epoch``, without its first ``position`` batches."""
        self.end_running()
        self.epoch, self._resume_at, self._stopped_at = epoch, position, None

    def length(self) -> int:
        """Return how many batches a whole epoch delivers here."""
        return len(self.shard.take(range(len(self.source)), 0))

    def remaining(self) -> int:
        """Return how many the next epoch delivers here, which may be the rest of one."""
        running = self._running() if self._running is not None else None
        if running is not None and running.only_looked_at:
            return len(running)
        return len(self.shard.take(range(len(self.source)), self._resume_at))

    def close(self) -> None:
        """End the running epoch, then the engine."""
        try:
            self.end_running()
        finally:
            self.engine.close()

    def _order(self) -> Sequence[int]:
        length = len(self.source)
        if self.order_seed is None:
            return range(length)
        order: list[int] = permutation(length, self.order_seed, self.epoch).tolist()
        return order
