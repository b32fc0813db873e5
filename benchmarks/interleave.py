"""Times several ways of doing one thing in turn, so that a noisy neighbour disturbs all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def interleave(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each way over ``rounds`` rounds; the first round only warms up."""
    samples: dict[str, list[float]] = {name: [] for name in work}
    for round_number in range(rounds + 1):
        for name, run in work.items():
            started = clock()
            run()
            if round_number:
                samples[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in samples.items()}


def report(title: str, medians: Mapping[str, float], *, baseline: str) -> None:
    """Print a table of medians and their ratios to ``baseline``; keep it under ``benchmarks/results/``."""
    lines = [f"## {title}", "", f"| | median ms | ratio to {baseline} |", "|---|---|---|"]
    lines += [f"| {name} | {t * 1e3:.3f} | {t / medians[baseline]:.2f} |" for name, t in medians.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{title.replace(' ', '-')}.md").write_text(text)
