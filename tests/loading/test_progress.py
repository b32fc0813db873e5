"""state_dict and load_state_dict: an epoch goes on where it was, with other workers, in a later life."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit import Loader, Sequence
from befit.errors import ArgumentError, LoaderError
from befit.loading import batch_rng


class Noisy(Sequence):
    """Batches with random numbers, an order of its own, and a state."""

    def __init__(self, length=9):
        self.length = length
        self.epoch = 0

    def __len__(self):
        return self.length

    def __getitem__(self, idx):
        return idx, self.epoch, float(batch_rng().random())

    def on_epoch_end(self):
        self.epoch += 1

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


def make(length=9, **settings):
    return Loader(Noisy(length), **{"shuffle": True, "seed": 3, **settings})


def stream(loader, epochs):
    return [batch for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize("stop", [0, 1, 5, 8, 9])
@pytest.mark.parametrize(("workers", "engine"), [(0, "inline"), (3, "threads"), (2, "processes")])
def test_an_epoch_goes_on_where_it_was(stop, workers, engine):
    """At its beginning, in the middle, at the last batch, after the last one: the same batches as without."""
    expected = stream(make(), 4)
    first = make(workers=1)
    head = list(first) + list(itertools.islice(iter(first), stop))
    state = json.loads(json.dumps(first.state_dict()))
    first.close()
    with make(workers=workers, engine=engine, seed=99) as second:
        second.load_state_dict(state)
        epochs = 2 if stop == 9 else 3
        if stop < 9:
            assert second.state_dict() == state
        assert head + stream(second, epochs) == expected


def test_in_the_loop_the_state_counts_what_was_delivered():
    """Not what is prefetched."""
    with make(workers=2, prefetch=4) as loader:
        for count, _ in enumerate(loader, 1):
            assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, count)
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)
        assert loader.state_dict()["sequence"] == {"epoch": 1}


@pytest.mark.parametrize("shard", [None, (1, 4)])
def test_saved_with_the_last_batch_the_epoch_still_ends(shard):
    """A loop over the rest is empty, and on_epoch_end is called, as it was about to be."""
    loader, again = (make(shard=shard, remainder="pad") for _ in range(2))
    for _ in loader:
        state = loader.state_dict()
    again.load_state_dict(state)
    assert list(again) == []
    assert again.sequence.epoch == 1
    assert list(again) == list(loader)


def test_an_epoch_may_be_interrupted_again_and_again():
    state, got = make().state_dict(), []
    for _ in range(10):
        loader = make(seed=99, workers=1)
        loader.load_state_dict(state)
        got += itertools.islice(loader, 2)
        state = loader.state_dict()
        loader.close()
    assert got == stream(make(), 2)


@pytest.mark.parametrize("used", [4, 9])
def test_a_loader_may_go_back(used):
    """In the middle of an epoch, or with its last batch in hand."""
    loader, oracle = make(), make()
    epoch = iter(loader)
    next(epoch)
    state = loader.state_dict()
    list(itertools.islice(epoch, used - 1))
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    assert loader.remaining() == 8
    assert stream(loader, 2) == stream(oracle, 2)[1:]


def test_a_complete_epoch_is_where_it_goes_on_after_one_that_was_left():
    loader = make()
    list(itertools.islice(loader, 4))
    list(loader)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (2, 0)


def test_a_loop_that_was_left_can_be_gone_on_with():
    """After the break the loader itself begins anew; its state says where it was left."""
    loader, again, oracle = make(), make(), make()
    for count, _ in enumerate(loader, 1):
        if count == 4:
            break
    again.load_state_dict(loader.state_dict())
    assert list(again) == list(oracle)[4:]


def test_an_epoch_that_failed_can_be_gone_on_with():
    class Failing(Noisy):
        def __getitem__(self, idx):
            return 1 // (5 - idx)

    loader = Loader(Failing(), workers=2)
    with pytest.raises(ZeroDivisionError):
        list(loader)
    again = Loader(Noisy())
    again.load_state_dict(loader.state_dict())
    assert [idx for idx, _, _ in again] == [5, 6, 7, 8]


@pytest.mark.parametrize("depth", [0, 2])
def test_batches_that_were_read_ahead_of_an_error_count_when_they_are_used(depth):
    """``device_prefetch`` hands them out before it raises; a resumption must not repeat them."""
    from befit.loading import device_prefetch

    class Failing(Sequence):
        def __len__(self):
            return 9

        def __getitem__(self, idx):
            return np.full(2, 1 // (idx - 4) * 0 + idx)

    loader = Loader(Failing(), shard=(0, 1))
    used = []
    with pytest.raises(ZeroDivisionError):
        used.extend(int(batch[0]) for batch in iterate(device_prefetch(loader, "cpu", depth=depth), loader))
    assert loader.state_dict()["position"] == 4


def iterate(batches, loader):
    """Check on the way that the state counts what was handed out."""
    for count, batch in enumerate(batches, 1):
        assert loader.state_dict()["position"] == count
        yield batch


def test_an_interrupt_after_a_batch_came_does_not_lose_it(monkeypatch):
    """It was not handed out, so it is not counted."""
    loader = make(workers=1, shuffle=False)
    epoch = iter(loader)
    assert next(epoch)[0] == 0

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loader._scheduler.meter, "delivered", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(epoch)
    again = make(shuffle=False)
    again.load_state_dict(loader.state_dict())
    assert [batch[0] for batch in again] == list(range(1, 9))


def test_arrays_are_shuffled_as_they_would_have_been():
    def batches():
        return Sequence.from_arrays(np.arange(50), batch_size=4, shuffle=True, seed=1)

    def run(loader, epochs):
        return [batch.tolist() for batch in stream(loader, epochs)]

    expected = run(Loader(batches()), 4)
    loader = Loader(batches(), workers=2)
    head = run(loader, 2) + [batch.tolist() for batch in itertools.islice(loader, 5)]
    other = Loader(Sequence.from_arrays(np.arange(50), batch_size=4, shuffle=True, seed=7))
    other.load_state_dict(loader.state_dict())
    assert head + run(other, 2) == expected


def test_training_is_the_same_with_an_interruption():
    """Weights, to the last bit, of a model that was saved and loaded in the middle of an epoch."""
    import torch

    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    y = x @ np.array([[1.0], [2], [3], [4]], "float32")

    def begin():
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 1)
        data = Sequence.from_arrays(x, y, batch_size=8, shuffle=True, seed=5)
        return model, torch.optim.Adam(model.parameters(), 0.05), data

    def step(model, optimizer, batch):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(torch.from_numpy(batch[0])), torch.from_numpy(batch[1])).backward()
        optimizer.step()

    def train(model, optimizer, loader, epochs, stop=None):
        for _ in range(epochs):
            for count, batch in enumerate(loader, 1):
                step(model, optimizer, batch)
                if count == stop:
                    return model.state_dict(), optimizer.state_dict(), loader.state_dict()
        return model.state_dict()

    model, optimizer, data = begin()
    expected = train(model, optimizer, Loader(data, shuffle=True, seed=2), 3)
    model, optimizer, data = begin()
    with Loader(data, shuffle=True, seed=2, workers=2, engine="processes") as loader:
        saved = train(model, optimizer, loader, 3, stop=5)
    model, optimizer, data = begin()
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    with Loader(data, shuffle=True, seed=8, workers=1) as loader:
        loader.load_state_dict(saved[2])
        actual = train(model, optimizer, loader, 3)
    for name, weight in expected.items():
        assert torch.equal(actual[name], weight)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 30),
    before=st.integers(1, 5),
    after=st.integers(1, 5),
    steps=st.integers(0, 30),
    remainder=st.sampled_from(["pad", "drop"]),
)
def test_an_epoch_goes_on_with_another_world_size(length, before, after, steps, remainder):
    """Law: what all ranks deliver is the epoch, each batch once but for what is declared at its ends."""
    states, head = [], []
    for rank in range(before):
        loader = make(length, shard=(rank, before), remainder=remainder)
        head += [batch[0] for batch in itertools.islice(iter(loader), steps)]
        states.append(loader.state_dict())
    used = min(steps * before, length)
    if steps and length >= before:
        assert all(state["position"] == states[0]["position"] for state in states)
    if not states[0]["position"] or states[0]["epoch"]:
        return
    assert states[0]["position"] == min(used, -(-length // before) * before, length)
    tail, counts = [], set()
    for rank in range(after):
        loader = make(length, shard=(rank, after), remainder=remainder)
        loader.load_state_dict(states[rank % before])
        rest = [batch[0] for batch in loader]
        counts.add(len(rest))
        tail += rest
    assert len(counts) == 1
    left = length - states[0]["position"]
    if remainder == "drop":
        assert len(tail) == left - left % after
        assert len(set(head + tail)) == len(head + tail)
    else:
        assert set(head + tail) == set(range(length))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "None is no state of a Loader"),
        (lambda state: {**state, "version": 99}, "no state of a Loader"),
        (lambda state: {**state, "epoch": -1}, r"state\['epoch'\] is -1"),
        (lambda state: {k: v for k, v in state.items() if k != "position"}, "has no 'position'"),
        (lambda state: {**state, "order_seed": None}, "saved with shuffle=False"),
        (lambda state: {k: v for k, v in state.items() if k != "sequence"}, r"has no state_dict\(\)"),
    ],
)
def test_what_is_no_state_changes_nothing(change, message):
    loader = make()
    list(loader)
    epoch = iter(loader)
    next(epoch)
    before = loader.state_dict()
    with pytest.raises(ArgumentError, match=message):
        loader.load_state_dict(change(before))
    assert loader.state_dict() == before
    assert len(list(epoch)) == 8


def test_a_state_of_more_batches_than_there_are_says_so():
    first, second = make(20), make(5)
    for count, _ in enumerate(first, 1):
        if count == 10:
            break
    second.load_state_dict(first.state_dict())
    with pytest.raises(LoaderError, match="saved 10 batches into an epoch, and Noisy has 5 batches now"):
        next(iter(second))
