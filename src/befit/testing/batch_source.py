"""The test kit of ``BatchSource``: what a ``Loader`` relies on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cloudpickle
import numpy as np
import pytest

from befit.loading import Loader
from befit.typing import Batch, BatchSource


def assert_same_batch(actual: Batch, expected: Batch) -> None:
    """Assert that two batches have the same structure, types, dtypes, shapes and values."""
    assert type(actual) is type(expected), f"{type(actual)} is not {type(expected)}"
    if isinstance(expected, Mapping):
        assert list(actual) == list(expected)
        for key in expected:
            assert_same_batch(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected)
        for left, right in zip(actual, expected, strict=True):
            assert_same_batch(left, right)
    elif isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        np.testing.assert_array_equal(actual, expected)
    elif hasattr(expected, "__array__"):
        np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))
    else:
        assert actual == expected or actual != actual


class BatchSourceContract:
    """Inherit, and provide a fixture ``source``: at least one batch, and no random numbers."""

    @pytest.fixture
    def source(self) -> Any:
        """Return the source under test."""
        raise NotImplementedError("provide a fixture named source")

    def test_has_the_shape_of_a_source(self, source: BatchSource) -> None:
        """A loader accepts it."""
        assert isinstance(source, BatchSource)

    def test_length_is_a_whole_number(self, source: BatchSource) -> None:
        """The number of batches is known before the first is loaded."""
        assert len(source) >= 1

    def test_a_batch_can_be_loaded_again(self, source: BatchSource) -> None:
        """A batch whose worker died is computed a second time, and must be the same."""
        for index in range(len(source)):
            assert_same_batch(source[index], source[index])

    def test_batches_do_not_depend_on_the_order_of_loading(self, source: BatchSource) -> None:
        """Workers load in any order."""
        last_first = {index: source[index] for index in reversed(range(len(source)))}
        for index in range(len(source)):
            assert_same_batch(source[index], last_first[index])

    def test_loader_delivers_every_batch_in_order(self, source: BatchSource) -> None:
        """An epoch is the batches by number, with and without workers."""
        for workers in (0, 2):
            expected = [source[index] for index in range(len(source))]  # may be others in each epoch
            with Loader(source, workers=workers) as loader:
                delivered = list(loader)
            assert len(delivered) == len(expected)
            for actual, batch in zip(delivered, expected, strict=True):
                assert_same_batch(actual, batch)

    def test_travels_to_worker_processes(self, source: BatchSource) -> None:
        """The source that a worker process rebuilds gives the same batches."""
        copy = cloudpickle.loads(cloudpickle.dumps(source, protocol=5))
        assert len(copy) == len(source)
        for index in range(len(source)):
            assert_same_batch(copy[index], source[index])
