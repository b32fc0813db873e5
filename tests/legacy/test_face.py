"""``befit.legacy`` as a module: its names are there, and importing it changes and loads nothing."""

from __future__ import annotations

import subprocess
import sys

import befit.legacy
from befit.legacy.names import NAMES


def test_every_name_of_the_table_is_there():
    names = {
        row.today.removeprefix("befit.legacy.") for row in NAMES if row.today.startswith("befit.legacy.")
    }
    assert names <= set(befit.legacy.__all__)


def test_every_name_of_the_face_is_there():
    for name in befit.legacy.__all__:
        assert callable(getattr(befit.legacy, name))
    assert set(befit.legacy.__all__) <= set(dir(befit.legacy))


def test_importing_changes_and_loads_nothing():
    code = (
        "import sys; before = list(sys.meta_path); import befit.legacy; befit.legacy.func_load; "
        "assert sys.meta_path == before; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "befit.legacy.function_dumps" in loaded
    assert not loaded & {"keras", "h5py", "torch", "PIL", "befit.graph", "befit.files"}
