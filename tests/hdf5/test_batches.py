"""HDF5Matrix.batches: every row once an epoch, in an order that its seed decides."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from befit import HDF5Matrix
from befit.errors import ArgumentError, OutOfWindowError
from befit.typing import BatchSource


def epoch(batches):
    return [batches[i] for i in range(len(batches))]


def test_is_a_batch_source(path):
    assert isinstance(HDF5Matrix(path, "x").batches(), BatchSource)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    start=st.integers(0, 10),
    batch_size=st.integers(1, 13),
    shuffle=st.booleans(),
    seed=st.one_of(st.none(), st.integers(0, 2**40)),
)
def test_every_row_once_an_epoch_with_its_label(path, start, batch_size, shuffle, seed):
    x = HDF5Matrix(path, "x", start)
    labels = np.arange(start, 10) * 10
    batches = x.batches(labels, batch_size, shuffle=shuffle, seed=seed)
    for _ in range(2):
        found = epoch(batches)
        assert [len(rows) for rows, _ in found[:-1]] == [batch_size] * (len(found) - 1)
        if found:
            rows = np.concatenate([rows for rows, _ in found])
            found_labels = np.concatenate([labels for _, labels in found])
            np.testing.assert_array_equal(rows[:, 0] / 3 * 10, found_labels)
            np.testing.assert_array_equal(np.sort(found_labels), labels)
        assert len(found) == -(-len(labels) // batch_size)
        batches.on_epoch_end()


def test_without_shuffle_the_order_is_that_of_the_file(path):
    batches = HDF5Matrix(path, "x").batches(batch_size=4)
    assert [batch.shape for batch in epoch(batches)] == [(4, 3), (4, 3), (2, 3)]
    np.testing.assert_array_equal(np.concatenate(epoch(batches)), HDF5Matrix(path, "x"))


def test_epochs_differ_and_seeds_repeat_them(path):
    y = HDF5Matrix(path, "y")
    first, second, other = (y.batches(batch_size=10, shuffle=True, seed=seed) for seed in (5, 5, 6))
    orders = []
    for _ in range(4):
        assert first[0].tolist() == second[0].tolist() != other[0].tolist()
        orders.append(first[0].tolist())
        for batches in (first, second, other):
            batches.on_epoch_end()
    assert len({tuple(order) for order in orders}) == 4
    unseeded = [y.batches(batch_size=10, shuffle=True)[0].tolist() for _ in range(5)]
    assert len({tuple(order) for order in unseeded}) > 1


def test_a_copy_in_another_process_agrees(path):
    """Also in a later epoch, and without a seed that was given."""
    batches = HDF5Matrix(path, "x").batches(HDF5Matrix(path, "y"), batch_size=3, shuffle=True)
    batches.on_epoch_end()
    copied = pickle.loads(pickle.dumps(batches))
    for _ in range(2):
        for ours, theirs in zip(epoch(batches), epoch(copied), strict=True):
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])
        batches.on_epoch_end()
        copied.on_epoch_end()


def test_every_order_is_equally_likely(tmp_path):
    """Over 600 epochs of three rows each of the six orders comes about a hundred times."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3)
    batches = HDF5Matrix(tmp_path / "a.h5", "x").batches(batch_size=3, shuffle=True, seed=0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(600):
        order = tuple(batches[0].tolist())
        counts[order] = counts.get(order, 0) + 1
        batches.on_epoch_end()
    assert len(counts) == 6
    assert all(60 < count < 140 for count in counts.values())


def test_arguments_that_cannot_work(path):
    x = HDF5Matrix(path, "x")
    with pytest.raises(ArgumentError, match="y has 9 rows and x has 10"):
        x.batches(np.zeros(9))
    with pytest.raises(ArgumentError, match="y has a single value"):
        x.batches(3)
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        x.batches(batch_size=0)
    for index in (-1, 4):
        with pytest.raises(OutOfWindowError, match=rf"batch {index} is outside \[0, 4\)"):
            x.batches(batch_size=3)[index]
