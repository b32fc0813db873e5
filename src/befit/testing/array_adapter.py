"""The test kit of ``befit.typing.ArrayAdapter``.

Inherit ``ArrayAdapterContract`` and provide the fixtures ``adapter`` (the module or object under test) and
``make`` (NumPy array in, tensor of the framework out, on the device that the framework would choose).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from befit.typing import Array, ArrayAdapter

Make = Callable[[Array], Any]

ORDERS = (0.0, 0.5, 1.0, 2.0, 3.0, float("inf"), float("-inf"), -1.0)


class ArrayAdapterContract:
    """What ``to_categorical`` and ``normalize`` rely on."""

    @pytest.fixture
    def adapter(self) -> ArrayAdapter:
        """The adapter under test."""
        raise NotImplementedError

    @pytest.fixture
    def make(self) -> Make:
        """A tensor from an array."""
        raise NotImplementedError

    def test_knows_its_own_tensors(self, adapter: ArrayAdapter, make: Make) -> None:
        """A tensor is one, with values; arrays of NumPy and lists belong to nobody."""
        tensor = make(np.arange(3, dtype=np.int32))
        assert adapter.is_tensor(tensor)
        assert adapter.has_values(tensor)
        assert not adapter.is_tensor(np.arange(3))
        assert not adapter.is_tensor([1, 2, 3])

    @pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint8", "bool", "complex64"])
    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
    def test_there_and_back(
        self, adapter: ArrayAdapter, make: Make, dtype: str, shape: tuple[int, ...]
    ) -> None:
        """Values, shape and dtype survive the way to NumPy and back."""
        array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        tensor = make(array)
        host = adapter.to_host(tensor)
        assert isinstance(host, np.ndarray)
        assert host.dtype == array.dtype
        np.testing.assert_array_equal(host, array)
        back = adapter.from_host(array.copy(), tensor)
        assert adapter.is_tensor(back)
        assert back.dtype == tensor.dtype
        np.testing.assert_array_equal(adapter.to_host(back), array)

    def test_keeps_the_device(self, adapter: ArrayAdapter, make: Make) -> None:
        """What comes back lies where the example lies."""
        tensor = make(np.arange(3, dtype=np.float32))
        assert adapter.from_host(np.zeros((2, 2), np.float32), tensor).device == tensor.device

    def test_written_view_shows_in_the_tensor(self, adapter: ArrayAdapter, make: Make) -> None:
        """A writable view is the tensor's memory, or it is refused."""
        tensor = make(np.zeros(3, np.float32))
        view = adapter.writable_view(tensor)
        if view is None:
            pytest.skip("this framework's tensors never change")
        view[1] = 7
        np.testing.assert_array_equal(adapter.to_host(tensor), [0, 7, 0])

    @pytest.mark.parametrize("dtype", ["float32", "uint8", "bool"])
    def test_one_hot_is_a_row_of_the_identity(self, adapter: ArrayAdapter, make: Make, dtype: str) -> None:
        """The framework's own one-hot equals rows of ``numpy.eye``."""
        labels = np.array([[0, 2, 1], [3, 3, 0]], np.int32)
        rows = adapter.to_host(adapter.one_hot(make(labels), 4, dtype))
        np.testing.assert_array_equal(rows, np.eye(4)[labels])
        assert rows.dtype == np.dtype(dtype)

    def test_one_hot_refuses_an_unknown_dtype(self, adapter: ArrayAdapter, make: Make) -> None:
        """A dtype that the framework lacks is an error that names it."""
        with pytest.raises((TypeError, ValueError), match="float33"):
            adapter.one_hot(make(np.array([0], np.int32)), 2, "float33")

    @pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
    def test_argmax_is_where_the_one_is(self, adapter: ArrayAdapter, make: Make, dtype: str) -> None:
        """The way back from one-hot rows, for every kind of numbers."""
        labels = np.array([[0, 2, 1], [3, 3, 0]])
        found = adapter.to_host(adapter.argmax(make(np.eye(4).astype(dtype)[labels])))
        np.testing.assert_array_equal(found, labels)
        assert found.dtype.kind == "i"

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("axes", [(2,), (0,), (0, 1, 2)])
    def test_normalize_divides_by_the_norm(
        self, adapter: ArrayAdapter, make: Make, axes: tuple[int, ...], order: float
    ) -> None:
        """The framework's own arithmetic equals NumPy's vector norm."""
        x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
        norm = np.linalg.vector_norm(x.astype(np.float64), axis=axes, ord=order, keepdims=True)
        result = adapter.to_host(adapter.normalize(make(x), axes, order))
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, x / norm, rtol=2e-5)

    @pytest.mark.parametrize("order", ORDERS)
    def test_normalize_keeps_zero_vectors(self, adapter: ArrayAdapter, make: Make, order: float) -> None:
        """A vector without a norm stays as it is."""
        x = np.array([[0, 0], [3, 4]], np.float32)
        result = adapter.to_host(adapter.normalize(make(x), (1,), order))
        np.testing.assert_array_equal(result[0], [0, 0])
        assert np.isfinite(result).all()

    @pytest.mark.parametrize("size", [1e30, 1e-30])
    @pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0])
    def test_normalize_neither_overflows_nor_underflows(
        self, adapter: ArrayAdapter, make: Make, order: float, size: float
    ) -> None:
        """Values whose powers leave float32 come out with norm 1."""
        x = np.array([[3, 4]], np.float32) * np.float32(size)
        result = adapter.to_host(adapter.normalize(make(x), (1,), order))
        assert np.linalg.vector_norm(result.astype(np.float64), ord=order) == pytest.approx(1, rel=1e-5)

    def test_normalize_passes_on_nan_and_infinity(self, adapter: ArrayAdapter, make: Make) -> None:
        """NaN stays NaN; beside infinity every finite value is 0."""
        x = np.array([[np.nan, 1], [np.inf, 1]], np.float32)
        result = adapter.to_host(adapter.normalize(make(x), (1,), 2.0))
        np.testing.assert_array_equal(result, [[np.nan, np.nan], [np.nan, 0]])

    def test_normalize_computes_float16_in_float32(self, adapter: ArrayAdapter, make: Make) -> None:
        """Squares beyond 65504 do not overflow, and float16 comes back."""
        result = adapter.to_host(adapter.normalize(make(np.array([[300, 400]], np.float16)), (1,), 2.0))
        assert result.dtype == np.float16
        np.testing.assert_allclose(result, [[0.6, 0.8]], rtol=1e-3)

    def test_normalize_of_nothing_is_nothing(self, adapter: ArrayAdapter, make: Make) -> None:
        """Empty tensors keep their shape, whatever the order."""
        for order in ORDERS:
            assert tuple(adapter.normalize(make(np.zeros((0, 3), np.float32)), (0,), order).shape) == (0, 3)
