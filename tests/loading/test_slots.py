"""Slots: how batches get into them, when they are used again, and when they are given up."""

from __future__ import annotations

import mmap
import os
import threading
import time

import numpy as np
import pytest

from befit._internal.memory import Memory, create
from befit._internal.pickling import decode, encode
from befit.loading import building
from befit.loading.building import INLINE, Workspace, empty
from befit.loading.slots import SlotPool, aligned

BIG = INLINE + 1


@pytest.fixture
def pool():
    return SlotPool(spare=3)


def fill(pool, build, expected=0):
    """Do what a worker does with one batch."""
    workspace = Workspace(pool, expected)
    with workspace:
        batch = build()
    pickled = encode(batch)
    del batch
    return workspace.fill(pickled)


def batch_in(filled):
    *arrays, pickled = [filled.data[place : place + size] for place, size in filled.places]
    return decode(pickled, arrays)


def test_small_batches_need_no_slot(pool):
    assert fill(pool, lambda: np.zeros(10)) is None
    assert fill(pool, lambda: empty(10)) is None


def test_arrays_of_any_layout_are_copied_into_the_slot_and_aligned(pool):
    batch = {
        "a": -1 - np.arange(3 * BIG),
        "b": np.arange(BIG)[::3],
        "c": (np.ones((5, 7)).T, np.zeros(0), "text"),
    }
    filled = fill(pool, lambda: batch)
    back = batch_in(filled)
    np.testing.assert_array_equal(back["a"], batch["a"])
    np.testing.assert_array_equal(back["b"], batch["b"])
    np.testing.assert_array_equal(back["c"][0], batch["c"][0])
    assert back["c"][2] == "text"
    assert all(place % 64 == 0 for place, size in filled.places[:-1])
    back["a"][:] = 0
    assert batch["a"][-1] == -3 * BIG, "the source's own array is not the consumer's"


def test_what_empty_gave_is_not_copied(pool):
    addresses = []

    def build():
        x, _, y = empty((BIG, 2), np.uint8), empty(3 * BIG, np.uint8), empty(BIG, "f4")
        x[:], y[:] = 1, 2
        addresses.append((x.ctypes.data, y.ctypes.data))
        return {"x": x.T, "y": y, "again": x}

    first = fill(pool, build)  # the first batch says how large a slot has to be
    assert len(pool._free) == 1, "the slot that was too small"
    filled = fill(pool, build, expected=first.nbytes)
    start = filled.slot.memory.address
    assert [place + start for place, _ in filled.places[:2]] == list(addresses[1])
    assert all(place % 64 == 0 for place, _ in filled.places[:-1])
    for back in (batch_in(first), batch_in(filled)):
        assert (back["x"] == 1).all()
        assert back["x"].shape == (2, BIG)
        assert (back["y"] == 2).all()
        assert back["again"].ctypes.data == back["x"].ctypes.data, "what is one memory stays one memory"


def test_arrays_beside_what_empty_gave_are_copied():
    """Below the slot or above it: of two slots one is the lower, and each is filled beside the other."""
    pools = [SlotPool(spare=3), SlotPool(spare=3)]
    slots = [pool.take(BIG) for pool in pools]
    for pool, slot, elsewhere in zip(pools, slots, reversed(slots), strict=True):
        pool.put_back(slot)
        other = np.ndarray(10, np.uint8, elsewhere.memory.lease())
        other[:] = 1

        def build(other=other):
            x = empty(BIG, np.uint8)
            x[:] = 99
            return [other, x, np.arange(3)]

        filled = fill(pool, build)
        assert filled.slot is slot
        assert [set(array.tolist()) for array in batch_in(filled)] == [{1}, {99}, {0, 1, 2}]


def test_a_part_of_what_empty_gave_is_copied_if_it_has_gaps(pool):
    def build():
        x = empty((20, BIG), np.uint8)
        x[:] = np.arange(20)[:, None]
        return x[::19]

    assert batch_in(fill(pool, build))[:, 0].tolist() == [0, 19]
    assert len(pool._slots) == 1, "there is room for it behind the rest"


def test_what_was_kept_of_empty_is_safe(pool):
    """A sequence that caches a batch would otherwise see the consumer's writes, and the next batch."""
    kept = []

    def build():
        x = empty(BIG, np.uint8)
        x[:] = 5
        kept.append(x[10:])
        return x

    filled = fill(pool, build)
    batch_in(filled)[:] = 9
    assert (kept[0] == 5).all()
    pool.put_back(filled.slot)
    for _ in range(5):
        again = fill(pool, lambda: np.full(BIG, 7, np.uint8))
        pool.put_back(again.slot)
        assert (kept[0] == 5).all(), "its memory is not used for another batch"
    before = len(pool._free)
    kept.clear()
    assert len(pool._free) == min(before + 1, 3), "now it may be"


def test_what_was_kept_survives_without_memory_for_a_copy(pool, monkeypatch):
    kept = []

    def build():
        x = empty(BIG, np.uint8)
        x[:] = 5
        kept.append(x)
        monkeypatch.setattr("befit.loading.slots.create", no_memory)
        return x

    filled = fill(pool, build)
    assert filled.slot is None
    pickled, array = filled.parts()
    assert (decode(pickled, [array]) == 5).all()


def no_memory(nbytes):
    raise OSError(12, "Cannot allocate memory")


def test_without_memory_for_slots_empty_is_ordinary_memory(pool, monkeypatch):
    monkeypatch.setattr("befit.loading.slots.create", no_memory)
    with Workspace(pool, 0):
        assert empty(BIG).nbytes == 8 * BIG
    with pytest.raises(OSError, match="Cannot allocate"):
        fill(pool, lambda: np.zeros(BIG))


def test_empty_from_several_threads_of_one_batch(pool, monkeypatch):
    """A __getitem__ may have helpers; no two get the same memory."""

    def aligned_while_others_run(offset):
        time.sleep(0)
        return aligned(offset)

    monkeypatch.setattr(building, "aligned", aligned_while_others_run)
    first = fill(pool, lambda: np.zeros(40 * BIG, np.uint8))
    pool.put_back(first.slot)
    arrays = {}

    def helper(number):
        arrays[number] = [empty(BIG, np.uint8) for _ in range(5)]
        for array in arrays[number]:
            array[:] = number

    def build():
        threads = [threading.Thread(target=helper, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return arrays

    filled = fill(pool, build, expected=first.nbytes)
    for number, parts in batch_in(filled).items():
        assert all((part == number).all() for part in parts)


@pytest.mark.parametrize(
    ("shape", "dtype"), [(3, float), ((2, 0), "i4"), ((), np.int8), ((2, 3), object), ((4,), "S5")]
)
def test_empty_has_the_shape_and_dtype_of_numpys(pool, shape, dtype):
    with Workspace(pool, 10 * BIG):
        array, oracle = empty(shape, dtype), np.empty(shape, dtype)
    assert (array.shape, array.dtype) == (oracle.shape, oracle.dtype)
    assert array.flags.owndata == (dtype is object or not array.nbytes), "in the slot, but for pointers"
    with Workspace(pool, 10 * BIG), pytest.raises(ValueError, match="negative"):
        empty((-1, 2))
    assert empty(3).shape == (3,), "and outside of a worker"


def test_a_batch_that_failed_gives_its_memory_back(pool):
    workspace = Workspace(pool, 0)
    with workspace:
        array = empty(BIG, np.uint8)
    workspace.discard()
    assert not pool._free, "somebody still looks at it: a traceback, for example"
    del array
    assert len(pool._free) == 1
    assert building._workspace is None


def test_slots_are_used_again_and_the_last_one_first(pool):
    slots = [pool.take(BIG) for _ in range(3)]
    for slot in slots:
        pool.put_back(slot)
    assert [pool.take(BIG + BIG // 10) for _ in range(3)] == slots[::-1], "and by batches a little larger"


def test_slots_that_the_loader_could_not_map_are_dropped(pool):
    slots = [pool.take(BIG) for _ in range(2)]
    pool.lose([slots[0].number])
    assert list(pool._slots.values()) == slots[1:]
    assert not pool._free


def test_slots_that_are_too_small_give_way(pool):
    """Batches that grow do not leave a trail of slots that nobody will use again."""
    for size in range(BIG, 40 * BIG, BIG):
        slot = pool.take(size)
        assert slot.memory.nbytes >= size
        slot.sent()
        pool.put_back(slot)
    assert len(pool._slots) == 1
    assert len(pool.take_dropped()) + len(pool._slots) == pool._numbers.__next__()


def test_slots_beyond_what_is_spare_are_given_up(pool):
    """A consumer that kept a hundred batches and lets go of them does not leave them behind."""
    slots = [pool.take(BIG) for _ in range(100)]
    for slot in slots[:50]:
        slot.sent()
    pool.give_back(slot.number for slot in slots)
    assert len(pool._slots) == 3
    assert pool.take_dropped() == [slot.number for slot in slots[:50]], "the loader knows only of those"
    assert pool.take_dropped() == []


def test_memory_is_made_in_whole_pages_and_zero():
    for nbytes in (5, mmap.PAGESIZE, mmap.PAGESIZE + 1):
        descriptor = create(nbytes)
        pages = -(-nbytes // mmap.PAGESIZE)
        assert os.fstat(descriptor.fileno()).st_size == pages * mmap.PAGESIZE
        memory = Memory(descriptor, nbytes)
        assert memory.nbytes == pages * mmap.PAGESIZE
        assert not any(bytes(memory.lease()))
