"""Shards: the batches of an epoch, shared by processes that train together."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit import Loader
from befit.errors import ArgumentError
from befit.loading.shards import Shard


@settings(deadline=None)
@given(
    length=st.integers(0, 40),
    world=st.integers(1, 7),
    shuffle=st.booleans(),
    remainder=st.sampled_from(["pad", "drop"]),
)
def test_ranks_have_equal_counts_and_together_everything(length, world, shuffle, remainder):
    """Law: padded, each batch at least once; dropped, each at most once; off by less than a round."""
    ranks = [
        Loader(list(range(length)), shuffle=shuffle, seed=1, shard=(rank, world), remainder=remainder)
        for rank in range(world)
    ]
    for _ in range(2):
        epoch = [list(loader) for loader in ranks]
        assert {len(part) for part in epoch} == {len(loader) for loader in ranks}
        assert len({len(part) for part in epoch}) == 1
        delivered = [batch for part in epoch for batch in part]
        if remainder == "pad":
            assert set(delivered) == set(range(length))
            assert len(delivered) - length < world
        else:
            assert len(set(delivered)) == len(delivered)
            assert length - len(delivered) < world


def test_steps_of_all_ranks_are_the_order_of_the_epoch():
    """After n steps the same batches were used as after n times the world size of one process."""
    alone = list(Loader(list(range(12)), shuffle=True, seed=4))
    ranks = [Loader(list(range(12)), shuffle=True, seed=4, shard=(rank, 3)) for rank in range(3)]
    assert [batch for step in zip(*ranks, strict=True) for batch in step] == alone


def test_batches_that_do_not_go_round_ask_for_a_decision():
    loader = Loader(list(range(10)), shard=(1, 4))
    message = (
        r"10 batches cannot be shared evenly by 4 processes; write remainder='pad' to repeat 2 .* leave out 2"
    )
    with pytest.raises(ArgumentError, match=message):
        list(loader)
    with pytest.raises(ArgumentError, match=message):
        len(loader)
    assert list(Loader(list(range(8)), shard=(1, 4))) == [1, 5]


def test_padding_repeats_the_first_batches_of_the_order():
    """Not of what is left of it, which may be fewer than there are ranks."""
    assert [Shard(rank, 4, "pad").take("abcdefghij", 4) for rank in range(4)] == [
        ["e", "i"],
        ["f", "j"],
        ["g", "a"],
        ["h", "b"],
    ]


def test_fewer_batches_than_ranks():
    assert [list(Loader([7], shard=(rank, 3), remainder="pad")) for rank in range(3)] == [[7]] * 3
    assert [list(Loader([7], shard=(rank, 3), remainder="drop")) for rank in range(3)] == [[]] * 3


def test_random_numbers_of_a_batch_do_not_depend_on_the_rank():
    from befit import Sequence
    from befit.loading import batch_rng

    class Noise(Sequence):
        def __len__(self):
            return 6

        def __getitem__(self, idx):
            return idx, float(batch_rng().random())

    alone = dict(Loader(Noise(), seed=1))
    shared = [dict(Loader(Noise(), seed=1, shard=(rank, 2))) for rank in range(2)]
    assert {**shared[0], **shared[1]} == alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shard": (4, 4)}, r"shard is \(4, 4\); ranks count from 0 to 3"),
        ({"shard": (-1, 4)}, "the rank in shard is -1"),
        ({"shard": (0, 0)}, "the world size in shard is 0"),
        ({"shard": 3}, r"shard is 3; write \(rank, world size\)"),
        ({"shard": "all"}, "shard is 'all'; write 'auto'"),
        ({"shard": (0, 2), "remainder": "repeat"}, "remainder is 'repeat'; write 'pad'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Loader([1, 2], **arguments)


def test_auto_without_other_processes_is_everything(monkeypatch):
    monkeypatch.setattr("befit.loading.shards.detect_shard", lambda: None)
    assert list(Loader([1, 2, 3], shard="auto")) == [1, 2, 3]
    monkeypatch.setattr("befit.loading.shards.detect_shard", lambda: (1, 3))
    assert list(Loader([1, 2, 3], shard="auto")) == [2]
