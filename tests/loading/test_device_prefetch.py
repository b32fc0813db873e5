"""Batches on devices, read ahead: values, order, ends, errors and memory, on JAX and torch alike."""

from __future__ import annotations

import sys
import types
import weakref

import jax
import numpy as np
import pytest
import torch

from befit import Loader, Sequence
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading import device_prefetch, prefetch


@pytest.fixture(params=["jax", "torch"])
def target(request):
    return jax.devices()[0] if request.param == "jax" else "cpu"


class Overwritten(Sequence):
    """Batches are views of one array, which ``on_epoch_end`` overwrites; they read -1 then."""

    def __init__(self, length=5):
        self.length, self.epoch = length, 0
        self.data = np.arange(length * 4096, dtype="float32").reshape(length, 4096)

    def __len__(self):
        return self.length

    def __getitem__(self, idx):
        return self.data[idx]

    def on_epoch_end(self):
        self.epoch += 1
        self.data[:] = -1


class Reusing(Sequence):
    """All batches are in the same memory."""

    def __init__(self):
        self.buffer = np.zeros(4096, "float32")

    def __len__(self):
        return 6

    def __getitem__(self, idx):
        self.buffer[:] = idx
        return self.buffer


class Reads(Sequence):
    """Knows which batches were read, in one thread."""

    def __init__(self, length=6, broken=()):
        self.length, self.broken = length, broken
        self.read, self.epoch = [], 0

    def __len__(self):
        return self.length

    def __getitem__(self, idx):
        self.read.append(idx)
        if idx in self.broken:
            raise KeyError(idx)
        return np.full(3, idx)

    def on_epoch_end(self):
        self.epoch += 1


def values(batches):
    return [np.asarray(batch).tolist() for batch in batches]


class TestOrder:
    def test_epochs_are_exact(self, make_loader, numbered, target):
        source = numbered(5)
        batches = device_prefetch(make_loader(source), target)
        assert len(batches) == 5
        for epoch in range(3):
            assert values(batches) == [[index, epoch] for index in range(5)]
        assert source.epoch == 3

    @pytest.mark.parametrize("depth", [0, 1, 2, 50])
    def test_depth_batches_are_read_ahead(self, target, depth):
        source = Reads()
        for number, _ in enumerate(device_prefetch(Loader(source), target, depth=depth)):
            assert source.read == list(range(min(6, number + 1 + depth)))
        assert source.epoch == 1

    @pytest.mark.parametrize("depth", [0, 1, 50])
    def test_on_epoch_end_comes_when_the_last_batch_was_used(self, target, depth):
        source = Reads()
        batches = iter(device_prefetch(Loader(source), target, depth=depth))
        for _ in range(6):
            next(batches)
            assert source.epoch == 0
        assert next(batches, None) is None
        assert source.epoch == 1

    @pytest.mark.parametrize("depth", [0, 2, 50])
    @pytest.mark.parametrize("used", [1, 5])
    def test_break_ends_the_epoch_without_on_epoch_end(self, target, depth, used):
        """Also when the last batch was read ahead; the next iteration is a complete epoch again."""
        source = Reads()
        batches = device_prefetch(Loader(source), target, depth=depth)
        for number, _ in enumerate(batches, 1):
            if number == used:
                break
        assert source.epoch == 0
        assert values(batches) == [[index] * 3 for index in range(6)]
        assert source.epoch == 1

    def test_an_iterator_that_is_dropped_ends_the_loaders_epoch(self, target):
        source = Reads()
        loader = Loader(source)
        batches = iter(device_prefetch(loader, target))
        next(batches)
        del batches
        assert values(loader) == [[index] * 3 for index in range(6)]

    @pytest.mark.parametrize("depth", [0, 2, 50])
    def test_the_state_of_the_loader_counts_what_was_used(self, target, depth):
        """In the loop and after it was left, whatever was read ahead."""
        loader, again = Loader(Reads()), Loader(Reads())
        states = []
        for _ in device_prefetch(loader, target, depth=depth):
            states.append(loader.state_dict())
            if len(states) == 4:
                break
        for used, state in enumerate([*states, loader.state_dict()], 1):
            again.load_state_dict(state)
            assert values(device_prefetch(again, target)) == [[index] * 3 for index in range(min(used, 4), 6)]

    def test_an_error_is_raised_where_its_batch_is_due(self, make_loader, target):
        source = Reads(broken={3})
        batches = iter(device_prefetch(make_loader(source), target, depth=50))
        assert [int(next(batches)[0]) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError, match="3") as caught:
            next(batches)
        assert "while loading batch index 3" in caught.value.__notes__[-1]
        assert source.epoch == 0

    def test_the_length_may_change(self, target):
        class Growing(Reads):
            def on_epoch_end(self):
                self.length += 1

        batches = device_prefetch(Loader(Growing(2)), target, depth=3)
        assert [len(list(batches)) for _ in range(3)] == [2, 3, 4]
        assert len(batches) == 5

    def test_an_empty_epoch_ends(self, target):
        source = Reads(0)
        assert list(device_prefetch(Loader(source), target)) == []
        assert source.epoch == 1

    def test_other_iterables(self, target):
        """A torch dataset over a loader is asked for its length and no more, or its epoch would end early."""
        source = Reads()
        batches = iter(device_prefetch(Loader(source).to_torch(), target, depth=50))
        for _ in range(6):
            next(batches)
        assert source.epoch == 0
        assert next(batches, None) is None
        assert source.epoch == 1
        assert values(device_prefetch((np.full(2, n) for n in range(4)), target)) == [
            [n, n] for n in range(4)
        ]

    def test_a_generator_that_was_passed_stays_open(self, target):
        generator = (np.full(2, number) for number in range(5))
        for _ in device_prefetch(generator, target, depth=0):
            break
        assert [int(batch[0]) for batch in generator] == [1, 2, 3, 4]


class TestMemory:
    def test_the_sequence_may_overwrite_its_memory(self, make_loader, target):
        source = Overwritten()
        expected = source.data.tolist()
        assert values(list(device_prefetch(make_loader(source), target))) == expected
        assert source.epoch == 1

    def test_batches_that_share_memory(self, target):
        batches = list(device_prefetch(Loader(Reusing()), target, depth=3))
        assert [batch.tolist() for batch in batches] == [[idx] * 4096 for idx in range(6)]

    def test_a_batch_from_a_process_is_not_copied_in_torch(self):
        """Its tensor has the memory of the array, whose type it is told by."""
        from befit.integrations.torch.loading import Transfers

        array = np.zeros(3)
        shared, _ = Transfers(torch.device("cpu"), True).begin(array)
        copied, _ = Transfers(torch.device("cpu"), False).begin(array)
        array += 1
        assert shared.tolist() == [1, 1, 1]
        assert copied.tolist() == [0, 0, 0]

    def test_no_batch_is_kept_that_the_consumer_let_go(self, target):
        for batch in device_prefetch((np.zeros(4096) for _ in range(6)), target):
            alive = weakref.ref(batch)
            del batch
            assert alive() is None


class TestArguments:
    @pytest.mark.parametrize("target", [0, object(), (jax.devices()[0], torch.device("cpu")), ()])
    def test_what_is_no_target(self, target):
        with pytest.raises(UnsupportedObjectError, match=r"write a jax\.Device"):
            device_prefetch(Loader([1]), target)

    def test_depth_is_a_count(self):
        with pytest.raises(ArgumentError, match="depth is -1"):
            device_prefetch(Loader([1]), "cpu", depth=-1)

    def test_a_number_is_no_loader(self):
        with pytest.raises(UnsupportedObjectError, match="no iterable"):
            device_prefetch(3, "cpu")

    @pytest.mark.parametrize(
        ("imported", "backend", "module"),
        [
            ({"jax"}, None, "jax"),
            ({"torch"}, None, "torch"),
            ({"jax", "torch"}, "torch", "torch"),
            ({"jax", "torch"}, "jax", "jax"),
            ({"torch"}, "tensorflow", "torch"),
        ],
    )
    def test_no_target(self, only, imported, backend, module):
        only(imported, backend)
        (batch,) = device_prefetch(Loader([np.zeros(3)]))
        assert type(batch).__module__.partition(".")[0].startswith(module)

    @pytest.mark.parametrize(
        ("imported", "message"),
        [({"jax", "torch"}, "JAX and torch are both imported"), (set(), "neither JAX nor torch is imported")],
    )
    def test_no_target_that_could_be_meant(self, only, imported, message):
        only(imported, None)
        with pytest.raises(ArgumentError, match=message):
            device_prefetch(Loader([1]))

    @pytest.fixture
    def only(self, monkeypatch):
        """Let it look as if only some frameworks were imported, and Keras with a backend."""

        def show(imported, backend):
            names = {name: sys.modules[name] for name in imported}
            if backend is not None:
                config = types.SimpleNamespace(backend=lambda: backend)
                names["keras"] = types.SimpleNamespace(config=config)
            monkeypatch.setattr(prefetch, "sys", types.SimpleNamespace(modules=names))

        return show
