"""`befit.summary` as text beside its peers; `python -m benchmarks.summary keras` runs only that part.

Everything that is compared runs in turn. Keras' summary is measured with a function in the place of print,
so nobody waits for a terminal; PyTorch's peer is torchinfo, its limit the forward pass itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

os.environ.setdefault("KERAS_BACKEND", "jax")

from benchmarks.loading_measure import Verdict, measure
from benchmarks.summary_keras import of_chain, of_resnet
from benchmarks.summary_torch import of_residual

PARTS: dict[str, Callable[[], list[Verdict]]] = {
    "keras": of_resnet,
    "chain": of_chain,
    "torch": of_residual,
}


def main(parts: list[str] | None = None) -> int:
    return measure("summary", PARTS, parts, peer="peer or limit")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
