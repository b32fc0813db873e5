"""`multi_gpu_model` beside its peers, and beside a prediction.

    python -m benchmarks.replicate calibrate torch    runs only those parts

Every contender lives in processes of its own, and they train in turn, round after round. Samples during which
other programs used the machine are told from those that nobody disturbed. The peers are those of the `bench`
dependency group; affinities and clocks are Linux's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from benchmarks.loading_measure import Verdict, measure
from benchmarks.replicate_calibrate import calibrate
from benchmarks.replicate_gpu import gpu
from benchmarks.replicate_overhead import overhead
from benchmarks.replicate_rate import JAX, MODULE, TENSORFLOW, TORCH, compete, predict

PARTS: dict[str, Callable[[], list[Verdict]]] = {
    "calibrate": calibrate,
    "torch": partial(compete, TORCH),
    "module": partial(compete, MODULE),
    "jax": partial(compete, JAX),
    "tensorflow": partial(compete, TENSORFLOW),
    "overhead": overhead,
    "predict": predict,
    "gpu": gpu,
}


def main(parts: list[str] | None = None) -> int:
    return measure("replicate", PARTS, parts, peer="best peer")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
