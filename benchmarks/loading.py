"""`befit.Loader` beside its peers; `python -m benchmarks.loading large start` runs only those parts.

Everything that is compared runs in turn in one process. The peers are those of the `bench` dependency group,
and the clocks are Linux's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.interleave import keep
from benchmarks.loading_gpu import gpu
from benchmarks.loading_measure import Verdict
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
    unknown = sorted(set(parts or ()) - set(PARTS))
    if unknown:
        print(f"no part {', '.join(unknown)}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    verdicts: list[Verdict] = []
    for name in parts or PARTS:
        verdicts += PARTS[name]()
    rows = [(*verdict[:-1], "yes" if verdict.reached else "no") for verdict in verdicts]
    if rows:
        keep("loading", ("work", "befit", "best peer", "ratio", "target", "reached"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
