"""`befit.HDF5Matrix` beside its peers; `python -m benchmarks.hdf5 raw order` runs only those parts.

Everything that is compared runs in turn. The peers are those of the `bench` dependency group; one that is
missing, or that cannot do a case, is shown as "-" with the reason below the table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.hdf5_http import http
from benchmarks.hdf5_opening import opening
from benchmarks.hdf5_order import order
from benchmarks.hdf5_random import cached, raw
from benchmarks.hdf5_sequential import sequential
from benchmarks.loading_measure import Verdict, measure


def keras() -> list[Verdict]:
    """Memory of ``fit`` and ``predict``; the frameworks are imported for it only."""
    from benchmarks.hdf5_keras import keras_memory

    return keras_memory()


PARTS: dict[str, Callable[[], list[Verdict]]] = {
    "raw": raw,
    "cached": cached,
    "order": order,
    "sequential": sequential,
    "http": http,
    "opening": opening,
    "keras": keras,
}


def main(parts: list[str] | None = None) -> int:
    return measure("hdf5", PARTS, parts, peer="best peer or limit")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
