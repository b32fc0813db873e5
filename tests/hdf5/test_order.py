"""The orders of an epoch: every row once, each chunk decoded once and ahead, the same in every copy."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit import HDF5Matrix, Loader
from befit.errors import ArgumentError
from befit.hdf5 import order, source
from befit.hdf5.blocks import BlockDecoder
from befit.hdf5.order import EpochOrder

WAIT = 60  # seconds until a test gives up waiting for something that must happen
SHUFFLES = ["chunks", "batch", True, False]


def all_rows(epoch: EpochOrder) -> list[np.ndarray]:
    """The rows of every batch."""
    return [np.asarray(epoch[index].rows) for index in range(len(epoch))]


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(0, 60),
    start=st.integers(0, 30),
    batch_size=st.integers(1, 17),
    block_rows=st.integers(1, 13),
    row_bytes=st.sampled_from([1, 1000, 70_000]),
    window_rows=st.one_of(st.none(), st.integers(1, 40)),
    shuffle=st.sampled_from(SHUFFLES),
    seed=st.integers(0, 9),
    group_bytes=st.sampled_from([1, 20_000]),
)
def test_every_row_once(
    rows, start, batch_size, block_rows, row_bytes, window_rows, shuffle, seed, group_bytes
):
    """For every window of a dataset; batches are full but for the last one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "_GROUP_BYTES", group_bytes)
        epochs = [
            EpochOrder(
                start,
                start + rows,
                batch_size,
                shuffle,
                seed,
                number,
                block_rows=block_rows,
                row_bytes=row_bytes,
                window_rows=window_rows,
            )
            for number in (0, 0, 1)
        ]
    first, again, later = map(all_rows, epochs)
    assert [len(batch) for batch in first] == [batch_size] * (rows // batch_size) + [rows % batch_size] * (
        rows % batch_size > 0
    )
    for found in (first, later):
        assert np.sort(np.concatenate([[], *found])).tolist() == list(range(start, start + rows))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]
    if shuffle != "chunks":
        return
    # A batch asked for out of turn is the same one, and says which blocks its rows are in.
    turns = np.random.default_rng(seed).permutation(len(first))
    for index in turns:
        batch = epochs[1][int(index)]
        assert batch.rows.tolist() == first[index].tolist()
        assert set((batch.rows // block_rows).tolist()) <= set(batch.window.current.tolist())
    # A block belongs to neighbouring batches only: it is in one window.
    for block in range(start // block_rows, (start + rows) // block_rows + 1):
        users = [index for index in range(len(first)) if block in epochs[0][index].window.current]
        assert (
            users == list(range(users[0], users[-1] + 1))
            if users
            else rows == 0 or block * block_rows >= start
        )


def test_windows_hold_as_many_rows_as_wanted(monkeypatch):
    """And the rows of a window come from all over the file."""
    monkeypatch.setattr(order, "_GROUP_BYTES", 1)
    epoch = EpochOrder(0, 1000, 50, "chunks", 3, 0, block_rows=10, row_bytes=8, window_rows=100)
    for index in range(len(epoch)):
        batch = epoch[index]
        assert len(batch.window.current) == 10
        assert len(batch.window.coming) == (10 if index < 18 else 0)
    spread = [np.ptp(epoch[index].window.current) for index in range(len(epoch))]
    assert np.mean(spread) > 50


def test_small_chunks_are_taken_together():
    """64 KiB of neighbouring rows: disks and networks like it."""
    epoch = EpochOrder(0, 100_000, 100, "chunks", 0, 0, block_rows=1, row_bytes=1024, window_rows=640)
    rows = np.sort(np.concatenate([epoch[index].rows for index in range(6)]))
    assert len(np.unique(rows // 64)) == 10
    assert len(epoch[0].window.current) == 640


def test_an_order_of_other_rows_each_epoch_and_seed():
    def rows(seed, epoch):
        made = EpochOrder(0, 300, 300, "chunks", seed, epoch, block_rows=10, row_bytes=8)
        return tuple(made[0].rows.tolist())

    assert len({rows(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


def test_whole_batches_are_shuffled():
    """As Keras did it: a last batch that is not full stays the last."""
    found = all_rows(EpochOrder(7, 107, 8, "batch", 1, 0, block_rows=3, row_bytes=8))
    assert all(batch.tolist() == list(range(batch[0], batch[0] + len(batch))) for batch in found)
    assert found[-1].tolist() == [103, 104, 105, 106]
    starts = [int(batch[0]) for batch in found]
    assert starts != sorted(starts)


@pytest.mark.parametrize("wrong", ["window", 1, None, 0.5])
def test_no_such_order(path, wrong):
    with pytest.raises(ArgumentError, match=r"write True, False, 'batch' or 'chunks'"):
        HDF5Matrix(path, "x").batches(shuffle=wrong)
    with pytest.raises(ArgumentError, match="window_rows is 0"):
        HDF5Matrix(path, "x").sampler(window_rows=0)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that makes a matrix of ``rows`` numbers, compressed, for which there is no room."""
    monkeypatch.setattr(source, "scratch_folder", lambda nbytes: None)

    def made(rows: int, chunk: int = 10, **options) -> HDF5Matrix:
        path = tmp_path / f"{rows} {chunk}.h5"
        with h5py.File(path, "w") as file:
            data = np.zeros((rows, 1024), "i8")  # a chunk is more than what is taken together anyway
            data[:, :4] = np.arange(rows * 4).reshape(rows, 4)
            file.create_dataset("x", data=data, chunks=(chunk, 1024), compression="gzip")
        return HDF5Matrix(path, "x", cache_bytes=100, **options)

    return made


class Counting:
    """Counts the blocks that are decoded."""

    def __init__(self, monkeypatch) -> None:
        self.counts: Counter[int] = Counter()
        self.changed = threading.Condition()
        decode = BlockDecoder.decode

        def counting(decoder, blocks, *where):
            decode(decoder, blocks, *where)
            with self.changed:
                self.counts.update(blocks)
                self.changed.notify_all()

        monkeypatch.setattr(BlockDecoder, "decode", counting)

    def wait_for(self, blocks: np.ndarray) -> None:
        """Wait until blocks are decoded, which nobody else asks for."""
        with self.changed:
            assert self.changed.wait_for(lambda: set(blocks.tolist()) <= set(self.counts), WAIT)


@pytest.mark.parametrize(
    ("rows", "batch_size", "window_rows"),
    [
        (400, 16, None),
        (400, 20, 80),
        (400, 16, 80),
        (395, 13, 50),
        (395, 120, 50),
        (35, 6, 1000),
    ],
)
def test_each_chunk_is_decoded_once_an_epoch(make, monkeypatch, rows, batch_size, window_rows):
    """With batches in order, whatever lies across the border of two windows, and no room but for windows."""
    with make(rows) as x:
        counting = Counting(monkeypatch)
        batches = x.batches(batch_size=batch_size, shuffle="chunks", seed=1, window_rows=window_rows)
        for _ in range(3):
            counting.counts.clear()
            found = np.concatenate([batches[index] for index in range(len(batches))])
            assert np.sort(found[:, 0]).tolist() == list(range(0, rows * 4, 4))
            assert found[:, 3].tolist() == (found[:, 0] + 3).tolist()
            assert max(counting.counts.values(), default=1) == 1
            batches.on_epoch_end()


def test_chunks_are_decoded_before_they_are_asked_for(make, monkeypatch):
    """Those of the next window, while batches of this one are read."""
    with make(400) as x:
        counting = Counting(monkeypatch)
        batches = x.batches(batch_size=20, shuffle="chunks", seed=1, window_rows=80)
        epoch = x.epoch_order(20, "chunks", 1, 0, 80)
        for index in range(len(batches)):
            batches[index]
            counting.wait_for(epoch[index].window.coming)
            unknown = set(range(40)) - set(counting.counts)
            assert len(unknown) == 40 - 8 * min(5, index // 4 + 2)  # and no more than that


def test_a_chunk_that_cannot_be_decoded_ahead_is_an_error_in_its_turn(make, monkeypatch):
    """Not before, and not instead of the rows of this window."""
    with make(400) as x:
        epoch = x.epoch_order(20, "chunks", 1, 0, 80)
        bad, tried = int(epoch[0].window.coming[0]), threading.Event()
        decode = BlockDecoder.decode

        def damaged(decoder, blocks, *where):
            if bad in blocks:
                tried.set()
                raise ValueError("damaged")
            decode(decoder, blocks, *where)

        monkeypatch.setattr(BlockDecoder, "decode", damaged)
        batches = x.batches(batch_size=20, shuffle="chunks", seed=1, window_rows=80)
        batches[0]
        assert tried.wait(WAIT)
        for index in range(1, 4):
            assert batches[index][:, 0].tolist() == (epoch[index].rows * 4).tolist()
        with pytest.raises(ValueError, match="damaged"):
            [batches[index] for index in range(4, 8)]


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_copies_agree(make, shuffle):
    """By pickle, also in a later epoch and without a seed that was given."""
    x = make(95, start=3, end=91)
    labels = np.arange(3, 91)
    batches = x.batches(labels, 8, shuffle=shuffle, window_rows=30)
    batches.on_epoch_end()
    copied = pickle.loads(pickle.dumps(batches))
    for _ in range(2):
        found = [batches[index] for index in range(len(batches))]
        for index in reversed(range(len(copied))):  # in any turn
            for ours, theirs in zip(found[index], copied[index], strict=True):
                np.testing.assert_array_equal(ours, theirs)
        rows = np.concatenate([rows for rows, _ in found])
        np.testing.assert_array_equal(rows[:, 0] // 4, np.concatenate([label for _, label in found]))
        assert np.sort(rows[:, 0]).tolist() == list(range(12, 364, 4))
        batches.on_epoch_end()
        copied.on_epoch_end()


@pytest.mark.parametrize("shuffle", ["chunks", True])
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_loaders(make, engine, shuffle):
    """Workers take batches in turn, each with windows of its own; two epochs are exact."""
    x = make(230, start=5)
    batches = x.batches(np.arange(5, 230), 8, shuffle=shuffle, seed=4, window_rows=50)
    orders = []
    with Loader(batches, workers=3, engine=engine, prefetch=4) as loader:
        for _ in range(2):
            found = [(np.array(rows), np.array(labels)) for rows, labels in loader]
            labels = np.concatenate([labels for _, labels in found])
            rows = np.concatenate([rows for rows, _ in found])
            np.testing.assert_array_equal(rows[:, :4], labels[:, None] * 4 + np.arange(4))
            assert np.sort(labels).tolist() == list(range(5, 230))
            orders.append(labels.tolist())
    assert orders[0] != orders[1]
    again = x.batches(np.arange(5, 230), 8, shuffle=shuffle, seed=4, window_rows=50)
    assert np.concatenate([again[index][1] for index in range(len(again))]).tolist() in orders


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_the_sampler_of_a_data_loader(make, shuffle, workers):
    torch = pytest.importorskip("torch")
    if workers and shuffle not in ("chunks", False):
        pytest.skip("as without workers")
    x = make(95, start=3)
    sampler = x.sampler(8, shuffle=shuffle, seed=2, window_rows=30)
    context = "fork" if workers else None
    loader = torch.utils.data.DataLoader(
        x, sampler=sampler, batch_size=None, num_workers=workers, multiprocessing_context=context
    )
    assert len(loader) == len(sampler) == 12
    orders = []
    for _ in range(2):
        rows = np.concatenate([batch.numpy() for batch in loader])
        np.testing.assert_array_equal(rows[:, 3], rows[:, 0] + 3)
        assert np.sort(rows[:, 0]).tolist() == list(range(12, 380, 4))
        orders.append(rows[:, 0].tolist())
    assert (orders[0] == orders[1]) == (shuffle is False)
    sampler.set_epoch(0)
    assert np.concatenate([batch.numpy() for batch in loader])[:, 0].tolist() == orders[0]
