"""Batches on devices: where they lie, and what becomes of what is no array, on JAX, torch and CUDA."""

from __future__ import annotations

import weakref
from contextlib import contextmanager

import jax
import numpy as np
import pytest
import torch
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from befit import Loader, Sequence
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading import device_prefetch


@pytest.fixture
def mesh():
    return Mesh(np.array(jax.devices()[:4]), ("batch",))


class TestJax:
    @pytest.mark.parametrize("number", [0, 2])
    def test_a_device(self, number):
        (batch,) = device_prefetch(Loader([np.arange(4)]), jax.devices()[number])
        assert isinstance(batch, jax.Array)
        assert batch.devices() == {jax.devices()[number]}

    def test_a_sharding_over_four_devices(self, mesh, make_loader):
        x = np.arange(32, dtype="float32").reshape(16, 2)
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
        batches = list(device_prefetch(make_loader(Sequence.from_arrays(x, x[:, 0], batch_size=8)), sharding))
        assert [batch[0].sharding for batch in batches] == [sharding] * 2
        assert {shard.data.shape for shard in batches[0][0].addressable_shards} == {(2, 2)}
        assert np.concatenate([batch[0] for batch in batches]).tolist() == x.tolist()
        assert np.concatenate([batch[1] for batch in batches]).tolist() == x[:, 0].tolist()

    def test_a_nesting_of_targets(self, mesh):
        sharding = NamedSharding(mesh, PartitionSpec("batch"))
        batch = {"x": (np.zeros((4, 2)), np.ones(3)), "y": np.zeros(1)}
        target = {"x": (sharding, jax.devices()[3]), "y": None}
        (moved,) = device_prefetch(Loader([batch]), target)
        assert moved["x"][0].sharding == sharding
        assert moved["x"][1].devices() == {jax.devices()[3]}
        assert moved["y"].devices() == {jax.devices()[0]}

    def test_a_nesting_that_is_not_the_batchs(self, mesh):
        target = (jax.devices()[0], jax.devices()[1])
        with pytest.raises(ArgumentError, match="the nesting of target is not that of the batch"):
            list(device_prefetch(Loader([(np.zeros(1),)]), target))

    def test_rows_that_do_not_divide(self, mesh):
        """JAX's own error, with what to do, where the batch is due."""
        source = Sequence.from_arrays(np.arange(10.0), batch_size=8)
        batches = iter(device_prefetch(Loader(source), NamedSharding(mesh, PartitionSpec("batch"))))
        assert next(batches).shape == (8,)
        with pytest.raises(ValueError, match="divide") as caught:
            next(batches)
        assert "has to be left out or padded" in caught.value.__notes__[-1]

    def test_a_batch_that_cannot_be_moved_ends_the_epoch(self):
        """Nothing is read after it, and the iterator is closed even while the error is held."""

        class Batches:
            read, is_closed = 0, False

            def __iter__(self):
                return self.Reader()

            class Reader:
                def __next__(self):
                    Batches.read += 1
                    return np.ma.masked_array([1, 2]) if Batches.read == 2 else np.arange(2)

                def close(self):
                    Batches.is_closed = True

        batches = iter(device_prefetch(Batches(), jax.devices()[0], depth=3))
        assert next(batches).tolist() == [0, 1]
        with pytest.raises(ValueError, match="masked") as caught:
            next(batches)
        assert (Batches.read, Batches.is_closed) == (2, True), caught

    def test_objects_of_jax_that_are_no_place(self, mesh):
        for target in (mesh, jax.numpy.zeros(3), {"x": jax.devices()[0], "y": mesh}):
            with pytest.raises(UnsupportedObjectError, match="target holds"):
                device_prefetch(Loader([1]), target)

    def test_what_jax_has_no_dtype_for_stays(self):
        words = np.array(["a", "b"])
        batch = (words, np.array([None]), "text", None, 5, np.array(["2020-01-01"], "datetime64[D]"))
        (moved,) = device_prefetch(Loader([batch]), jax.devices()[1])
        assert moved[0].tolist() == ["a", "b"]
        assert isinstance(moved[0], np.ndarray)
        assert moved[1].tolist() == [None]
        assert moved[2:5] == ("text", None, 5)
        assert isinstance(moved[5], np.ndarray)

    @pytest.mark.parametrize("engine", ["inline", "processes"])
    def test_every_kind_of_array(self, engine, make_loader):
        import ml_dtypes

        readonly = np.arange(3)
        readonly.flags.writeable = False
        batch = [
            readonly,
            np.arange(6)[::-2],
            np.arange(3).astype(">i4"),
            np.arange(3).astype(">f8"),
            np.float32(3),
            np.array(3.5),
            np.array([True]),
            np.ones(2, ml_dtypes.bfloat16),
            np.zeros((0, 2)),
            np.longdouble([1.0]),
        ]
        (moved,) = device_prefetch(make_loader([batch]), jax.devices()[1])
        assert all(isinstance(leaf, jax.Array) for leaf in moved[:-1])
        assert [np.asarray(leaf).tolist() for leaf in moved] == [np.asarray(leaf).tolist() for leaf in batch]
        assert moved[7].dtype == ml_dtypes.bfloat16


class TestTorch:
    def test_nested_batches(self):
        batch = {"x": (np.arange(3), ["text", None, np.float32(2)]), "y": torch.ones(2)}
        (moved,) = device_prefetch(Loader([batch]), torch.device("cpu"))
        assert moved["x"][0].tolist() == [0, 1, 2]
        assert moved["x"][1][:2] == ["text", None]
        assert moved["x"][1][2].shape == ()
        assert moved["y"].tolist() == [1, 1]

    def test_another_device(self):
        """ "meta" stands for any device that is neither CPU nor CUDA."""
        moved, _ = device_prefetch(Loader([np.zeros(3), np.ones(3)]), "meta")
        assert moved.device.type == "meta"

    @pytest.mark.parametrize("name", ["gpu:0", "cuda:99"])
    def test_names_of_no_device(self, name):
        with pytest.raises(ArgumentError, match=name):
            device_prefetch(Loader([1]), name)

    def test_a_nesting_of_devices(self):
        with pytest.raises(UnsupportedObjectError, match="one device for a batch"):
            device_prefetch(Loader([1]), (torch.device("cpu"), torch.device("cpu")))


@pytest.fixture
def cuda_calls(monkeypatch):
    """Stand-ins for a device of CUDA, on the CPU; they note what is asked of it, in order."""
    calls = []

    class Event:
        done = False

        def query(self):
            return self.done

        def synchronize(self):
            calls.append("event.synchronize")
            self.done = True

    class Stream:
        def __init__(self, name):
            self.name = name

        def record_event(self):
            calls.append(f"{self.name}.record_event")
            events.append(Event())
            return events[-1]

        def wait_event(self, event):
            calls.append(f"{self.name}.wait_event {events.index(event)}")

    @contextmanager
    def stream(which):
        calls.append(f"enter {which.name}")
        yield
        calls.append("leave")

    def lock(tensor, pin_memory):
        assert pin_memory
        calls.append("lock")
        return tensor.clone()

    def send(tensor, device, non_blocking):
        assert non_blocking
        calls.append("send")
        return tensor.clone()

    events = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda place: Stream("side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("current"))
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch, "empty_like", lock)
    monkeypatch.setattr(torch.Tensor, "to", send)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, which: calls.append(f"record_stream {which.name}")
    )
    return calls, events


class TestCuda:
    def test_the_order_of_things(self, cuda_calls):
        """The current stream waits for the copy, then the tensor is marked as used on it."""
        from befit.integrations.torch.loading import Transfers

        calls, _ = cuda_calls
        transfers = Transfers(torch.device("cuda", 0), False)
        source = np.zeros(3)
        begun = [transfers.begin({"x": source}), transfers.begin((source + 1, "text"))]
        source += 5
        assert calls == ["lock", "enter side", "send", "side.record_event", "leave"] * 2
        calls.clear()
        assert transfers.finish(begun[0])["x"].tolist() == [0, 0, 0]
        assert calls == ["current.wait_event 0", "record_stream current"]
        assert transfers.finish(begun[1])[1] == "text"

    def test_page_locked_memory_is_kept_until_its_copy_is_over(self, cuda_calls, monkeypatch):
        from befit.integrations.torch.loading import Transfers

        calls, events = cuda_calls
        transfers = Transfers(torch.device("cuda", 0), False)
        locked = []
        lock = transfers._locked
        monkeypatch.setattr(
            transfers, "_locked", lambda tensor: locked.append(weakref.ref(made := lock(tensor))) or made
        )
        for _ in range(3):
            transfers.finish(transfers.begin(np.zeros(3)))
        assert all(memory() is not None for memory in locked)
        events[0].done = events[1].done = True
        transfers.finish(transfers.begin(np.zeros(3)))
        assert [memory() is not None for memory in locked] == [False, False, True, True]
        calls.clear()
        transfers.close()
        assert calls == ["event.synchronize"] * 2
        assert all(memory() is None for memory in locked)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_a_real_device(self):
        source = Sequence.from_arrays(np.arange(1 << 20, dtype="float32"), batch_size=1 << 16)
        moved = list(device_prefetch(Loader(source, workers=2), "cuda", depth=3))
        assert {batch.device.type for batch in moved} == {"cuda"}
        assert torch.cat(moved).cpu().tolist() == list(range(1 << 20))
