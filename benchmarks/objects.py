"""What `befit.CustomObjectScope` costs, beside the scopes of Keras and torch.

`python -m benchmarks.objects both` measures only with both frameworks imported.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial

from benchmarks.hdf5_measure import loads
from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict, measure, ratios, spread
from benchmarks.objects_cost import cost

IMPORTED = {"nothing": (), "keras": ("keras",), "torch": ("torch",), "both": ("keras", "torch")}
BLOCK, LOOKUP = 25e-6, 1e-6  # seconds: the targets of a block of one name and of a look-up

Samples = Mapping[str, list[float]]


def main(parts: list[str] | None = None) -> int:
    measured: dict[str, Callable[[], list[Verdict]]] = {name: partial(part, name) for name in IMPORTED}
    return measure("objects", measured, parts, peer="peer")


def part(name: str) -> list[Verdict]:
    samples = cost(IMPORTED[name])
    rows = [(way, spread(seconds, 1e6)) for way, seconds in samples.items()]
    keep(
        f"objects, {name} imported",
        ("", "µs (least - greatest)"),
        rows,
        f"CPU time of a call, a scope of one name. {loads()}",
    )
    where = f", {name} imported"
    verdicts = [
        verdict(f"enter and leave{where}", samples, "befit: enter and leave", peer_of(samples), BLOCK),
        verdict(f"look-up{where}", samples, "befit: look-up", None, LOOKUP),
    ]
    if "keras" in IMPORTED[name]:
        # A look-up of Keras asks befit twice for a registered object, once for a string.
        for asked, times in (("get_registered_object", 2), ("regularizers.get", 1)):
            befit, peer = f"befit: {asked}", f"no scope: {asked}"
            limit = median(samples[peer]) + times * LOOKUP
            verdicts.append(verdict(f"{asked}{where}", samples, befit, peer, limit))
    return verdicts


def verdict(work: str, samples: Samples, befit: str, peer: str | None, limit: float) -> Verdict:
    seconds = median(samples[befit])
    ratio = "-" if peer is None else f"{statistics.median(ratios(samples[befit], samples[peer])):.1f}"
    beside = "-" if peer is None else f"{peer} {micro(median(samples[peer]))}"
    return Verdict(work, micro(seconds), beside, ratio, f"<= {micro(limit)}", seconds <= limit)


def peer_of(samples: Samples) -> str | None:
    peers = [
        name for name in samples if name.endswith(("enter and leave", "safe_globals")) and "befit" not in name
    ]
    return peers[0] if peers else None


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} µs"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
