"""How much memory one call takes: `python -m benchmarks.files_peak befit URL FOLDER NAME` prints bytes.

Nothing is imported beside what is measured: memory that an import has freed would hide what a call takes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def _bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


def main(who: str, url: str, folder: str, name: str) -> None:
    extract = name.endswith(".gz")
    if who == "befit":
        from befit import get_file

        def call() -> object:
            return get_file(name, url, cache_dir=folder, untar=extract, progress=False)
    elif who == "Keras":
        from keras.utils import get_file as keras_get_file

        def call() -> object:
            return keras_get_file(name, url, cache_dir=folder, extract=extract)
    else:
        import pooch

        def call() -> object:
            return pooch.retrieve(url, None, name, folder, processor=pooch.Untar() if extract else None)

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _bytes("VmRSS")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        call()
    print(_bytes("VmHWM") - before, before)


if __name__ == "__main__":
    main(*sys.argv[1:])
