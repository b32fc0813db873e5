"""as_batches: a Loader for a sequence, a Stream for an iterator, with the settings that Keras 2 had."""

from __future__ import annotations

import random

import pytest

from befit import Loader
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading import Stream, as_batches


class Recorded:
    """A sequence whose loader tells how far ahead of the consumer it computes."""

    def __len__(self):
        return 20

    def __getitem__(self, idx):
        return idx


def test_a_sequence_becomes_a_loader(numbered):
    loader = as_batches(numbered(), workers=2, engine="processes")
    assert isinstance(loader, Loader)
    assert (loader.workers, loader.engine) == (2, "processes")
    assert as_batches(numbered()).engine == "threads"
    assert as_batches(numbered(), workers=0, engine="processes").engine == "inline"


@pytest.mark.parametrize(
    ("workers", "prefetch", "per_worker"), [(1, 10, 10), (4, 10, 2), (4, 2, 1), (0, 3, 3)]
)
def test_prefetch_counts_the_batches_of_all_workers(workers, prefetch, per_worker):
    loader = as_batches(Recorded(), workers=workers, prefetch=prefetch)
    assert loader.stats().prefetch == per_worker


@pytest.mark.parametrize(("workers", "ahead"), [(0, 0), (1, 7), (3, 7)])
def test_an_iterator_becomes_a_stream(workers, ahead):
    stream = as_batches(iter([1, 2]), workers=workers, prefetch=7, shuffle=True)
    assert isinstance(stream, Stream)
    assert stream.prefetch == ahead
    assert list(stream) == [1, 2]


def test_loaders_and_streams_stay_what_they_are(numbered):
    for batches in (Loader(numbered()), Stream(iter([]))):
        assert as_batches(batches, workers=3, shuffle=True) is batches


def test_the_order_follows_from_pythons_random():
    """Once, and only if the order is to be random; each epoch has an order of its own."""

    def epochs(seed):
        random.seed(seed)
        loader = as_batches(Recorded(), shuffle=True)
        return [list(loader), list(loader)]

    first, second = epochs(1)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(20))
    assert epochs(1) == [first, second]
    assert epochs(2) != [first, second]
    state = random.getstate()
    assert list(as_batches(Recorded())) == list(range(20))
    assert random.getstate() == state


def test_what_is_no_source_is_refused():
    with pytest.raises(UnsupportedObjectError, match=r"int is no source of batches; it needs __len__ and"):
        as_batches(3)
    with pytest.raises(ArgumentError, match="workers is -1"):
        as_batches(iter([]), workers=-1)
    with pytest.raises(ArgumentError, match="prefetch is 0"):
        as_batches(iter([]), prefetch=0)
