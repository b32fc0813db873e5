"""Large arrays of a source: written once into shared memory, mapped by every worker, compared each epoch."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest

from befit import Loader, Sequence
from befit.loading.segments import SegmentTable, add_segment
from befit.loading.state import KnownState
from befit.loading.transport import Channel, Kind, Message

LARGE = 200_000


class Data(Sequence):
    """Has large arrays in many forms; batch ``i`` is a look at all of them."""

    def __init__(self):
        self.x = np.arange(LARGE, dtype=np.float32)
        self.fortran = np.asfortranarray(np.arange(LARGE).reshape(400, 500))
        self.gaps = np.arange(2 * LARGE)[::2]
        self.nested = {"a": [self.x, np.ones(LARGE, bool)], "names": ["b"] * 3}
        self.objects = np.array([None, "x"] * LARGE, object)
        self.dates = np.arange(LARGE).astype("M8[s]")
        self.frozen = np.zeros(LARGE)
        self.frozen.flags.writeable = False
        self.odd = [np.ones(LARGE + 1, bool), np.ones(LARGE)]
        self.epoch = 0

    def __len__(self):
        return 4

    def __getitem__(self, idx):
        return {
            "x": self.x[idx],
            "same": self.nested["a"][0] is self.x,
            "fortran": self.fortran[idx, 7],
            "order": self.fortran.flags.f_contiguous,
            "gaps": self.gaps[idx],
            "ones": self.nested["a"][1].sum(),
            "objects": self.objects[idx],
            "dates": self.dates[idx],
            "writeable": self.frozen.flags.writeable,
            "aligned": self.odd[1].flags.aligned,
            "epoch": self.epoch,
        }


@pytest.fixture
def processes():
    loaders = []

    def make(source, **settings):
        loaders.append(Loader(source, **{"workers": 2, "engine": "processes", **settings}))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


def test_workers_see_what_inline_sees(processes):
    source = Data()
    loader = processes(source)
    for epoch in range(3):
        source.epoch = epoch
        source.x[2] = -epoch
        source.nested["a"][1][epoch] = False
        assert list(loader) == list(source)


def test_large_arrays_are_not_in_the_pickle_and_travel_once():
    known, source = KnownState(share=True), Data()
    del source.gaps, source.objects
    assert len(known.whole(source)) < 5000
    assert len(known.copy(source)) < 5000, "for a worker that takes another's place"
    before = {segment.number for segment in known.segments}
    source.epoch += 1
    changes, whole = known.changes(source)
    assert whole is None
    assert len(changes) < 500
    assert {segment.number for segment in known.segments} == before
    source.x[77] = 5  # in place; seen through two attributes
    known.changes(source)
    after = {segment.number for segment in known.segments}
    assert len(after - before) == 2
    assert len(after) == len(before), "the memory of the old ones is given up"


def test_each_worker_gets_a_segment_once(processes, monkeypatch):
    def post(channel, kind, *rest):
        sent.append(kind)
        real(channel, kind, *rest)

    sent, real = [], Channel.post
    monkeypatch.setattr(Channel, "post", post)
    source = Data()
    loader = processes(source)
    for source.epoch in range(3):
        list(loader)
    assert sent.count(Kind.SEGMENT) == 2 * len(loader._scheduler.engine._known.segments)


def test_small_arrays_are_in_the_pickle():
    table = SegmentTable()
    assert table.dumps("x", np.zeros(100))[1] == 0
    assert table.segments == []


class Packed:
    """Makes its array anew whenever it is pickled."""

    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return Unpacked, (np.full(LARGE, self.value),)


class Unpacked:
    def __init__(self, array):
        self.value = int(array.sum()) / LARGE


def test_arrays_that_pickling_makes_are_not_mistaken_for_others(processes):
    """Though one may come to lie where another was, in this epoch or in the one before."""

    class Values(Sequence):
        def __init__(self):
            self.parts = {}
            self.first, self.second, self.third = Packed(1), Packed(2), Packed(3)

        def __len__(self):
            return 1

        def __getitem__(self, idx):
            return sorted(part.value for part in vars(self).values() if not isinstance(part, dict))

    source = Values()
    loader = processes(source)
    assert list(loader) == [[1, 2, 3]]
    del source.third
    source.first, source.second = Packed(4), Packed(5)
    assert list(loader) == [[4, 5]]


def test_arrays_may_become_more_and_larger_and_small(processes):
    class Lists(Sequence):
        def __init__(self):
            self.arrays = []

        def __len__(self):
            return 1

        def __getitem__(self, idx):
            from befit.loading import segments

            sums = [int(array.sum()) for array in self.arrays]
            return sums, len(segments._of_this_worker)

    source = Lists()
    loader = processes(source, workers=1)
    large, larger = np.arange(LARGE), np.arange(100 * LARGE)
    for arrays in ([large], [large, large + 1], [larger, large], [large[: LARGE // 2]], [large[:10]]):
        source.arrays = arrays
        sums = [int(array.sum()) for array in arrays]
        assert list(loader) == [(sums, arrays[0].size > 10)], "with no segment of before"
    assert loader._scheduler.engine._known.segments == []


def test_a_worker_without_room_for_a_segment_says_so():
    message = Message(Kind.SEGMENT, 0, [pickle.dumps((1, LARGE))], None)
    with pytest.raises(OSError, match="no room for another open file; raise the limit"):
        add_segment(message)


def test_an_array_that_the_source_lets_go_of_is_gone():
    known, source = KnownState(share=True), Data()
    array = weakref.ref(source.dates)
    known.whole(source)
    known.changes(source)
    del source.dates
    assert array() is None


def test_a_segment_is_given_up_with_its_attribute():
    known, source = KnownState(share=True), Data()
    known.whole(source)
    count = len(known.segments)
    del source.dates
    known.changes(source)
    assert len(known.segments) == count - 1


def test_a_worker_writes_to_its_own_copy(processes):
    class Scribbling(Sequence):
        def __init__(self):
            self.x = np.zeros(LARGE)

        def __len__(self):
            return 6

        def __getitem__(self, idx):
            self.x += 1
            return os.getpid(), self.x[-1]

    source = Scribbling()
    seen = {}
    for pid, value in processes(source):
        seen[pid] = seen.get(pid, 0) + 1
        assert value == seen[pid], "each worker counts for itself"
    assert source.x[-1] == 0


def test_a_torch_tensor_is_shared_as_well(processes):
    import torch

    class Tensors(Sequence):
        def __init__(self):
            self.x = torch.arange(LARGE)

        def __len__(self):
            return 3

        def __getitem__(self, idx):
            return self.x[idx * 10]

    source = Tensors()
    assert len(SegmentTable().dumps("x", source.x)[0]) < 500
    loader = processes(source)
    assert [int(value) for value in loader] == [0, 10, 20]
    source.x += 1
    assert [int(value) for value in loader] == [1, 11, 21]


def test_a_mapped_file_travels_by_name(processes, tmp_path):
    """Half a terabyte of it is not read to be sent."""
    whole = np.memmap(tmp_path / "data", np.int64, "w+", offset=512, shape=(LARGE, 2))
    whole[:] = np.arange(2 * LARGE).reshape(LARGE, 2)

    page = np.memmap(tmp_path / "page", np.uint8, "w+", shape=mmap.PAGESIZE)

    class Mapped(Sequence):
        def __init__(self):
            self.rows = whole[100:]
            self.read_only = np.memmap(tmp_path / "data", np.int64, "r", offset=512, shape=(LARGE, 2))
            self.private = np.memmap(tmp_path / "data", np.int64, "c", offset=512, shape=(LARGE, 2))
            self.private[3] = -5
            self.nothing = page[mmap.PAGESIZE :]
            self.strided = whole[::2]
            with tempfile.TemporaryFile() as file:
                self.nameless = np.memmap(file, np.int64, "w+", shape=(LARGE, 2))
            self.nameless[:] = 6

        def __len__(self):
            return 4

        def __getitem__(self, idx):
            arrays = self.rows, self.read_only, self.private, self.strided, self.nameless
            mapped = [(type(array) is np.memmap, array.flags.writeable) for array in arrays[:2]]
            return *[array[idx] for array in arrays], self.nothing.shape, mapped

    source = Mapped()
    table = SegmentTable()
    for name in ("rows", "read_only"):
        assert len(table.dumps(name, getattr(source, name))[0]) < 500
    assert table.segments == []
    loader = processes(source)
    for actual, expected in zip(loader, source, strict=True):
        for part, oracle in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(part, oracle)
    whole[100] = 4711  # workers look at the same file
    assert next(iter(loader))[0].tolist() == [4711, 4711]


def test_a_worker_that_takes_anothers_place_gets_everything(processes):
    import signal

    class Sums(Data):
        def __getitem__(self, idx):
            return os.getpid(), float(self.x.sum()), self.epoch

    source = Sums()
    loader = processes(source)
    first = {pid for pid, _, _ in loader}
    source.x[0] = 100
    source.epoch = 1
    list(loader)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    after = list(loader)
    assert {total for _, total, _ in after} == {float(source.x.sum())}
    assert {epoch for _, _, epoch in after} == {1}


def test_a_new_large_attribute_reaches_a_worker_that_takes_anothers_place(processes):
    """In the middle of an epoch: the others are told at the next."""
    import signal

    class Growing(Sequence):
        def __init__(self):
            self.flag = 0

        def __len__(self):
            return 30

        def __getitem__(self, idx):
            return os.getpid(), self.flag, len(getattr(self, "late", ()))

    source = Growing()
    loader = processes(source, prefetch=1)
    for index, (pid, _, _) in enumerate(loader):
        if index == 2:
            source.late = np.zeros(LARGE)
            source.flag = 1
            os.kill(pid, signal.SIGKILL)
        if index == 20:
            source.flag = 0
    assert {(flag, late) for _, flag, late in loader} == {(0, LARGE)}


def proportional_memory(pid):
    """PSS: pages that n processes share count as one n-th of a page in each."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def test_workers_hold_a_large_array_once_together(processes):
    class Big(Sequence):
        def __init__(self):
            self.x = np.ones(100_000_000, np.uint8)

        def __len__(self):
            return 8

        def __getitem__(self, idx):
            return os.getpid(), int(self.x[:: 4096 // 8].sum())

    class Small(Big):
        def __init__(self):
            self.x = np.ones(100, np.uint8)

    used = []
    for source in (Small(), Big()):
        loader = processes(source, workers=4)
        list(loader)
        pids = [worker.pid for worker in loader._scheduler.engine._workers]
        used.append(sum(map(proportional_memory, pids)))
    assert used[1] - used[0] < 150_000_000
