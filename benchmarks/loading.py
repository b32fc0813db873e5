"""`befit.Loader` beside its peers; `python -m benchmarks.loading large start` runs only those parts.

Everything that is compared runs in turn in one process. The peers are those of the `bench` dependency group,
and the clocks are Linux's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.loading_gpu import gpu
from benchmarks.loading_measure import Verdict, measure
from benchmarks.loading_memory import memory
from benchmarks.loading_rate import busy, fresh, large, nested, small
from benchmarks.loading_start import start, turnover

PARTS: dict[str, Callable[[], list[Verdict]]] = {
    "large": large,
    "fresh": fresh,
    "nested": nested,
    "small": small,
    "busy": busy,
    "start": start,
    "turnover": turnover,
    "memory": memory,
    "gpu": gpu,
}


def main(parts: list[str] | None = None) -> int:
    return measure("loading", PARTS, parts, peer="best peer")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
