"""Loader: batches of every kind, what is loaded ahead, and its arguments."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from befit import Loader, Sequence
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.testing.batch_source import assert_same_batch

IN_PROCESS = pytest.mark.parametrize("engine", ["inline", "threads"])  # the scheduler is the same for all


def indices(epoch):
    return [int(batch[0]) for batch in epoch]


def test_batches_of_every_kind_arrive_unharmed(make_loader):
    """None, empty, ragged, strings, objects, structured, strided, Fortran, 0-d, read-only, nested."""
    import torch

    record = np.array([(1, 2.5), (3, 4.5)], dtype=[("a", "i4"), ("b", "f8")])
    readonly = np.arange(5)
    readonly.flags.writeable = False
    batches = [
        None,
        [],
        {},
        np.zeros((0, 3), np.uint8),
        [np.arange(2), np.arange(3)],
        np.array(["a", "bcd"]),
        np.array([None, "x", {"k": 1}], dtype=object),
        record,
        np.arange(24).reshape(4, 6)[::2, ::-3],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.float32(1.5),
        np.array(7),
        readonly,
        {"x": (np.arange(3.0), [b"bytes", 5, (None,)]), "y": {"z": np.ones((2, 2), np.float16)}},
        "text",
        torch.arange(4),
        np.arange(300_000, dtype=np.float64).reshape(100, 3000),
        [np.full(3, number) for number in range(200)],
    ]
    for actual, expected in zip(make_loader(batches), batches, strict=True):
        assert_same_batch(actual, expected)


def test_batches_from_processes_can_be_written_to():
    """What the consumer does to a batch stays with the consumer."""
    data = np.arange(10.0)
    with Loader(Sequence.from_arrays(data, batch_size=5), workers=1, engine="processes") as loader:
        for _ in range(2):
            for batch in loader:
                batch *= -1
    np.testing.assert_array_equal(data, np.arange(10.0))


def test_all_batches_can_be_kept(make_loader):
    class Large(Sequence):
        def __len__(self):
            return 30

        def __getitem__(self, idx):
            return np.full(100_000, idx)

    kept = list(make_loader(Large()))
    assert all((batch == index).all() for index, batch in enumerate(kept))


@IN_PROCESS
def test_a_plain_list_is_a_source(make_loader):
    """Any __len__ and __getitem__ will do; no on_epoch_end is needed."""
    loader = make_loader([10, 20, 30])
    assert [list(loader) for _ in range(2)] == [[10, 20, 30]] * 2


@pytest.mark.parametrize("workers", [0, 2])
def test_prefetch_bounds_what_is_loaded_ahead(workers):
    """No more than workers * prefetch batches are ready or in work beside the one in use."""
    asked = []

    class Watched(Sequence):
        def __len__(self):
            return 40

        def __getitem__(self, idx):
            asked.append(idx)
            return idx

    for position, _ in enumerate(Loader(Watched(), workers=workers, prefetch=3)):
        assert max(asked) <= position + workers * 3


def test_inline_loads_only_what_is_asked_for():
    asked = []

    class Watched(Sequence):
        def __len__(self):
            return 5

        def __getitem__(self, idx):
            asked.append((idx, threading.current_thread()))
            return idx

    for position, _ in enumerate(Loader(Watched())):
        assert [index for index, _ in asked] == list(range(position + 1))
    assert {thread for _, thread in asked} == {threading.current_thread()}


def test_threads_are_the_default_with_workers():
    assert Loader([], workers=2).engine == "threads"
    assert Loader([]).engine == "inline"


def test_a_loader_that_is_dropped_ends_its_threads(numbered):
    before = set(threading.enumerate())
    loader = Loader(numbered(), workers=2)
    for _ in loader:
        break
    threads = [thread for thread in threading.enumerate() if thread not in before]
    assert len(threads) == 2
    alive = weakref.ref(loader)
    del loader
    gc.collect()
    assert alive() is None
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_the_iterator_keeps_its_loader_at_work(numbered):
    """``for batch in Loader(...)`` holds the iterator only."""
    assert indices(Loader(numbered(50), workers=2, prefetch=1)) == list(range(50))


def test_length_of_the_loader(numbered):
    assert len(Loader(numbered(4))) == 4


def test_repr_names_source_and_workers(numbered):
    assert repr(Loader(numbered(4), workers=2)) == "<Loader of Numbered, workers=2, engine='threads'>"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": -1}, "workers is -1"),
        ({"start_method": "forkserver"}, "start_method is 'forkserver'; write 'spawn' or 'fork'"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"prefetch": 0}, "prefetch is 0"),
        ({"seed": -3}, "seed is -3"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": -1.0}, "timeout is -1.0"),
        ({"engine": "fork"}, "engine is 'fork'; write one of 'auto', 'inline', 'threads', 'processes'"),
        ({"engine": "threads"}, "engine='threads' needs workers"),
        ({"engine": "processes", "workers": 0}, "engine='processes' needs workers"),
        ({"engine": "inline", "workers": 2}, "engine='inline' has no workers; write workers=0"),
    ],
)
def test_arguments_are_checked(settings, message):
    with pytest.raises(ArgumentError, match=message):
        Loader([1, 2], **settings)


@pytest.mark.parametrize("source", [iter([1]), 5, {1, 2}, None])
def test_what_is_no_source_is_named(source):
    with pytest.raises(UnsupportedObjectError, match=f"{type(source).__qualname__} is no source of batches"):
        Loader(source)
