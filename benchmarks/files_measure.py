"""Runs of `get_file` and its peers in turn, each with a folder of its own, and the tables they make."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from benchmarks.files_data import Workplace, where
from benchmarks.files_peers import Way, absent
from benchmarks.hdf5_measure import Samples, loads, times
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, spread

Ways = Mapping[str, Way]
"""By name; it begins with "limit" where nobody can do better."""


def in_fresh_folders(
    place: Workplace, ways: Ways, *, rounds: int, prepare: Way = lambda folder: None
) -> Samples:
    """Return the seconds of each way, by round; `prepare` fills the folder before the clock starts."""

    def timed(way: Way) -> Callable[[], float]:
        def seconds() -> float:
            folder = place.fresh()
            prepare(folder)
            started = time.perf_counter()
            way(folder)
            return time.perf_counter() - started

        return seconds

    return in_turn({name: timed(way) for name, way in ways.items()}, rounds=rounds)


def show(
    title: str, samples: Samples, base: str, *, scale: float = 1.0, unit: str = "s", note: str = ""
) -> None:
    """Print seconds (or another unit) and their ratio to `base`."""
    digits = 3 if unit == "ms" else 2
    rows = [
        (name, spread(seconds, scale, digits), f"{times(samples, name, base):.2f}")
        for name, seconds in samples.items()
    ]
    notes = [where(), note, absent(), loads()]
    heads = ("", f"{unit} (least - greatest)", f"times {base}")
    keep(title, heads, rows, "\n".join(line for line in notes if line))


def no_more_than(work: str, samples: Samples, base: str, limit: float, *, befit: str = "befit") -> Verdict:
    """befit takes at most `limit` times as long as `base`."""
    ratio = times(samples, befit, base)
    return _verdict(work, samples, befit, base, f"{ratio:.2f}", f"<= {limit}", ratio <= limit)


def no_less_than(work: str, samples: Samples, peer: str, limit: float, *, befit: str = "befit") -> Verdict:
    """`peer` takes at least `limit` times as long as befit."""
    ratio = times(samples, peer, befit)
    return _verdict(work, samples, befit, peer, f"{ratio:.2f}", f">= {limit}", ratio >= limit)


def within(work: str, samples: Samples, peer: str, seconds: float, *, befit: str = "befit") -> Verdict:
    """befit takes at most so many seconds."""
    reached = statistics.median(samples[befit]) <= seconds
    ratio = f"{times(samples, peer, befit):.0f}" if peer in samples else "-"
    return _verdict(work, samples, befit, peer, ratio, f"<= {seconds * 1e3:g} ms", reached)


def _verdict(
    work: str, samples: Samples, befit: str, base: str, ratio: str, target: str, reached: bool
) -> Verdict:
    names = dict.fromkeys([base, *_best_peer(samples)])
    others = ", ".join(f"{name} {_seconds(samples[name])}" for name in names if name in samples)
    return Verdict(work, _seconds(samples[befit]), others, ratio, target, reached)


def _best_peer(samples: Samples) -> list[str]:
    peers = [name for name in samples if not name.startswith(("befit", "limit"))]
    return [min(peers, key=lambda name: statistics.median(samples[name]))] if peers else []


def _seconds(samples: list[float]) -> str:
    seconds = statistics.median(samples)
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1e3:.3f} ms"
