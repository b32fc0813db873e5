"""Times several ways of doing one thing in turn, so that a noisy neighbour disturbs all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

RESULTS = Path(__file__).parent / "results"

Result = TypeVar("Result")


def in_turn(work: Mapping[str, Callable[[], Result]], *, rounds: int) -> dict[str, list[Result]]:
    """Call each way once a round; return its results by round, without the first, which only warms up."""
    results: dict[str, list[Result]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, run in work.items():
            results[name].append(run())
    return {name: kept[1:] for name, kept in results.items()}


def interleave(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each way over ``rounds`` rounds."""

    def timed(run: Callable[[], object]) -> Callable[[], float]:
        def seconds() -> float:
            started = clock()
            run()
            return clock() - started

        return seconds

    samples = in_turn({name: timed(run) for name, run in work.items()}, rounds=rounds)
    return {name: statistics.median(times) for name, times in samples.items()}


def report(title: str, medians: Mapping[str, float], *, baseline: str) -> None:
    """Print a table of medians and their ratios to ``baseline``, and keep it."""
    rows = [(name, f"{t * 1e3:.3f}", f"{t / medians[baseline]:.2f}") for name, t in medians.items()]
    keep(title, ("", "median ms", f"ratio to {baseline}"), rows)


def keep(title: str, heads: Iterable[str], rows: Iterable[Iterable[str]], note: str = "") -> None:
    """Print a table and keep it under ``benchmarks/results/``."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in zip(*columns, strict=True)]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    text = "\n".join([f"## {title}", "", *lines, *(["", note] if note else [])]) + "\n"
    print(text, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{title.replace(' ', '-')}.md").write_text(text)
