"""Clocks of readers in one process, and tables in which a reader that cannot do a case has its reason.

The clock is the processor time of the whole process, all threads together: what neighbours on the machine
disturb least, and what is left over for the training.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, ratios

Samples = dict[str, list[float]]
Reasons = dict[tuple[str, str], str]
"""Why a reader, named first, cannot do a case."""


def cpu_per_batch(
    work: Mapping[str, Callable[[int], object]], *, rounds: int, turn: float = 0.03, most: int = 256
) -> Samples:
    """Return the processor seconds of a batch, by round.

    Args:
        work: Reads as many batches as it is told.
        rounds: Turns of each.
        turn: Seconds that one turn shall take about; slow readers read one batch a turn.
        most: Batches of a turn.
    """

    def timed(read: Callable[[int], object]) -> Callable[[], float]:
        started = time.process_time()
        read(1)
        once = time.process_time() - started
        batches = max(1, min(most, int(turn / max(once, 1e-6))))

        def seconds() -> float:
            started = time.process_time()
            read(batches)
            return (time.process_time() - started) / batches

        return seconds

    return in_turn({name: timed(read) for name, read in work.items()}, rounds=rounds)


def cpu(run: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs ``run`` and tells the processor seconds of the process."""

    def seconds() -> float:
        started = time.process_time()
        run()
        return time.process_time() - started

    return seconds


def wall(run: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs ``run`` and tells the seconds that it took."""

    def seconds() -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return seconds


def times(samples: Samples, name: str, base: str) -> float:
    """How many times what ``base`` costs ``name`` costs; each round is compared with itself."""
    return statistics.median(ratios(samples[name], samples[base]))


def micro(values: Iterable[float]) -> str:
    """The median in microseconds."""
    return f"{statistics.median(values) * 1e6:.0f} us"


def best_peer(samples: Samples) -> str:
    """The least median of those that are neither befit nor a limit; "" where there is none."""
    peers = [name for name in samples if not name.startswith(("befit", "memory", "limit"))]
    return min(peers, key=lambda name: statistics.median(samples[name]), default="")


def at_most(work: str, samples: Samples, base: str, limit: float, befit: str = "befit") -> Verdict:
    """befit costs no more than ``limit`` times what ``base`` costs."""
    ratio = times(samples, befit, base)
    peer = best_peer(samples)
    other = f", {peer} {micro(samples[peer])}" if peer else ""
    return Verdict(
        work,
        micro(samples[befit]),
        f"{base} {micro(samples[base])}{other}",
        f"{ratio:.2f}",
        f"<= {limit}",
        ratio <= limit,
    )


def at_least(work: str, samples: Samples, peer: str, limit: float, befit: str = "befit") -> Verdict:
    """``peer`` costs at least ``limit`` times what befit costs."""
    ratio = times(samples, peer, befit)
    return Verdict(
        work,
        micro(samples[befit]),
        f"{peer} {micro(samples[peer])}",
        f"{ratio:.2f}",
        f">= {limit}",
        ratio >= limit,
    )


def missing(work: str, peer: str, reason: str, limit: str) -> Verdict:
    """A comparison that could not be made."""
    return Verdict(work, "-", f"{peer}: {reason}", "-", limit, False)


def compare(title: str, cases: Mapping[str, Samples], reasons: Reasons, base: str) -> None:
    """Print microseconds a batch and the ratio to ``base``; a line is a reader, a column a case."""
    names = dict.fromkeys(name for samples in cases.values() for name in samples)
    names |= dict.fromkeys(name for name, _ in reasons)
    notes: dict[str, str] = {}
    rows = []
    for name in names:
        row = [name]
        for case, samples in cases.items():
            if name in samples:
                row.append(f"{statistics.median(samples[name]) * 1e6:.0f} ({times(samples, name, base):.2f})")
            else:
                reason = reasons.get((name, case), "not measured")
                row.append("- " + notes.setdefault(reason, f"[{len(notes) + 1}]"))
        rows.append(row)
    said = [f"{mark} {reason}" for reason, mark in notes.items()]
    keep(title, [f"CPU us/batch (times {base})", *cases], rows, "\n".join([*said, loads()]))


def loads() -> str:
    """The load of the machine, which a reader of wall times wants to know."""
    return (
        f"Load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}; {os.cpu_count()} processors."
    )
