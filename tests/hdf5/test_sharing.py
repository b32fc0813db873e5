"""What matrices of one file share, and that it ends whole: at a close, an interrupt, the end of Python."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref

import h5py
import numpy as np
import pytest

from befit import HDF5Matrix
from befit.errors import DatasetError
from befit.hdf5 import pools, source
from befit.hdf5.blocks import BlockDecoder


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        rows = np.arange(1600).reshape(800, 2)
        file.create_dataset("x", data=rows, chunks=(100, 2), compression="gzip")
        file["linked"] = file["x"]
        file.create_dataset("text", data=["a", "b"], dtype=h5py.string_dtype())
    return tmp_path / "a.h5"


@pytest.fixture
def decoded(monkeypatch):
    """The numbers of the blocks that are decoded."""
    numbers = []
    decode = BlockDecoder.decode

    def noted(self, blocks, *where):
        numbers.extend(blocks)
        return decode(self, blocks, *where)

    monkeypatch.setattr(BlockDecoder, "decode", noted)
    return numbers


def test_windows_and_spellings_share_what_is_decoded(path, decoded):
    x, again = HDF5Matrix(path, "x", 0, 500), HDF5Matrix(path, "/x", 300)
    x[np.arange(500)]
    assert sorted(decoded) == [0, 1, 2, 3, 4]
    assert again[np.arange(200)][:, 0].tolist() == list(range(600, 1000, 2))
    assert len(decoded) == 5


def test_names_of_one_file_share_its_handle(path, tmp_path):
    os.link(path, tmp_path / "hard.h5")
    os.symlink(path, tmp_path / "soft.h5")
    matrices = [HDF5Matrix(tmp_path / name, "x") for name in ("a.h5", "hard.h5", "soft.h5", "a.h5")]
    assert len({id(matrix._source._file) for matrix in matrices}) == 1


@pytest.mark.parametrize("cache_bytes", [None, 0])
def test_batches_of_neighbours_in_any_order_decode_a_chunk_once(path, decoded, cache_bytes):
    """Also where only a temporary file keeps them, and again in no later epoch."""
    batches = HDF5Matrix(path, "x", cache_bytes=cache_bytes).batches(batch_size=10, shuffle="batch", seed=0)
    rows = np.concatenate([batches[i] for i in range(len(batches))])
    assert sorted(rows[:, 0]) == list(range(0, 1600, 2))
    assert len(decoded) <= 12  # a slice that happens to follow another one decodes for itself
    batches.on_epoch_end()
    before = len(decoded)
    for i in range(len(batches)):
        batches[i]
    assert len(decoded) == before


def test_slices_in_order_decode_a_chunk_once_and_keep_it_the_second_time(path, decoded):
    x = HDF5Matrix(path, "x")
    for passes, expected in ((1, 8), (2, 16), (3, 16)):
        for start in range(0, 800, 30):
            x[start : start + 30]
        assert len(decoded) == expected, f"after pass {passes}"


def test_an_interrupt_waits_for_the_other_parts(monkeypatch):
    """They write to memory that is somebody else's soon after."""
    goes_on, ended = threading.Event(), threading.Event()
    calls = []

    def work(part):
        if part.start:
            goes_on.wait(30)
            ended.set()

    def interrupted(futures):
        calls.append(futures)
        if len(calls) == 1:
            raise KeyboardInterrupt
        goes_on.set()
        wait(futures)

    wait = pools.wait
    monkeypatch.setattr(pools, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pools.run_parts(work, 2, 2)
    assert ended.is_set()


def test_the_first_error_of_any_part_is_raised():
    def work(part):
        raise ValueError(part.start)

    with pytest.raises(ValueError, match="0"):
        pools.run_parts(work, 4, 4)
    with pytest.raises(ValueError, match="2"):
        pools.run_parts(lambda part: part.start == 2 and work(part), 4, 4)


def test_a_block_is_not_read_from_a_file_that_took_the_place(path, tmp_path):
    x = HDF5Matrix(path, "x")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.zeros((800, 2), int)
    os.replace(tmp_path / "b.h5", path)
    with pytest.raises(DatasetError, match="has changed since it was opened; make a new HDF5Matrix"):
        source._through_h5py(x._source._state, str(path), "x", None, 0, 4)
    assert x[5].tolist() == [10, 11]


def test_a_pickled_matrix_notices_another_file_of_the_same_size_and_time(path, tmp_path):
    x = HDF5Matrix(path, "x")
    state = x._source.__getstate__()
    status = os.stat(path)
    (tmp_path / "copy.h5").write_bytes(path.read_bytes())
    os.utime(tmp_path / "copy.h5", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(tmp_path / "copy.h5", path)
    del x
    copied = object.__new__(source.RowSource)
    copied.__dict__.update(state)
    with pytest.raises(DatasetError, match="is another file by now"):
        copied.read(range(3))


def test_a_file_that_changes_while_it_is_open_is_not_opened_again(path):
    """HDF5 would answer from what it remembers of the older one."""
    x = HDF5Matrix(path, "x")
    os.utime(path, ns=(1, 1))
    with pytest.raises(DatasetError, match="has changed while it was open; close the matrices of it"):
        HDF5Matrix(path, "x")
    x.close()
    assert HDF5Matrix(path, "x")[7].tolist() == [14, 15]


@pytest.mark.parametrize("name", ["x", "text"])
def test_whoever_reads_in_the_middle_of_close_is_too_late(path, name):
    x = HDF5Matrix(path, name)
    x[0]
    seen = []

    def read():
        try:
            seen.append(x[1])
        except DatasetError as error:
            seen.append(error)

    weakref.finalize(x._source._file, read)
    x.close()
    assert len(seen) == 1
    assert isinstance(seen[0], DatasetError)
    assert "is closed" in str(seen[0])


AT_EXIT = """if True:
    import atexit, sys
    import numpy as np
    from befit import HDF5Matrix

    x = HDF5Matrix(sys.argv[1], "x", threads=4)
    batches = HDF5Matrix(sys.argv[1], "x", cache_bytes=0, threads=4).batches(
        batch_size=10, shuffle="chunks", window_rows=100
    )

    def last_look():
        assert x[np.arange(800)].sum() == 1599 * 80000
        assert sum(batches[i].sum() for i in range(80)) == 1599 * 80000
        print("right")

    batches[0]
    atexit.register(last_look)
"""


def test_reading_at_the_end_of_the_interpreter(tmp_path):
    """No thread starts any more, so this one does their part."""
    with h5py.File(tmp_path / "a.h5", "w") as file:  # with chunks that are worth a thread
        rows = np.broadcast_to(np.arange(1600).reshape(800, 2), (100, 800, 2)).swapaxes(0, 1)
        file.create_dataset("x", data=rows, chunks=(100, 100, 2), compression="gzip")
    command = [sys.executable, "-c", AT_EXIT, str(tmp_path / "a.h5")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "right\n", "")
