"""Nothing needs numba, and a numba that does not work is said."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from befit import normalize, to_categorical
from befit.arrays import compiled

AGAIN = """
import logging, sys
logging.basicConfig(level=logging.WARNING)
import numpy as np
from befit import normalize, to_categorical
from befit.arrays import categorical, normalization
categorical._WORTH_COMPILING = normalization._WORTH_COMPILING = 0
x = np.array([[3, 4], [0, 0]], "float32")
for _ in range(2):
    np.testing.assert_allclose(normalize(x), [[0.6, 0.8], [0, 0]], rtol=1e-6)
y = np.arange(20_000) % 3
np.testing.assert_array_equal(to_categorical(y).argmax(1), y)
print(sys.modules.keys() >= {"befit.arrays.row_loops"})
"""


@pytest.fixture
def without_numba(monkeypatch):
    compiled.row_loops.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "befit.arrays.row_loops", raising=False)
    yield
    compiled.row_loops.cache_clear()


def test_nothing_is_missing_without_numba(without_numba, caplog):
    assert compiled.row_loops() is None
    x = np.random.default_rng(0).normal(size=(90_000, 100)).astype("float32")
    np.testing.assert_allclose(np.linalg.norm(normalize(x), axis=1), 1, rtol=1e-5)
    y = np.arange(600_000) % 10
    np.testing.assert_array_equal(to_categorical(y, 10).argmax(1), y)
    assert not caplog.records


@pytest.mark.parametrize("error", [ImportError, AttributeError, OSError])
def test_a_numba_that_does_not_work_is_said(monkeypatch, caplog, error):
    def broken(name):
        raise error("Numba needs NumPy 2.0 or less")

    compiled.row_loops.cache_clear()
    monkeypatch.setattr(compiled.importlib, "import_module", broken)
    try:
        with caplog.at_level(logging.WARNING):
            assert compiled.row_loops() is None
            assert compiled.row_loops() is None
        assert caplog.messages == [
            "numba cannot be used (Numba needs NumPy 2.0 or less); "
            "to_categorical and normalize go on with NumPy"
        ]
    finally:
        compiled.row_loops.cache_clear()


def test_a_numba_that_was_told_not_to_compile_is_left_alone(monkeypatch):
    """Its loops, as plain Python, would take a hundred times as long as NumPy."""
    numba = pytest.importorskip("numba")
    assert compiled.row_loops() is not None  # imported as they are, not as plain Python, for the tests after
    compiled.row_loops.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    try:
        assert compiled.row_loops() is None
    finally:
        compiled.row_loops.cache_clear()


@pytest.mark.parametrize("damage", [b"", b"no compiled code"])
def test_damaged_compiled_code_on_disk_is_said(damage, tmp_path):
    """Emptied by a full disk, or overwritten: NumPy goes on, with one warning."""
    pytest.importorskip("numba")

    def run():
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", AGAIN], env=environment, check=True, capture_output=True, text=True
        )

    first = run()
    assert (first.stdout.strip(), first.stderr) == ("True", "")
    indexes = list(tmp_path.rglob("*.nbi"))
    assert indexes
    for index in indexes:
        index.write_bytes(damage)
    again = run()
    assert again.stdout.strip() == "True"
    assert again.stderr.count("numba cannot be used") == 1
    assert len(again.stderr.splitlines()) == 1
