"""What `import befit` costs beside `import numpy`, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from benchmarks.interleave import interleave, report

STATEMENTS = ("pass", "import numpy", "import befit", "import numpy, befit", "import keras.utils")


def main() -> None:
    def run(statement: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True, capture_output=True)

    report("imports", interleave({s: run(s) for s in STATEMENTS}), baseline="import numpy")
