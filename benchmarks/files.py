"""`befit.get_file` beside its peers; `python -m benchmarks.files fast warm` runs only those parts.

Everything that is compared runs in turn. Peers are those of the `bench` dependency group, Keras, and the
programs curl, aria2c, tar and bsdtar; one that is missing is named below the tables. All sizes follow
`benchmarks.files_data.SCALE`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks.files_extract import extract, overlap
from benchmarks.files_memory import memory
from benchmarks.files_transfer import fast, slow
from benchmarks.files_warm import warm
from benchmarks.loading_measure import Verdict, measure

PARTS: dict[str, Callable[[], list[Verdict]]] = {
    "fast": fast,
    "slow": slow,
    "warm": warm,
    "extract": extract,
    "overlap": overlap,
    "memory": memory,
}


def main(parts: list[str] | None = None) -> int:
    return measure("files", PARTS, parts, peer="best peer or limit")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
