"""Sequence.from_arrays: batches of rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit import Loader, Sequence
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.testing.batch_source import BatchSourceContract, assert_same_batch


class OnlyRows:
    """The shape of HDF5Matrix: a length, and rows by slice or by an array of indices, in any order."""

    def __init__(self, data):
        self.data = data
        self.asked = []

    def __len__(self):
        return len(self.data)

    def __getitem__(self, rows):
        self.asked.append(type(rows))
        assert isinstance(rows, (slice, np.ndarray))
        return self.data[rows].copy()


class TestFromArrays(BatchSourceContract):
    """Satisfies the contract of a batch source."""

    @pytest.fixture
    def source(self):
        return Sequence.from_arrays(np.arange(10.0), {"a": list(range(10))}, batch_size=4)


class TestShuffledFromArrays(BatchSourceContract):
    """Satisfies the contract of a batch source, within an epoch."""

    @pytest.fixture
    def source(self):
        return Sequence.from_arrays(
            (np.arange(10), OnlyRows(np.eye(10))), np.arange(10), batch_size=3, shuffle=True
        )


@given(
    samples=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_every_sample_is_in_exactly_one_batch(samples, batch_size, shuffle, seed):
    """Law: for any sizes, an epoch is a permutation of the samples, x beside its y."""
    x = np.arange(samples)
    source = Sequence.from_arrays(x, -x, batch_size=batch_size, shuffle=shuffle, seed=seed)
    for _ in range(2):
        batches = list(Loader(source))
        assert [len(bx) for bx, by in batches[:-1]] == [batch_size] * (len(batches) - 1)
        together = np.concatenate([bx for bx, by in batches])
        np.testing.assert_array_equal(np.sort(together), x)
        np.testing.assert_array_equal(np.concatenate([by for bx, by in batches]), -together)
        if not shuffle:
            np.testing.assert_array_equal(together, x)


def test_shuffling_is_new_in_each_epoch_and_follows_the_seed():
    def epochs(seed):
        loader = Loader(Sequence.from_arrays(np.arange(50), batch_size=7, shuffle=True, seed=seed))
        return [np.concatenate(list(loader)).tolist() for _ in range(3)]

    first, again, other = epochs(3), epochs(3), epochs(4)
    assert first == again
    assert first != other
    assert len({tuple(order) for order in first}) == 3


def test_without_seed_two_sequences_differ():
    one, two = (Sequence.from_arrays(np.arange(100), batch_size=100, shuffle=True) for _ in range(2))
    assert one[0].tolist() != two[0].tolist()
    assert one[0].tolist() == one[0].tolist()


def test_shuffled_epochs_are_the_same_in_worker_processes():
    """Workers compute the order of an epoch from its number."""
    make = lambda: Sequence.from_arrays(np.arange(20), batch_size=3, shuffle=True, seed=1)  # noqa: E731
    expected = [[batch.tolist() for batch in epoch] for loader in [Loader(make())] for epoch in [loader] * 3]
    with Loader(make(), workers=2, engine="processes") as loader:
        assert [[batch.tolist() for batch in loader] for _ in range(3)] == expected


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12).reshape(6, 2),
        [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]],
        list(np.arange(12).reshape(6, 2)),
        OnlyRows(np.arange(12).reshape(6, 2)),
    ],
    ids=["array", "list", "list of arrays", "rows"],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_array_likes_give_the_same_batches(x, shuffle):
    """NumPy is the oracle for every form of the same data."""
    expected = Sequence.from_arrays(np.arange(12).reshape(6, 2), batch_size=4, shuffle=shuffle, seed=2)
    for actual, batch in zip(
        Sequence.from_arrays(x, batch_size=4, shuffle=shuffle, seed=2), expected, strict=True
    ):
        assert_same_batch(actual, batch)


def test_rows_in_order_are_asked_for_as_a_slice():
    """A file is read in one piece where that is possible."""
    rows = OnlyRows(np.arange(6))
    list(Sequence.from_arrays(rows, batch_size=2))
    assert set(rows.asked) == {slice}
    list(Sequence.from_arrays(rows, batch_size=2, shuffle=True))
    assert rows.asked[-1] is np.ndarray


def test_torch_tensors_stay_tensors():
    import torch

    data = torch.arange(6)
    for shuffle in (False, True):
        source = Sequence.from_arrays(data, batch_size=4, shuffle=shuffle, seed=1)
        batch = source[0]
        assert isinstance(batch, torch.Tensor)
        batch += 100
    assert data.tolist() == [0, 1, 2, 3, 4, 5]


def test_jax_arrays_stay_jax_arrays():
    import jax.numpy as jnp

    source = Sequence.from_arrays(jnp.arange(6), batch_size=4, shuffle=True, seed=1)
    assert isinstance(source[0], jnp.ndarray)
    assert sorted(np.concatenate([np.asarray(batch) for batch in source]).tolist()) == [0, 1, 2, 3, 4, 5]


def test_nested_inputs_keep_their_structure():
    class Pair(NamedTuple):
        left: np.ndarray
        right: list

    x = {"a": np.arange(4), "b": (np.arange(4) * 10, Pair(np.arange(4), [5, 6, 7, 8]))}
    first, last = Sequence.from_arrays(x, (np.zeros(4),), batch_size=3)
    assert isinstance(first[0]["b"][1], Pair)
    assert last[0]["b"][1].right.tolist() == [8]
    assert last[0]["a"].tolist() == [3]
    assert isinstance(first[1], tuple)


def test_a_tuple_of_inputs_alone_is_no_input_with_targets():
    """Keras would read (a, b) as inputs and targets."""
    (batch,) = Sequence.from_arrays((np.arange(2), np.arange(2)), batch_size=2)
    assert len(batch) == 1
    assert len(batch[0]) == 2


def test_transform_makes_the_batch():
    source = Sequence.from_arrays([1, 2, 3], [4, 5, 6], batch_size=2, transform=lambda x, y: (x * 10, y - 1))
    assert [(x.tolist(), y.tolist()) for x, y in source] == [([10, 20], [3, 4]), ([30], [5])]
    alone = Sequence.from_arrays(
        ["a", "b"], batch_size=2, transform=lambda names: [f"{n}.png" for n in names]
    )
    assert alone[0] == ["a.png", "b.png"]


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_copies(shuffle):
    """What a consumer or a transform does in place stays in its batch."""

    def halve(x):
        x /= 2
        return x

    data = np.arange(6.0)
    source = Sequence.from_arrays(data, batch_size=6, shuffle=shuffle, transform=halve)
    source[0][:] = -1
    assert sorted(source[0].tolist()) == [0, 0.5, 1, 1.5, 2, 2.5]
    np.testing.assert_array_equal(data, np.arange(6.0))


def test_different_lengths_are_named():
    with pytest.raises(ArgumentError, match=r"x\['a'\]: 3, x\['b'\]\[0\]: 4, y: 3"):
        Sequence.from_arrays({"a": [1, 2, 3], "b": (np.zeros(4),)}, [1, 2, 3])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (3, "x is int, which has no rows"),
        ("text", "x is str"),
        (np.float32(3), "has no rows|single number"),
        (np.array(3), "x is a single number"),
        ((np.zeros(2), 5), r"x\[1\] is int"),
        (iter([1]), "list_iterator"),
    ],
)
def test_what_is_no_array_is_named(x, message):
    with pytest.raises(UnsupportedObjectError, match=message):
        Sequence.from_arrays(x)


def test_no_array_at_all():
    with pytest.raises(ArgumentError, match="x holds no array"):
        Sequence.from_arrays({})


def test_ragged_lists_say_what_to_do():
    source = Sequence.from_arrays([[1, 2], [3]], batch_size=2)
    with pytest.raises(ArgumentError, match="the samples in the list x differ in shape; pad them"):
        source[0]


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8", None])
def test_batch_size_is_checked(batch_size):
    with pytest.raises(ArgumentError, match="batch_size is"):
        Sequence.from_arrays([1], batch_size=batch_size)


@pytest.mark.parametrize("seed", [-1, 1.5, "x"])
def test_seed_is_checked(seed):
    with pytest.raises(ArgumentError, match="seed is"):
        Sequence.from_arrays([1], shuffle=True, seed=seed)


@pytest.mark.parametrize("index", [-1, 2, 100])
def test_an_index_outside_raises(index):
    with pytest.raises(IndexError, match=rf"batch index {index} is outside \[0, 2\)"):
        Sequence.from_arrays([1, 2, 3], batch_size=2)[index]


def test_hdf5_matrix_is_an_array_like(tmp_path):
    """HDF5Matrix needs no special case."""
    import h5py

    hdf5 = pytest.importorskip("befit.hdf5")
    path = tmp_path / "data.h5"
    data = np.random.default_rng(0).normal(size=(23, 3)).astype("float32")
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=data, chunks=(4, 3), compression="gzip")
    matrix = hdf5.HDF5Matrix(str(path), "x", 2, 21)
    for shuffle in (False, True):
        oracle = Sequence.from_arrays(data[2:21], batch_size=5, shuffle=shuffle, seed=0)
        source = Sequence.from_arrays(matrix, batch_size=5, shuffle=shuffle, seed=0)
        for actual, expected in zip(source, oracle, strict=True):
            np.testing.assert_array_equal(actual, expected)
