"""An HDF5Matrix is a map-style dataset of PyTorch: a batch is read at once, in this process or in workers."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    StackDataset,
    Subset,
    random_split,
)

from befit import HDF5Matrix  # noqa: E402

ROWS, BATCH = 50, 8


class Counted(HDF5Matrix):
    """Knows how many batches were asked for at once, and how many single rows."""

    batches = rows = 0

    def __getitems__(self, indices):
        self.batches += 1
        return super().__getitems__(indices)

    def __getitem__(self, key):
        self.rows += np.ndim(key) == 0 and not isinstance(key, slice)
        return super().__getitem__(key)


@pytest.fixture
def file(tmp_path):
    """Rows that are their own numbers, compressed."""
    numbers = np.arange(ROWS * 6, dtype="float32").reshape(ROWS, 6)
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("x", data=numbers, chunks=(7, 6), compression="gzip")
        file["y"] = np.arange(ROWS)
    return tmp_path / "file.h5"


def in_order(loader, rows, step=1):
    """Whether batches of the loader, put in order, are all the rows."""
    found = torch.cat(list(loader)).numpy()
    return (found[np.argsort(found[:, 0])] == rows[::step]).all()


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_asks_for_batches(file, shuffle):
    x = Counted(file, "x")
    loader = DataLoader(x, BATCH, shuffle=shuffle)
    assert in_order(loader, x[:])
    assert (x.batches, x.rows) == (7, 0)


def test_batches_are_contiguous_tensors_of_their_own(file):
    """A training loop may write into them."""
    x = HDF5Matrix(file, "x")
    for batch in DataLoader(x, BATCH):
        assert batch.is_contiguous()
        batch.zero_()
    assert (torch.cat(list(DataLoader(x, BATCH))).numpy() == x[:]).all()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers(file, context):
    """Forked after the file was opened, or sent a pickle of the matrix."""
    x = HDF5Matrix(file, "x", 1, 41, normalizer=np.sqrt)
    rows = x[:]
    loader = DataLoader(
        x,
        BATCH,
        shuffle=True,
        num_workers=2 if context == "fork" else 1,  # a clean interpreter imports torch
        multiprocessing_context=context,
        persistent_workers=True,
    )
    for _ in range(2):
        assert in_order(loader, rows)
    assert (x[:] == rows).all()
    del loader


def test_whole_batches_as_one_sample(file):
    """The fastest way: a sampler of batches, and nothing to collate."""
    x = Counted(file, "x")
    sampler = BatchSampler(RandomSampler(x), BATCH, drop_last=False)
    loader = DataLoader(x, sampler=sampler, batch_size=None)
    assert [len(batch) for batch in loader] == [8] * 6 + [2]
    assert in_order(loader, x[:])
    assert (x.batches, x.rows) == (0, 0)


def test_the_sampler_of_a_matrix(file):
    x = HDF5Matrix(file, "x")
    loader = DataLoader(x, sampler=x.sampler(BATCH, shuffle="chunks", seed=1), batch_size=None)
    assert in_order(loader, x[:])


def test_parts_of_it(file):
    """Subset and random_split pass whole batches on."""
    x = Counted(file, "x")
    assert in_order(DataLoader(Subset(x, range(0, ROWS, 2)), BATCH), x[:], step=2)
    first, second = random_split(x, [0.6, 0.4], torch.Generator().manual_seed(0))
    assert (len(first), len(second)) == (30, 20)
    parts = [torch.cat(list(DataLoader(part, BATCH))) for part in (first, second)]
    assert in_order([torch.cat(parts)], x[:])
    assert x.rows == 0


def test_several_one_after_the_other(file):
    parts = [HDF5Matrix(file, "x", end=20), HDF5Matrix(file, "x", 20)]
    assert in_order(DataLoader(ConcatDataset(parts), BATCH, shuffle=True), HDF5Matrix(file, "x")[:])


def test_rows_beside_their_labels(file):
    x, y = Counted(file, "x"), Counted(file, "y")
    for rows, labels in DataLoader(StackDataset(x, y), BATCH, shuffle=True):
        assert (rows[:, 0] == labels * 6).all()
    assert (x.batches, x.rows, y.rows) == (7, 0, 0)


def test_iterating_ends(file):
    """``for row in matrix`` and torch's own fallback both stop after the last row."""
    x = HDF5Matrix(file, "x")
    assert len(list(x)) == ROWS
    with pytest.raises(IndexError):
        x[ROWS]


def test_keras_beside_torch_changes_nothing(file):
    """What a matrix answers Keras, it answers nobody else: it stays a map-style dataset."""
    x = HDF5Matrix(file, "x")
    assert not isinstance(x, torch.utils.data.IterableDataset)
    assert not isinstance(x, torch.Tensor)
    assert not torch.is_tensor(x)
    assert (torch.as_tensor(np.asarray(x)).numpy() == x[:]).all()
