"""Files are opened once a process, let go at the end, and every process and thread reads right."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from befit import HDF5Matrix
from befit.errors import DatasetError


def open_files() -> int:
    """The files that HDF5 has open in this process, counted by HDF5."""
    gc.collect()
    return h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)


def run(script: str, *arguments: object) -> None:
    """Run a script in a fresh process; it fails if the script does."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr + result.stdout


def test_matrices_share_one_handle(path):
    before = open_files()
    x, y = HDF5Matrix(path, "x"), HDF5Matrix(path, "y")
    assert open_files() == before + 1
    del x
    assert open_files() == before + 1
    np.testing.assert_array_equal(y, np.arange(10))
    del y
    assert open_files() == before


def test_close_lets_go_of_the_file(path):
    before = open_files()
    with HDF5Matrix(path, "x") as x:
        other = HDF5Matrix(path, "x")
    assert (len(x), x.shape, x.dtype) == (10, (10, 3), np.float32)
    with pytest.raises(DatasetError, match="is closed"):
        x[0]
    np.testing.assert_array_equal(other[0], [0, 1, 2])
    other.close()
    other.close()
    assert open_files() == before
    with h5py.File(path, "a") as file:  # nobody reads it any more, so it can be written
        file["z"] = [1]


def test_a_failed_matrix_leaves_nothing_open(path):
    before = open_files()
    for arguments in (("nothing",), ("x", 99)):
        with pytest.raises((OSError, ValueError)):
            HDF5Matrix(path, *arguments)
    assert open_files() == before


def test_a_file_that_this_process_is_writing(tmp_path):
    """What h5py has not written to disk yet is read too, and neither handle closes the other."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(10), chunks=(5,))
        x = HDF5Matrix(tmp_path / "a.h5", "x")
        file["x"][3] = 33
        assert x[3] == 33
        y = HDF5Matrix(tmp_path / "a.h5", "x")
        y.close()
        assert file["x"][3] == 33
    assert x[[3, 4]].tolist() == [33, 4]


def test_a_replaced_file_is_another_file(path, tmp_path):
    """A new file under the same name is opened, while the old matrix keeps its rows."""
    old = HDF5Matrix(path, "y")
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["y"] = np.arange(3) + 100
    (tmp_path / "new.h5").rename(path)
    assert HDF5Matrix(path, "y")[:].tolist() == [100, 101, 102]
    assert old[:].tolist() == list(range(10))


def test_threads_read_together(layouts):
    with h5py.File(layouts) as file:
        array = file["gzip/f4"][:]
    x = HDF5Matrix(layouts, "gzip/f4")
    wrong: list[object] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            rows = rng.integers(0, 23, 9)
            if not np.array_equal(x[rows], array[rows]):
                wrong.append(rows)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_file_that_another_process_writes(path):
    """HDF5 locks such a file; the error says what to do."""
    script = """if True:
        import sys, h5py
        file = h5py.File(sys.argv[1], "a")
        print("open", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(DatasetError, match="is locked: another process has it open for writing"):
            HDF5Matrix(path, "x")
        writer.stdin.close()
    assert len(HDF5Matrix(path, "x")) == 10


FORK = """if True:
    import os, sys, threading
    import h5py, numpy as np
    from befit import HDF5Matrix
    from befit.hdf5 import handles

    path, layout = sys.argv[1:]
    opened, really_open = [], handles._open
    handles._open = lambda path, source: opened.append(path) or really_open(path, source)
    with h5py.File(path) as file:
        array = file[layout + "/f4"][:]
    x = HDF5Matrix(path, layout + "/f4", normalizer=np.negative)
    again = HDF5Matrix(path, layout + "/f4", 3, cache_bytes=100)
    batches = x.batches(batch_size=4, shuffle=True, seed=1)
    first, stop = batches[0], threading.Event()
    again[0]  # both are open; a fork while one is being opened leaves the child a handle that nobody owns

    def keep_reading():
        while not stop.is_set():
            x[[5, 1]], again[[0, 19]]

    reader = threading.Thread(target=keep_reading)
    reader.start()
    assert opened == [path]
    children = []
    for seed in range(4):
        child = os.fork()
        if child == 0:
            rng = np.random.default_rng(seed)
            right = np.array_equal(batches[0], first)
            for _ in range(200):
                rows = rng.integers(0, 20, 7)
                right &= np.array_equal(x[rows], -array[rows])
                right &= np.array_equal(again[rows], array[3:][rows])
            # Where HDF5 reads, each child opens the file once for both matrices; else nobody asks HDF5 again.
            right &= opened == [path] * (1 if x.layout.fast else 2)
            count = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)
            right &= count == (0 if x.layout.fast else 1)  # none that the parent left
            os._exit(0 if right else 1)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    stop.set()
    reader.join()
    assert np.array_equal(x, -array)
    assert codes == [0, 0, 0, 0], codes
"""


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip", "chunks split rows", "by h5py"])
@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="fork is POSIX")
def test_forked_processes_read_while_a_thread_of_the_parent_does(layouts, layout):
    """Also if a thread was inside HDF5, or in the middle of decoding, at the moment of the fork."""
    run(FORK, layouts, layout)


def test_nothing_is_imported_for_the_face():
    """h5py is loaded when HDF5Matrix is first used, and no framework is."""
    run(
        """if True:
        import sys, befit
        assert "h5py" not in sys.modules
        befit.HDF5Matrix
        assert "h5py" in sys.modules
        assert not {"keras", "torch", "jax", "tensorflow"} & set(sys.modules)
        """
    )


def test_the_working_directory_is_remembered(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    x = HDF5Matrix(Path("data.h5"), "y")
    x_again = HDF5Matrix(b"data.h5", "y")
    monkeypatch.chdir("/")
    assert x[:].tolist() == x_again[:].tolist() == list(range(10))
