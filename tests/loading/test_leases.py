"""Batches in shared memory: theirs as long as anybody looks at them, and the consumer's alone."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest

from befit import Loader, Sequence

BATCHES = 40
SHAPE = (64, 1024)  # 256 KB of float32: in a slot


class Filled(Sequence):
    """Batch ``i`` is full of ``i``."""

    def __len__(self):
        return BATCHES

    def __getitem__(self, idx):
        return {"x": np.full(SHAPE, idx, np.float32), "y": np.arange(3) + idx}


@pytest.fixture
def loader():
    with Loader(Filled(), workers=2, engine="processes", prefetch=2) as loader:
        yield loader


def slots_of(loader):
    return sum(len(worker.slots._memories) for worker in loader._scheduler.engine._workers)


def as_jax(array):
    import jax

    return jax.device_put(array)


def as_torch(array):
    import torch

    return torch.from_numpy(array)


def torch_slice(array):
    return as_torch(array)[5:7, 100:200]


def as_dlpack(array):
    import torch

    return torch.from_dlpack(array)


def as_buffer(array):
    return memoryview(array)


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array,
        lambda array: array[3],
        lambda array: array.reshape(-1)[10:20][::3],
        lambda array: array.view(np.int32).T,
        as_jax,
        as_torch,
        torch_slice,
        as_dlpack,
        as_buffer,
    ],
    ids=["array", "row", "slice of slice", "view", "jax", "torch", "torch slice", "dlpack", "memoryview"],
)
def test_whatever_refers_to_a_batch_keeps_it(loader, keep):
    """Kept to the end of the epoch, while workers go on filling slots."""
    kept = [keep(batch["x"]) for batch in loader]
    list(loader)
    for index, value in enumerate(kept):
        values = np.asarray(value)
        if values.dtype == np.int32:
            values = values.view(np.float32)
        assert (values == index).all(), f"batch {index} was overwritten"


def test_slots_are_used_again_when_nothing_refers_to_the_batch(loader):
    """An epoch takes no more memory than prefetch and consumer need, and neither do a hundred."""
    addresses = set()
    for _ in range(5):
        for batch in loader:
            addresses.add(batch["x"].ctypes.data)
    assert len(addresses) <= 2 * (2 + 3)


def test_slots_of_kept_batches_are_given_up_later(loader):
    kept = list(loader)
    assert slots_of(loader) >= BATCHES
    del kept
    for _ in range(2):
        list(iter(loader))
        for _ in loader:
            pass
    gc.collect()
    assert slots_of(loader) <= 2 * (2 + 2) + 4
    for worker in loader._scheduler.engine._workers:
        assert worker.slots._leases.keys() == worker.slots._memories.keys()


def test_what_the_consumer_writes_is_its_own(loader):
    """Not seen by the worker, by other batches, or in the next epoch."""
    for _ in range(3):
        for index, batch in enumerate(loader):
            assert (batch["x"] == index).all()
            batch["x"] *= -1
            batch["x"] += 1000


def test_a_worker_may_keep_what_it_sent():
    class Caching(Sequence):
        def __init__(self):
            self.cache = {}

        def __len__(self):
            return 6

        def __getitem__(self, idx):
            from befit.loading import empty

            if idx not in self.cache:
                self.cache[idx] = empty(SHAPE, np.float32)
                self.cache[idx][:] = idx
            return self.cache[idx]

    with Loader(Caching(), workers=1, engine="processes") as loader:
        for _ in range(4):
            for index, batch in enumerate(loader):
                assert (batch == index).all()
                batch[:] = -1


def test_what_empty_gave_is_sent_as_it_is():
    """From the second batch on, when it is known how large a slot has to be."""

    class Built(Filled):
        last = 0

        def __getitem__(self, idx):
            from befit.loading import building, empty

            def is_in(slots, address):
                return any(0 <= address - slot.memory.address < slot.memory.nbytes for slot in slots)

            pool = building._workspace._pool
            copied = is_in(pool._free, self.last)
            x, y = empty(SHAPE), empty(SHAPE)
            x[:], y[:] = idx, -idx
            self.last = y.ctypes.data
            return x, y, copied, is_in(pool._slots.values(), self.last)

    with Loader(Built(), workers=1, engine="processes") as loader:
        kept = list(loader)
    assert [(x[0, 0], y[-1, -1]) for x, y, *_ in kept] == [(index, -index) for index in range(BATCHES)]
    assert [told for *_, told in kept] == [False] + [True] * (BATCHES - 1)
    assert not any(copied for *_, copied, _ in kept)


def test_batches_that_fail_leave_no_slot_behind():
    class Failing(Filled):
        fail = True

        def __getitem__(self, idx):
            from befit.loading import building, empty

            array = empty(SHAPE)
            if self.fail:
                raise ZeroDivisionError
            return array, len(building._workspace._pool._slots)

    source = Failing()
    with Loader(source, workers=1, engine="processes", prefetch=1) as loader:
        for _ in range(10):
            with pytest.raises(ZeroDivisionError):
                list(loader)
        source.fail = False
        assert max(slots for _, slots in loader) <= 4


def test_copies_are_in_ordinary_memory():
    """``copy=True``: keeping a part of a batch keeps no slot."""
    with Loader(Filled(), workers=1, engine="processes", prefetch=2, copy=True) as loader:
        kept = [batch["x"][0] for batch in loader]
        assert slots_of(loader) <= 4
        assert [row[0] for row in kept] == list(range(BATCHES))
        assert all(row.flags.writeable for row in kept)


@pytest.mark.parametrize(("workers", "engine"), [(0, "inline"), (2, "threads")])
def test_copies_within_the_process_share_nothing_with_the_source(workers, engine):
    data = [{"x": np.zeros(3)}, {"x": np.zeros(3)}]
    with Loader(data, workers=workers, engine=engine, copy=True) as loader:
        for batch in loader:
            batch["x"] += 1
    assert [batch["x"].sum() for batch in data] == [0, 0]


def test_batches_outlive_their_loader():
    with Loader(Filled(), workers=2, engine="processes") as loader:
        kept = list(loader)
    del loader
    gc.collect()
    assert all((batch["x"] == index).all() for index, batch in enumerate(kept))
    kept[0]["x"][:] = 1


def test_batches_outlive_a_worker_that_dies(loader):
    import os
    import signal

    epoch = iter(loader)
    kept = [next(epoch) for _ in range(3)]
    for worker in list(loader._scheduler.engine._workers):
        os.kill(worker.pid, signal.SIGKILL)
    kept += list(epoch)
    assert len(kept) == BATCHES
    assert all((batch["x"] == index).all() for index, batch in enumerate(kept))


def test_a_batch_is_aligned_for_jax():
    """So that device_put need not copy it, whatever stands before it in the slot."""
    import jax

    class Odd(Filled):
        def __getitem__(self, idx):
            return np.ones(70_020, np.uint8), np.full(SHAPE, idx, np.float32)

    with Loader(Odd(), workers=1, engine="processes") as loader:
        _, batch = next(iter(loader))
        assert batch.ctypes.data % 64 == 0
        assert jax.device_put(batch).unsafe_buffer_pointer() == batch.ctypes.data


def test_addresses_are_really_shared_memory(loader):
    """What the worker wrote is what is read: no copy in between."""
    batch = next(iter(loader))["x"]
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:befit" in line]
    ranges = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in mapped]
    address = ctypes.addressof(ctypes.c_char.from_buffer(batch))
    assert any(start <= address < end for start, end in ranges)
