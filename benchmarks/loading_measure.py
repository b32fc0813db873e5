"""Clocks that see all processes of a loader, and what a benchmark's verdict is made of (Linux only)."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.interleave import keep
from benchmarks.loading_peers import Peer

PROC = Path("/proc")


class Verdict(NamedTuple):
    """A line of the last table; ``ratio`` is a number or a measure with its unit."""

    work: str
    befit: str
    peer: str
    ratio: str
    target: str
    reached: bool


def measure(
    title: str, parts: Mapping[str, Callable[[], list[Verdict]]], wanted: list[str] | None, *, peer: str
) -> int:
    """Run the parts of a benchmark that are wanted, or all; keep their verdicts; return an exit code."""
    unknown = sorted(set(wanted or ()) - set(parts))
    if unknown:
        print(f"no part {', '.join(unknown)}; there are: {', '.join(parts)}", file=sys.stderr)
        return 2
    verdicts = [verdict for name in wanted or parts for verdict in parts[name]()]
    rows = [(*verdict[:-1], "yes" if verdict.reached else "no") for verdict in verdicts]
    if rows:
        keep(title, ("work", "befit", peer, "ratio", "target", "reached"), rows)
    return 0


class Cost(NamedTuple):
    """What a batch costs, in seconds."""

    wall: float
    cpu: float


def family() -> list[int]:
    """This process and all that descend from it."""
    parents = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                # The name of the program, in parentheses, may contain anything.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds() -> float:
    """User and system time so far of this process, its descendants, and those of them that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for pid in family()[1:]:
        try:
            # What clock_getcpuclockid(3) makes of a process id: nanoseconds, where /proc has hundredths.
            total += time.clock_gettime(~pid << 3 | 2)
        except OSError:
            continue  # it has ended
    return total


def settle(limit: float = 1.0) -> None:
    """Wait until the workers of all loaders are idle, so that none works on another's account."""
    deadline = time.monotonic() + limit
    before = cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(0.01)
        now = cpu_seconds()
        if now - before < 0.003:  # looking costs some itself
            return
        before = now


def epoch_cost(peer: Peer, use: Callable[[object], None]) -> Callable[[], Cost]:
    """Return a function that reads one epoch and tells what a batch of it costs.

    The wall clock runs from the first batch on: what comes before it is measured as the turnover.
    """

    def run() -> Cost:
        settle()
        batches = peer.epoch()
        cpu = cpu_seconds()
        started = ended = 0.0
        count = 0
        for index, payload in batches:
            if index != count:
                raise RuntimeError(f"{type(peer).__name__}: batch {index} came where {count} was due")
            use(payload)
            ended = time.perf_counter()
            started = started or ended
            count += 1
        return Cost((ended - started) / (count - 1), (cpu_seconds() - cpu) / count)

    return run


def copying(work: Callable[[], object], batches: int) -> Callable[[], Cost]:
    """Return a function that tells what ``work`` costs, called once a batch without any loader."""

    def run() -> Cost:
        settle()
        cpu, started = time.process_time(), time.perf_counter()
        for _ in range(batches):
            work()
        return Cost((time.perf_counter() - started) / batches, (time.process_time() - cpu) / batches)

    return run


def ratios(numerators: Iterable[float], denominators: Iterable[float]) -> list[float]:
    """The ratio in each round: two that ran side by side were disturbed alike."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def spread(values: list[float], scale: float = 1.0, digits: int = 2) -> str:
    """Return ``median (least - greatest)``."""
    low, middle, high = (f(values) * scale for f in (min, statistics.median, max))
    return f"{middle:.{digits}f} ({low:.{digits}f} - {high:.{digits}f})"


def process_lines(pid: int, name: str) -> Iterator[tuple[str, int]]:
    """The ``Name: number kB`` lines of a file of a process, in bytes."""
    for line in (PROC / str(pid) / name).read_text().splitlines():
        head, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            yield head, int(rest.split()[0]) * 1024


def shared_out_bytes() -> int:
    """Return the memory of the whole family; a page of several processes counts once (PSS)."""
    total = 0
    for pid in family():
        with contextlib.suppress(ProcessLookupError):  # it has ended, and its parent has not looked yet
            total += dict(process_lines(pid, "smaps_rollup"))["Pss"]
    return total
