"""What a loader measures about its epochs while they run."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable

from befit.loading.stats import LoaderStats, SlowBatch

SLOWEST = 5


class Meter:
    """Adds up what each batch cost; its own cost is two looks at the clock and some additions a batch.

    Written by the epoch that runs, so by one thread at a time. ``stats`` may be called from any thread, and
    may then miss the batch that is being delivered. The arguments are the fields of ``LoaderStats``.
    """

    def __init__(
        self,
        engine: str,
        workers: int,
        prefetch: int,
        *,
        cpus: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self._settings = engine, workers, prefetch, cpus or _usable_cpus()
        self._number: int | None = None  # the epoch that runs
        self._counted: int | None = None  # the last epoch that counts
        self._last: float | None = None  # when its last batch was handed out
        self._first_wait: float | None = None
        self._epochs = self._batches = self._nbytes = 0
        self._start = self._start_load = self._wait = self._busy = self._load = self._cpu = 0.0
        self._cpu_known = True
        self._slowest: list[SlowBatch] = []  # a heap; the least slow one is the first
        self._noteworthy = 0.0  # what a batch has to take to be among them

    def begin_epoch(self, number: int) -> None:
        """Say that what is delivered from now on belongs to a new pass over epoch ``number``."""
        self._number = number
        self._last = None

    def delivered(
        self, asked: float, index: int, load_seconds: float, nbytes: int, cpu_seconds: float | None = None
    ) -> None:
        """Note that batch ``index``, asked for at ``asked`` (of ``clock``), is handed out now.

        ``load_seconds`` and ``cpu_seconds`` (``None``: not measured) are what its ``__getitem__`` took.
        """
        now = self.clock()
        last, self._last = self._last, now
        if last is None:
            self._begin(now - asked, load_seconds)
        else:
            self._wait += now - asked
            self._busy += asked - last
        self._batches += 1
        self._nbytes += nbytes
        self._load += load_seconds
        if cpu_seconds is None:
            self._cpu_known = False
        else:
            self._cpu += cpu_seconds
        if load_seconds > self._noteworthy:
            self._note(SlowBatch(load_seconds, self._number or 0, index))

    def stats(self) -> LoaderStats:
        """Return everything since the loader was made."""
        engine, workers, prefetch, cpus = self._settings
        return LoaderStats(
            engine=engine,
            workers=workers,
            prefetch=prefetch,
            cpus=cpus,
            epochs=self._epochs,
            batches=self._batches,
            seconds=self._start + self._wait + self._busy,
            start_seconds=self._start,
            start_load=self._start_load,
            first_batch_seconds=self._first_wait or 0.0,
            consumer_wait=self._wait,
            consumer_busy=self._busy,
            worker_busy=self._load,
            worker_cpu=self._cpu if self._cpu_known and self._batches else None,
            nbytes=self._nbytes,
            slowest=tuple(sorted(self._slowest, reverse=True)),
        )

    def _begin(self, waited: float, load_seconds: float) -> None:
        # An epoch that was only looked at is begun again under its number, and is one all the same.
        if self._counted != self._number:
            self._counted = self._number
            self._epochs += 1
        if self._first_wait is None:
            self._first_wait = waited
        # Not a wait like the others: nothing could be made ahead, and workers may have had to be started.
        self._start += waited
        self._start_load += min(waited, load_seconds)

    def _note(self, batch: SlowBatch) -> None:
        add = heapq.heappush if len(self._slowest) < SLOWEST else heapq.heapreplace
        add(self._slowest, batch)
        if len(self._slowest) == SLOWEST:
            self._noteworthy = self._slowest[0].seconds


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
