"""Decoded blocks are kept within a budget, decoded once however many threads ask, and never mixed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit import HDF5Matrix
from befit.errors import ArgumentError, DatasetError
from befit.hdf5 import cache as cache_module
from befit.hdf5 import source
from befit.hdf5.blocks import BlockDecoder
from befit.hdf5.cache import BlockCache, MemorySlab
from befit.hdf5.scratch import ScratchSlab

WAIT = 30  # seconds until a test gives up waiting for something that must happen
ROWS, WIDTH = 4, 8  # of a block, and bytes of a row
SIZE = ROWS * WIDTH


def block(number: int) -> np.ndarray:
    """The bytes of a block: they say which rows they are."""
    rows = np.arange(number * ROWS, (number + 1) * ROWS, dtype="<u8")
    return rows.view(np.uint8)


class Decoding:
    """Decodes blocks, counts them, and does what a test wants meanwhile."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.before = lambda blocks: None
        self._lock = threading.Lock()

    def __call__(self, blocks: list[int], out: np.ndarray, places: list[int]) -> None:
        with self._lock:
            self.counts.update(blocks)
        self.before(blocks)
        for number, place in zip(blocks, places, strict=True):
            out.reshape(-1)[place : place + SIZE] = block(number)


def cache_of(blocks: int, slots: int, decode: Decoding, folder: Path | None = None) -> BlockCache:
    slab = (
        MemorySlab(slots, SIZE, decode) if folder is None else ScratchSlab(slots, SIZE, decode, str(folder))
    )
    return BlockCache(blocks, ROWS, WIDTH, slab)


def numbers(records: np.ndarray) -> list[int]:
    """The rows that records are."""
    return records.view("<u8").tolist()


def in_threads(work, count: int) -> list[BaseException]:
    """Call ``work(number)`` in threads; return what they raised."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 (looked at by the test)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    return errors


@settings(max_examples=100, deadline=None)
@given(data=st.data(), blocks=st.integers(1, 7), slots=st.integers(1, 7))
def test_any_sequence_of_reads(data, blocks, slots):
    """Rows are right, ``None`` comes only if they need more blocks than there are slots."""
    decode = Decoding()
    cache = cache_of(blocks, min(slots, blocks), decode)
    last: set[int] = set()
    seen: set[int] = set()
    for _ in range(data.draw(st.integers(1, 12))):
        rows = np.array(data.draw(st.lists(st.integers(0, blocks * ROWS - 1), min_size=1, max_size=9)))
        needed = sorted(set((rows // ROWS).tolist()))
        before = decode.counts.total()
        kind = data.draw(st.sampled_from(["gather", "bring", "copy"]))
        if kind == "copy":
            out = np.zeros(2, np.dtype((np.void, WIDTH)))
            if cache.copy(needed[0], 1, 3, out):
                assert numbers(out) == [needed[0] * ROWS + 1, needed[0] * ROWS + 2]
                assert needed[0] in seen
            continue
        found = cache.gather(rows) if kind == "gather" else cache.bring(np.unique(rows // ROWS))
        if len(needed) > slots:
            assert found is None
            continue
        if kind == "gather":
            assert numbers(found) == rows.tolist()
        seen.update(needed)
        if len(seen) <= slots:
            assert set(decode.counts.values()) == {1}
        elif last.issuperset(needed):
            assert decode.counts.total() == before
        last = set(needed)


def test_the_block_that_was_not_used_for_longest_makes_room():
    decode = Decoding()
    cache = cache_of(5, 3, decode)
    for number in (0, 1, 2, 0, 3):  # 3 takes the place of 1
        cache.gather(np.array([number * ROWS]))
    decode.counts.clear()
    assert numbers(cache.gather(np.array([0, 2 * ROWS + 1, 3 * ROWS]))) == [0, 9, 12]
    assert decode.counts == {}
    cache.gather(np.array([ROWS]))
    assert decode.counts == {1: 1}


def test_what_is_kept_for_a_window_stays():
    """Blocks decoded ahead take the place of others than those that are read now."""
    decode = Decoding()
    cache = cache_of(9, 4, decode)
    cache.bring(np.array([0, 1]))
    cache.bring(np.array([5, 6]))
    cache.bring(np.array([7, 8]), np.array([0, 1]))
    decode.counts.clear()
    cache.gather(np.array([0, ROWS, 7 * ROWS, 8 * ROWS]))
    assert decode.counts == {}


@pytest.mark.parametrize(("blocks", "slots"), [(40, 3), (40, 40), (40, 8)])
@pytest.mark.parametrize("on_disk", [False, True])
def test_threads_hammer_one_cache(blocks, slots, on_disk, tmp_path):
    """More blocks than slots: what one thread brings another evicts, and nobody gets a wrong row."""
    decode = Decoding()
    if on_disk and slots < blocks:
        pytest.skip("a file has a slot for every block")
    cache = cache_of(blocks, slots, decode, tmp_path if on_disk else None)
    wrong: list[object] = []
    none = [0] * 8

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(300):
            rows = rng.choice(blocks, min(slots, 3), replace=False) * ROWS + rng.integers(0, ROWS)
            found = cache.gather(rows)
            none[seed] += found is None
            if found is not None and numbers(found) != rows.tolist():
                wrong.append((rows, numbers(found)))
            out = np.zeros(1, np.dtype((np.void, WIDTH)))
            if cache.copy(int(rows[0]) // ROWS, 2, 3, out) and numbers(out) != [
                int(rows[0]) // ROWS * ROWS + 2
            ]:
                wrong.append((rows[0], numbers(out)))

    assert in_threads(work, 8) == []
    assert wrong == []
    if slots == blocks:
        assert sum(none) == 0
        assert set(decode.counts.values()) == {1}


@pytest.fixture
def waiting(monkeypatch) -> threading.Semaphore:
    """Counts the threads that wait for a block which another one decodes."""
    count = threading.Semaphore(0)

    class Event(threading.Event):
        def wait(self, timeout=None):
            count.release()
            return super().wait(timeout)

    monkeypatch.setattr(cache_module, "threading", SimpleNamespace(Lock=threading.Lock, Event=Event))
    return count


@pytest.mark.parametrize("slots", [2, 6])
def test_threads_that_need_a_block_decode_it_once(slots, waiting):
    decode = Decoding()
    cache = cache_of(6, slots, decode)
    found: list[list[int]] = []

    def before(blocks):
        for _ in range(3):  # the others
            assert waiting.acquire(timeout=WAIT)

    decode.before = before
    assert in_threads(lambda number: found.append(numbers(cache.gather(np.array([12 + number])))), 4) == []
    assert sorted(found) == [[12], [13], [14], [15]]
    assert decode.counts == {3: 1}


@pytest.mark.parametrize("slots", [2, 6])
def test_errors_reach_every_thread_and_leave_the_cache_usable(slots, waiting):
    """Those who wait for a block try it themselves; with few slots they may be told that there is no room."""
    decode = Decoding()
    cache = cache_of(6, slots, decode)
    results: list[object] = []

    def fail(blocks):
        if decode.counts.total() == 2:  # the first of them
            for _ in range(5):
                assert waiting.acquire(timeout=WAIT)
        raise DatasetError("damaged")

    decode.before = fail
    errors = in_threads(lambda number: results.append(cache.gather(np.array([9, 4]))), 6)
    assert {str(error) for error in errors} == {"damaged"}
    assert results == [None] * (6 - len(errors))
    assert len(errors) == 6 or slots == 2
    for _ in range(3):  # no slot is lost
        with pytest.raises(DatasetError):
            cache.gather(np.array([0, 20]))
    decode.before = lambda blocks: None
    assert numbers(cache.gather(np.array([9, 20]))) == [9, 20]
    assert numbers(cache.gather(np.array([1, 5]))) == [1, 5]


def test_an_error_of_one_block_spares_the_others():
    decode = Decoding()
    cache = cache_of(6, 6, decode)

    def fail(blocks):
        if 2 in blocks:
            raise DatasetError("damaged")

    decode.before = fail
    with pytest.raises(DatasetError):
        cache.gather(np.array([0, 9]))
    assert numbers(cache.gather(np.array([0, 5, 23]))) == [0, 5, 23]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX")
@pytest.mark.parametrize("slots", [2, 6])
def test_a_fork_while_a_block_is_decoded(slots):
    """The child decodes it itself: the thread that was about to does not exist there."""
    decode = Decoding()
    cache = cache_of(6, slots, decode)
    inside, go_on = threading.Event(), threading.Event()

    def before(blocks):
        inside.set()
        assert go_on.wait(WAIT)

    cache.gather(np.array([0]))
    decode.before = before
    thread = threading.Thread(target=cache.gather, args=(np.array([13]),))
    thread.start()
    assert inside.wait(WAIT)
    child = os.fork()
    if child == 0:
        signal.alarm(WAIT)
        decode.before = lambda blocks: None
        right = numbers(cache.gather(np.array([13, 0]))) == [13, 0]
        os._exit(0 if right else 1)
    go_on.set()
    thread.join(WAIT)
    assert os.waitpid(child, 0)[1] == 0
    assert numbers(cache.gather(np.array([13, 0]))) == [13, 0]


def counted(monkeypatch) -> Counter[int]:
    """Count the blocks that are decoded from now on."""
    counts: Counter[int] = Counter()
    decode, lock = BlockDecoder.decode, threading.Lock()

    def counting(self, blocks, *where):
        with lock:
            counts.update(blocks)
        decode(self, blocks, *where)

    monkeypatch.setattr(BlockDecoder, "decode", counting)
    return counts


@pytest.fixture
def gzipped(tmp_path: Path) -> Path:
    """A file with ``x``, 60 rows of 80 bytes, ten in a chunk."""
    with h5py.File(tmp_path / "gzipped.h5", "w") as file:
        data = np.arange(600, dtype="f8").reshape(60, 10)
        file.create_dataset("x", data=data, chunks=(10, 10), compression="gzip")
    return tmp_path / "gzipped.h5"


DATA = np.arange(600, dtype="f8").reshape(60, 10)


class TestOfAMatrix:
    def test_all_is_kept_where_it_fits(self, gzipped, monkeypatch):
        counts = counted(monkeypatch)
        x = HDF5Matrix(gzipped, "x", cache_bytes=4800)
        for rows in ([59, 0], list(range(60)), slice(5, 30), slice(None, None, -7), slice(None)):
            np.testing.assert_array_equal(x[rows], DATA[rows])
        assert counts == dict.fromkeys(range(6), 1)
        assert "all 4,800 bytes of decoded rows are kept in memory" in x.explain()

    def test_the_windows_of_a_dataset_share_it(self, gzipped, monkeypatch):
        counts = counted(monkeypatch)
        x, y = HDF5Matrix(gzipped, "x", 0, 40), HDF5Matrix(gzipped, "x", 20)
        x[[39, 0]], y[[0, 19, 39]]
        assert counts == {0: 1, 3: 1, 2: 1, 5: 1}

    @pytest.mark.parametrize(("cache_bytes", "slots"), [(0, 1), (1, 1), (1601, 2), (4799, 5)])
    def test_the_budget_without_a_disk(self, gzipped, monkeypatch, cache_bytes, slots):
        monkeypatch.setattr(source, "scratch_folder", lambda nbytes: None)
        counts = counted(monkeypatch)
        x = HDF5Matrix(gzipped, "x", cache_bytes=cache_bytes)
        assert f"the {slots} blocks of rows used last, of 6, are kept in memory" in x.explain()
        rng = np.random.default_rng(0)
        for _ in range(40):
            rows = rng.integers(0, 60, 9)
            np.testing.assert_array_equal(x[rows], DATA[rows])
        counts.clear()
        for number in range(slots):
            x[[number * 10]]
        counts.clear()
        for number in range(slots):
            x[[number * 10 + 3]]
        assert counts == {}

    def test_a_pass_over_the_file_does_not_wash_it_away(self, gzipped, monkeypatch):
        monkeypatch.setattr(source, "scratch_folder", lambda nbytes: None)
        x = HDF5Matrix(gzipped, "x", cache_bytes=1600)
        x[[3, 13]]
        counts = counted(monkeypatch)
        for start in range(0, 60, 20):
            np.testing.assert_array_equal(x[start : start + 20], DATA[start : start + 20])
        x[[5, 15]]
        assert counts == {2: 1, 3: 1, 4: 1, 5: 1}

    def test_what_does_not_fit_is_kept_on_disk(self, gzipped, monkeypatch, tmp_path):
        (tmp_path / "scratch").mkdir()
        monkeypatch.setenv("BEFIT_SCRATCH", str(tmp_path / "scratch"))
        monkeypatch.setattr(source, "scratch_folder", lambda nbytes: str(tmp_path / "scratch"))
        counts = counted(monkeypatch)
        x = HDF5Matrix(gzipped, "x", cache_bytes=100)
        for _ in range(2):
            np.testing.assert_array_equal(x[[59, 7, 0, 33]], DATA[[59, 7, 0, 33]])
        assert f"kept in a temporary file in {tmp_path / 'scratch'}" in x.explain()
        assert list((tmp_path / "scratch").iterdir()) == []
        assert counts == dict.fromkeys((0, 3, 5), 1)

    def test_a_folder_that_is_none(self, gzipped, monkeypatch):
        """It is asked for only where it is needed."""
        monkeypatch.setenv("BEFIT_SCRATCH", "/no/such/folder")
        HDF5Matrix(gzipped, "x")[[3]]
        with pytest.raises(ArgumentError, match=r"BEFIT_SCRATCH names '/no/such/folder', which is no folder"):
            HDF5Matrix(gzipped, "x", cache_bytes=100)[[3]]


SCRIPT = """if True:
    import os, resource, sys
    import numpy as np
    from befit import HDF5Matrix
    from befit.errors import DatasetError
    from befit.hdf5 import source

    path, folder = sys.argv[1:]
    source.scratch_folder = lambda nbytes: folder  # whatever file system that is
    x = HDF5Matrix(path, "x", cache_bytes=100)
    data = np.arange(600, dtype="f8").reshape(60, 10)
    np.testing.assert_array_equal(x[[55, 3]], data[[55, 3]])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1600, resource.RLIM_INFINITY))
    for _ in range(2):
        try:
            x[[15, 25]]
        except DatasetError as error:
            assert "no room in" in str(error) and "BEFIT_SCRATCH" in str(error), error
        else:
            raise AssertionError("a full disk is an error")
    np.testing.assert_array_equal(x[[12, 55, 3]], data[[12, 55, 3]])
    np.testing.assert_array_equal(x[:], data)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    np.testing.assert_array_equal(x[[15, 25]], data[[15, 25]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
def test_a_disk_that_becomes_full(gzipped, tmp_path):
    """An error says what to do; what was decoded before, and slices, are read all the same."""
    command = [sys.executable, "-c", SCRIPT, str(gzipped), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
