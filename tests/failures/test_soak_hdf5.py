"""Long campaigns for ``HDF5Matrix``: files damaged anywhere, any dataset, and processes killed at random."""

from __future__ import annotations

import importlib.util
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.soak

DAMAGED = 1_000  # files of each layout and seed
SEEDS = 8
DATASETS = 3_000
KILLS = 100


def module_of(name: str) -> ModuleType:
    """Return a module of shorter tests."""
    place = Path(__file__).parents[1] / name
    spec = importlib.util.spec_from_file_location(place.stem, place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DAMAGE = module_of("failures/test_hdf5_damage.py")
EQUALITY = module_of("hdf5/test_equality.py")
PROCESSES = module_of("failures/test_hdf5_processes.py")


@pytest.mark.parametrize("seed", range(SEEDS))
def test_damaged_files(tmp_path, seed):
    """Bytes, numbers, ranges and cuts."""
    result = DAMAGE.campaign(tmp_path, DAMAGED, 1_000_000 + seed * 1_000)
    print(f"\n{result['counts']}")
    assert not result["wrong"], "\n".join(result["wrong"])
    assert result["counts"].get("other", 0) < sum(result["counts"].values()) / 500


def test_a_file_that_is_cut_anywhere(tmp_path):
    """At every seventh byte; and every seventh byte changed."""
    result = DAMAGE.campaign(tmp_path, 0, 0)
    print(f"\n{result['counts']}")
    assert not result["wrong"], "\n".join(result["wrong"])
    assert result["counts"].get("other", 0) < sum(result["counts"].values()) / 500


@settings(
    max_examples=DATASETS, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)
@given(dataset=EQUALITY.datasets(), modes=st.permutations(EQUALITY.MODES), seed=st.integers(0, 1 << 30))
def test_any_dataset(dataset, modes, seed, tmp_path_factory):
    EQUALITY.compare(dataset, modes[:3], seed, tmp_path_factory.mktemp("any"))


@pytest.mark.parametrize(
    ("cache_bytes", "disk"), [(1 << 30, "yes"), (1600, "yes"), (1600, "no"), (100, "yes"), (0, "no")]
)
def test_forks_of_threads_that_read(tmp_path, cache_bytes, disk):
    path = PROCESSES.write(tmp_path / "data.h5")
    for _ in range(10):
        PROCESSES.run(PROCESSES.STRESS, path, cache_bytes, disk, 200)


ENDLESS = """if True:
    import sys
    import numpy as np
    from befit import HDF5Matrix
    from befit.hdf5 import source

    source.scratch_folder = lambda nbytes: sys.argv[2]
    print("ready", flush=True)
    while True:
        x = HDF5Matrix(sys.argv[1], "gzip", cache_bytes=100)
        x[np.random.default_rng().permutation(600)[:300]]
"""


def test_kill_9_at_random_moments(tmp_path):
    """While a scratch file is made, filled and read: nothing of it is left, whoever else reads."""
    path, scratch = PROCESSES.write(tmp_path / "data.h5"), tmp_path / "scratch"
    scratch.mkdir()
    chance = random.Random(0)
    for _ in range(KILLS):
        command = [sys.executable, "-c", ENDLESS, str(path), str(scratch)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            assert child.stdout.readline() == "ready\n"
            try:
                child.wait(chance.uniform(0, 0.05))
            except subprocess.TimeoutExpired:
                child.kill()
        assert child.returncode == -9
        assert list(scratch.iterdir()) == []
    shutil.rmtree(scratch)
    x = PROCESSES.HDF5Matrix(path, "gzip")
    np.testing.assert_array_equal(x[::-1], PROCESSES.DATA[::-1])
