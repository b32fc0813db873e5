"""Times of ways of summing up a model, in turn."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping

from benchmarks.hdf5_measure import Samples, cpu, loads, times
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import spread


def cpu_seconds(ways: Mapping[str, Callable[[], object]], *, rounds: int) -> Samples:
    """Return the processor seconds of each way, by round: neighbours on the machine disturb these least."""

    def tidied(seconds: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            gc.collect()  # nobody pays for what the one before left behind
            return seconds()

        return run

    return in_turn({name: tidied(cpu(run)) for name, run in ways.items()}, rounds=rounds)


def show(title: str, samples: Samples, note: str = "") -> None:
    """Print milliseconds and their ratio to befit's."""
    rows = [
        (name, spread(seconds, 1e3, 1), f"{times(samples, name, 'befit'):.1f}")
        for name, seconds in samples.items()
    ]
    heads = ("", "ms (least - greatest)", "times befit")
    keep(title, heads, rows, "\n".join(line for line in (note, loads()) if line))


def milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.1f} ms"
