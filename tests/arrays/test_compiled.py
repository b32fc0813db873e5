"""Nothing needs numba, and a numba that does not work is said."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest

from befit import normalize, to_categorical
from befit.arrays import compiled


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


def test_a_numba_that_does_not_work_is_said(monkeypatch, caplog):
    def broken(name):
        raise ImportError("Numba needs NumPy 2.0 or less")

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
