"""`python -m benchmarks [NAME …]`: runs the benchmarks named, or all of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# A benchmark is a file; a name with an underscore is a part of one.
NAMES = sorted(
    path.stem for path in FOLDER.glob("[a-z]*.py") if path.stem != "interleave" and "_" not in path.stem
)


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
