"""Is my input the bottleneck? Where the time of a loader's epochs went, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

LITTLE = 0.05  # a consumer that waits for a smaller part of its time is not held up by its input
BUSY = 0.85  # workers that load for a larger part of their time have none left
START = 0.2  # a start that takes a larger part of all seconds is worth a word
STEPS = 9  # fewer steps of the consumer say nothing about the next ones
HANDOVER = 5e-5  # seconds that it takes about to get a batch from a worker (thread: 12 µs, process: 53 µs)
LARGE = 1_000_000  # bytes of a batch whose way here costs more than its task
FURTHEST = 32  # more batches than this, for each worker, are no advice: they have to fit into memory

_COMPARE = "compare the engines with befit profile MODULE:SEQUENCE --compare"


class SlowBatch(NamedTuple):
    """A batch, and the seconds that its ``__getitem__`` took."""

    seconds: float
    epoch: int
    batch_index: int

    def __str__(self) -> str:
        return f"batch {self.batch_index} of epoch {self.epoch}"


@dataclass(frozen=True)
class LoaderStats:
    """Where the time of a loader's epochs went; ``str()`` is a table with what to do about it.

    Time runs from the first request of an epoch to its last delivery, and is the sum over all epochs:
    ``seconds`` = ``start_seconds`` + ``consumer_wait`` + ``consumer_busy``. Rates and shares leave the
    first batch of each epoch out, so that they hold for longer epochs too.

    Attributes:
        engine, workers, prefetch: the loader's own.
        cpus: cores that this program may use.
        epochs, batches: how many were delivered, an epoch in part or completely.
        seconds: all of the time.
        start_seconds: how long the first batches of epochs were waited for.
        start_load: seconds of those in ``__getitem__``; the others went into starting the workers and sending
            them the sequence.
        first_batch_seconds: how long the very first batch was waited for.
        consumer_wait: how long the other batches were waited for.
        consumer_busy: seconds between a delivery and the next request.
        worker_busy: seconds in ``__getitem__``, the sum over all workers.
        worker_cpu: seconds of those in which the worker's thread had a core; ``None``: not measured.
        nbytes: bytes that travelled from the workers; 0 where nothing had to.
        slowest: the batches whose ``__getitem__`` took longest, at most five, the slowest first.
    """

    engine: str
    workers: int
    prefetch: int
    cpus: int
    epochs: int
    batches: int
    seconds: float
    start_seconds: float
    start_load: float
    first_batch_seconds: float
    consumer_wait: float
    consumer_busy: float
    worker_busy: float
    worker_cpu: float | None
    nbytes: int
    slowest: tuple[SlowBatch, ...]

    @property
    def running_seconds(self) -> float:
        """The time without the start."""
        return self.consumer_wait + self.consumer_busy

    @property
    def steps(self) -> int:
        """How many times the consumer worked and then waited."""
        return self.batches - self.epochs

    @property
    def batches_per_second(self) -> float:
        """Batches that the consumer got in a second."""
        return _ratio(self.steps, self.running_seconds)

    @property
    def bytes_per_second(self) -> float:
        """Bytes that travelled from the workers in a second."""
        return _ratio(self.nbytes, self.batches) * self.batches_per_second

    @property
    def wait_share(self) -> float:
        """The part of its time, from 0 to 1, in which the consumer waited."""
        return _ratio(self.consumer_wait, self.running_seconds)

    @property
    def worker_share(self) -> float:
        """The part of their time, from 0 to 1, in which the workers were in ``__getitem__``."""
        seconds = max(1, self.workers) * (self.start_load + self.running_seconds)
        return min(1.0, _ratio(self.worker_busy, seconds))  # a clock of another process may differ a little

    @property
    def worker_cores(self) -> float:
        """How many cores the workers had on average, all together; 0 if that was not measured."""
        return _ratio(self.worker_cpu or 0.0, self.start_load + self.running_seconds)

    @property
    def workers_needed(self) -> int | None:
        """Workers that load as fast as the consumer works; ``None``: it does nothing to keep up with."""
        if self.consumer_busy <= 0.01 * self.running_seconds:
            return None
        step = self.consumer_busy / self.steps
        return max(1, math.ceil(self.worker_busy / self.batches / (BUSY * step)))

    @property
    def is_bottleneck(self) -> bool | None:
        """Whether the consumer is held up by its input; ``None``: too few batches to tell."""
        return None if self.steps < STEPS else self.wait_share >= LITTLE

    @property
    def advice(self) -> tuple[str, ...]:
        """What the numbers mean, and what to write instead; empty before the first batch."""
        return tuple(_advice(self)) if self.batches else ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers, strings, lists and dicts, ready for JSON."""
        derived = (
            "running_seconds", "batches_per_second", "bytes_per_second", "wait_share", "worker_share",
            "worker_cores", "workers_needed", "is_bottleneck",
        )  # fmt: skip
        return {
            **asdict(self),
            "slowest": [batch._asdict() for batch in self.slowest],
            **{name: getattr(self, name) for name in derived},
            "advice": list(self.advice),
        }

    def __str__(self) -> str:
        workers = f", {_count(self.workers, 'worker')}, prefetch {self.prefetch}" if self.workers else ""
        if not self.batches:
            return f"{self.engine}{workers}: no batch was loaded yet"
        whose = "the workers' time" if self.workers else "the time"
        travelled = f", {self.bytes_per_second / 1e6:.1f} MB/s from the workers" if self.nbytes else ""
        rows = {
            "rate": f"{self.batches_per_second:.1f} batches/s{travelled}",
            "start": f"{_time(self.start_seconds)}, with {_time(self.start_load)} in __getitem__",
            "consumer waits": f"{_time(self.consumer_wait)}, {self.wait_share:.1%}",
            "consumer works": f"{_time(self.consumer_busy)}, {1 - self.wait_share:.1%}",
            "__getitem__": f"{_time(self.worker_busy)}, {self.worker_share:.1%} of {whose}",
            "slowest batches": ", ".join(f"{batch} ({_time(batch.seconds)})" for batch in self.slowest),
        }
        batches, epochs = _count(self.batches, "batch", "batches"), _count(self.epochs, "epoch")
        return "\n".join(
            [
                f"{self.engine}{workers}: {batches} of {epochs} in {_time(self.seconds)}",
                *(f"  {name:<17}{text}" for name, text in rows.items()),
                *(f"- {sentence}" for sentence in self.advice),
            ]
        )


def _advice(stats: LoaderStats) -> Iterator[str]:
    if stats.is_bottleneck is None:
        yield f"too few batches to judge by: load {STEPS + 1} or more, in epochs of several"
        return
    start = stats.start_seconds - stats.start_load
    if stats.workers and start > START * stats.seconds:
        yield (
            f"the workers' start took {_time(start)} of {_time(stats.seconds)}: make one Loader and "
            "iterate over it in every epoch, they stay"
        )
    if not stats.is_bottleneck:
        yield (
            f"the input is not the bottleneck, the consumer waits {stats.wait_share:.1%} of its time: "
            "make its own step faster"
        )
        needed = stats.workers_needed
        if needed is not None and needed < stats.workers:
            yield f"the workers have time left: workers={needed} would do"
    elif not stats.workers:
        yield _about_inline(stats)
    elif stats.worker_share > BUSY:
        yield _about_busy_workers(stats)
    else:
        yield from _about_idle_workers(stats)


def _about_inline(stats: LoaderStats) -> str:
    mean = stats.worker_busy / stats.batches
    if mean < HANDOVER:
        instead = "put more samples into a batch"
        return f"a batch takes {_time(mean)}, less than a worker needs to hand it over: {instead}"
    workers = min(max(2, stats.workers_needed or 2), max(2, _most_workers(stats)))
    return f"{_waits(stats)}, for batches made when it asks: have them made ahead, write workers={workers}"


def _about_busy_workers(stats: LoaderStats) -> str:
    state = f"{_waits(stats)} while the workers load {stats.worker_share:.0%} of theirs"
    if (
        stats.engine == "threads"
        and stats.workers > 1
        and stats.cpus > 1
        and 0.5 <= stats.worker_cores <= 1.2
    ):
        together = f"{stats.workers} threads get {stats.worker_cores:.1f} cores between them"
        if stats.worker_cores >= 0.8:
            return f"{together}, what the interpreter's lock allows: write engine='processes'"
        return f"{state}; {together}: {_COMPARE}"  # the lock, a disk, another program: nothing tells which
    needed, most = stats.workers_needed, _most_workers(stats)
    if most <= stats.workers:
        return (
            f"{state}, one or more for each core: make __getitem__ cheaper, by preparing once what is the "
            "same in every epoch, or load on more machines"
        )
    if needed is not None and needed <= most:
        return f"{state}: write workers={needed}"
    wanted = "" if needed is None else f"; to keep up takes {needed}, so make __getitem__ cheaper too"
    return f"{state}: write workers={most}{wanted}"


def _most_workers(stats: LoaderStats) -> int:
    """How many workers can be of use: one a core, more if they wait for something else than a core."""
    cpu = stats.worker_cpu
    # Far below what they could have, so that neither the lock nor a busy machine looks like a slow disk.
    free = stats.worker_cores < 0.5 * (1 if stats.engine == "threads" else stats.cpus)
    if cpu is not None and cpu < 0.25 * stats.worker_busy and free:
        return max(4 * stats.cpus, 2 * stats.workers)
    return stats.cpus


def _about_idle_workers(stats: LoaderStats) -> Iterator[str]:
    mean, waited = stats.worker_busy / stats.batches, stats.consumer_wait / stats.steps
    state = f"{_waits(stats)} while the workers load only {stats.worker_share:.0%} of theirs"
    large = stats.engine == "processes" and stats.nbytes > LARGE * stats.batches
    if large:
        yield (
            f"{state}; {stats.nbytes / stats.batches / 1e6:.1f} MB travel with each batch: build it in "
            "befit.loading.empty(shape, dtype), unless it is"
        )
    elif waited > mean:
        yield (
            f"the consumer waits {_time(waited)} for a batch that takes {_time(mean)}: write workers=0, or "
            "put more samples into a batch"
        )
        return
    stall = _about_stalls(stats, mean)
    if stall:
        yield stall
    elif not large:
        yield f"{state}: {_COMPARE}"


def _about_stalls(stats: LoaderStats, mean: float) -> str | None:
    """What to do about batches that take longer than those that are made ahead of them last."""
    step = stats.consumer_busy / stats.steps
    # In a steady stream a batch lasts as long as the slower side takes for one.
    lead = (stats.workers * stats.prefetch - 1) * max(step, mean / stats.workers)
    late = [batch for batch in stats.slowest if batch.seconds > lead]
    if mean > lead:
        longest, who = mean, f"a batch takes {_time(mean)}"
    elif late and sum(batch.seconds - lead for batch in late) > 0.5 * stats.consumer_wait:
        longest = late[0].seconds
        who = f"the others wait for {', '.join(map(str, late))}, which took up to {_time(longest)}"
    else:
        return None
    # Nothing gets ahead of a consumer that is faster than the workers are on average.
    workers = max(stats.workers, min(stats.workers_needed or 0, _most_workers(stats)))
    prefetch = math.ceil((longest / max(step, mean / workers) + 1) / workers)
    more = f"workers={workers}, " if workers > stats.workers else ""
    instead = (
        f"write {more}prefetch={prefetch}" if prefetch <= FURTHEST else "make them as cheap as the others"
    )
    return f"{who}, and work on it begins only {_time(lead)} ahead: {instead}"


def _waits(stats: LoaderStats) -> str:
    return f"the consumer waits {stats.wait_share:.0%} of its time"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
