"""HDF5Matrix in many processes and threads, on files that change, and what is left of it at the end."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from befit import HDF5Matrix
from befit.errors import DatasetError

DEADLINE = 100  # seconds until a test gives up waiting for a process
DATA = np.arange(6000, dtype="i8").reshape(600, 10)
LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (7, 10)},
    "gzip": {"chunks": (10, 10), "compression": "gzip"},
    "split": {"chunks": (8, 3), "compression": "lzf", "shuffle": True},
    "by h5py": {"chunks": (10, 10), "scaleoffset": 0},
}


def write(path: Path, data: np.ndarray = DATA) -> Path:
    with h5py.File(path, "w") as file:
        for name, options in LAYOUTS.items():
            maxshape = (None, 10) if options else None
            file.create_dataset(name, data=data, maxshape=maxshape, **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with a dataset of every layout."""
    return write(tmp_path / "data.h5")


def script(text: str, *arguments: object) -> list[str]:
    """The command that runs a script."""
    return [sys.executable, "-c", text, *map(str, arguments)]


def run(text: str, *arguments: object) -> None:
    """Run a script in a fresh process; it fails if the script does."""
    done = subprocess.run(
        script(text, *arguments), capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


STRESS = """if True:
    import os, signal, sys, threading
    import h5py, numpy as np
    from befit import HDF5Matrix
    from befit.hdf5 import source

    path, cache_bytes, disk, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    if disk == "no":
        source.scratch_folder = lambda nbytes: None
    names = ["contiguous", "chunked", "gzip", "split", "by h5py"]
    data = np.arange(6000, dtype="i8").reshape(600, 10)
    np.random.default_rng(0)  # imported now: a fork during an import leaves its lock taken for ever

    def read(matrices, seed, rounds):
        rng = np.random.default_rng(seed)
        for _ in range(rounds):
            x = matrices[rng.integers(len(matrices))]
            rows = rng.integers(0, 600, rng.integers(1, 40))
            assert np.array_equal(x[rows], data[rows])
            start = rng.integers(0, 590)
            assert np.array_equal(x[start : start + 30], data[start : start + 30])

    def in_threads(matrices, seed, rounds):
        wrong = []

        def work(seed):
            try:
                read(matrices, seed, rounds)
            except BaseException as error:
                wrong.append(error)
                raise

        threads = [threading.Thread(target=work, args=(seed + 10 * i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return not wrong

    def fork():
        child = os.fork()
        if child == 0:
            signal.alarm(80)  # nothing waits for ever
        return child

    if __name__ == "__main__":
        matrices = [HDF5Matrix(path, name, cache_bytes=cache_bytes, threads=2) for name in names]
        matrices[0][0], matrices[2][[5, 599]]
        # Threads of this process read while others are forked, which fork again.
        stop, fine = threading.Event(), []

        def keep_reading(seed):
            while not stop.is_set():
                read(matrices, seed, 5)
            fine.append(seed)

        readers = [threading.Thread(target=keep_reading, args=(seed,), daemon=True) for seed in (1, 2)]
        for thread in readers:
            thread.start()
        children = []
        for seed in range(3):
            child = fork()
            if child == 0:
                grandchild = fork()
                right = in_threads(matrices, 100 + seed, rounds)
                if grandchild == 0:
                    os._exit(0 if right else 1)
                os._exit(0 if right and os.waitpid(grandchild, 0)[1] == 0 else 1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        stop.set()
        for thread in readers:
            thread.join()
        assert sorted(fine) == [1, 2]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX")
@pytest.mark.parametrize(("cache_bytes", "disk"), [(1 << 30, "yes"), (1600, "yes"), (1600, "no"), (0, "no")])
def test_forks_of_threads_that_read(path, cache_bytes, disk):
    """Whatever they were doing: children, and theirs, read what they want in threads of their own."""
    run(STRESS, path, cache_bytes, disk, 60)


SPAWNED = """if True:
    import pickle, sys, threading
    import numpy as np

    with open(sys.argv[1], "rb") as file:
        matrices = pickle.load(file)
    data = np.arange(6000, dtype="i8").reshape(600, 10)
    rng = np.random.default_rng(int(sys.argv[2]))
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(150):
        for x in matrices:
            rows = rng.integers(0, 600, 20)
            assert np.array_equal(x[rows], data[rows])
"""


def test_processes_with_scratch_files_read_at_once(path, tmp_path, monkeypatch):
    """While a third one writes to a file of its own; nothing is left in the folder."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("BEFIT_SCRATCH", str(tmp_path / "scratch"))
    matrices = [HDF5Matrix(path, name, cache_bytes=500) for name in LAYOUTS]
    (tmp_path / "matrices").write_bytes(pickle.dumps(matrices))
    pipe = subprocess.PIPE
    command = script(SPAWNED, tmp_path / "matrices")
    children = [
        subprocess.Popen([*command, str(seed)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for seed in (1, 2)
    ]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        x = file.create_dataset("x", (0, 10), "i8", chunks=(10, 10), maxshape=(None, 10), compression="gzip")
        while any(child.poll() is None for child in children):
            x.resize(len(x) + 10, axis=0)
            x[-10:] = 7
            file.flush()
            rows = np.random.default_rng(len(x)).integers(0, 600, 20)
            for matrix in matrices:
                np.testing.assert_array_equal(matrix[rows], DATA[rows])
    for child in children:
        _, errors = child.communicate(timeout=DEADLINE)
        assert (child.returncode, errors) == (0, "")
    assert list((tmp_path / "scratch").iterdir()) == []


KILLED = """if True:
    import sys
    import numpy as np
    from befit import HDF5Matrix
    from befit.hdf5 import source

    source.scratch_folder = lambda nbytes: sys.argv[2]
    x = HDF5Matrix(sys.argv[1], "gzip", cache_bytes=100)
    x[list(range(0, 600, 7))]
    print("temporary file" in x.explain(), flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_leaves_nothing_on_the_disk(path, tmp_path):
    """Its scratch file has no name while it runs, so the system takes the space back at once."""
    (tmp_path / "scratch").mkdir()
    command = script(KILLED, path, tmp_path / "scratch")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "True\n"
        assert list((tmp_path / "scratch").iterdir()) == []
        if sys.platform == "linux":
            links = [os.readlink(link) for link in Path(f"/proc/{child.pid}/fd").iterdir()]
            found = {link for link in links if link.startswith(str(tmp_path / "scratch"))}
            assert len(found) == 1
            assert found.pop().endswith("(deleted)")
        child.kill()
    assert child.returncode == -9
    assert list((tmp_path / "scratch").iterdir()) == []


def appended(path: Path) -> None:
    with h5py.File(path, "a") as file:
        for name in set(LAYOUTS) - {"contiguous"}:
            file[name].resize(620, axis=0)
    later(path)


def overwritten(path: Path) -> None:
    with h5py.File(path, "a") as file:
        for name in LAYOUTS:
            file[name][:] = -DATA
    later(path)


def replaced(path: Path) -> None:
    write(path.with_name("new.h5"), -DATA).rename(path)
    later(path)


def removed(path: Path) -> None:
    path.unlink()


def later(path: Path) -> None:
    """Move the time of change: the clock of a file system may be coarse."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


CHANGES = [appended, overwritten, replaced, removed]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pickled_matrix_whose_file_has_changed(path, layout, change):
    """An error that says so, and never a row of the other state."""
    data = pickle.dumps(HDF5Matrix(path, layout))
    gc.collect()
    change(path)
    with pytest.raises(OSError, match=r"make a new HDF5Matrix|[Nn]o such file|no HDF5 file") as caught:
        pickle.loads(data)[[3, 599]]
    assert isinstance(caught.value, DatasetError | FileNotFoundError)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "by h5py"])
def test_a_file_that_is_changed_under_an_open_matrix(path, layout, monkeypatch):
    """By a program that does not ask HDF5's lock; rows that were decoded before are still right."""
    x = HDF5Matrix(path, layout)
    np.testing.assert_array_equal(x[[3, 4]], DATA[[3, 4]])
    subprocess.run(
        script(
            "import sys, h5py; h5py.File(sys.argv[1], 'a', locking=False)[sys.argv[2]][:] = -1", path, layout
        ),
        check=True,
        timeout=DEADLINE,
    )
    later(path)
    with pytest.raises(DatasetError, match=r"has changed since it was opened|was cut"):
        x[[300, 500]]
    with pytest.raises(DatasetError, match=r"has changed since it was opened|was cut"):
        x[100:400]
    del x  # while it is open, HDF5 itself goes on with what it knew of the file
    gc.collect()
    np.testing.assert_array_equal(HDF5Matrix(path, layout)[[3, 4]], np.full((2, 10), -1))


@pytest.mark.parametrize("change", [replaced, removed])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_open_matrix_keeps_its_file(path, layout, change):
    """A file that another one has taken the place of is still there for those who have it open."""
    x = HDF5Matrix(path, layout)
    change(path)
    np.testing.assert_array_equal(x[[3, 599, 20]], DATA[[3, 599, 20]])
    np.testing.assert_array_equal(x[5:30], DATA[5:30])


def test_edges_that_only_h5py_can_read_come_from_the_same_file(tmp_path):
    """Some blocks are read by h5py although the others are not: never those of a file that took its place."""

    def make(path, data):
        """A last chunk that looks as if it had not been filtered: it is stored in as many bytes as it has."""
        with h5py.File(path, "w") as file:
            x = file.create_dataset("x", data=data, chunks=(8, 10), compression="gzip")
            x.id.write_direct_chunk((592, 0), np.resize(data[592:], (8, 10)).tobytes(), filter_mask=1)
        return path

    make(tmp_path / "a.h5", DATA[:597])
    x = HDF5Matrix(tmp_path / "a.h5", "x")
    assert x.layout.fast
    table = x._source._table
    object.__setattr__(table, "doubtful", frozenset({74}))
    make(tmp_path / "b.h5", -DATA[:597]).rename(tmp_path / "a.h5")
    later(tmp_path / "a.h5")
    np.testing.assert_array_equal(x[[3]], DATA[[3]])
    with pytest.raises(DatasetError, match=r"was replaced|has changed"):
        x[[0, 596]]


def held() -> tuple[int, int, int]:
    """The descriptors, the mappings of files with rows, and the HDF5 files of this process."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = sum(".h5" in line or "befit-" in line or "(deleted)" in line for line in maps)
    count = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE)
    return len(os.listdir("/proc/self/fd")), mapped, count


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("cache_bytes", [None, 500])
def test_two_hundred_matrices_leave_nothing_open(path, cache_bytes):
    """Whether they are closed, dropped, pickled or failed."""
    HDF5Matrix(path, "gzip", cache_bytes=cache_bytes)[[1]]
    gc.collect()
    before = held()
    for number in range(200):
        layout = list(LAYOUTS)[number % 5]
        x = HDF5Matrix(path, layout, number, cache_bytes=cache_bytes)
        x[[0, 100]], x[3:20]
        if number % 3 == 0:
            x.close()
        elif number % 3 == 1:
            again = pickle.loads(pickle.dumps(x))
            again[[2]]
            del again
        with pytest.raises(OSError, match="nothing"):
            HDF5Matrix(path, "nothing")
    del x
    gc.collect()
    assert held() == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_matrix_that_is_dropped_is_closed_at_once(path, layout):
    """Without the garbage collector: the file can be written to on the next line."""
    gc.disable()
    try:
        x = HDF5Matrix(path, layout, cache_bytes=500)
        x[[3, 400]]
        y = HDF5Matrix(path, layout, 5, cache_bytes=500)
        y[[3]]
        batches = y.batches(batch_size=7, shuffle="chunks")
        batches[0]
        del x, batches
        y.close()
        with h5py.File(path, "a") as file:
            file["new"] = [1]
    finally:
        gc.enable()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_close_is_final(path, layout):
    """In this thread and others, for its batches and parts, but not for other matrices and copies."""
    x, other = HDF5Matrix(path, layout), HDF5Matrix(path, layout)
    copied, batches = pickle.loads(pickle.dumps(x)), x.batches(batch_size=4, shuffle="chunks")
    x[[3]], batches[0]
    x.close()
    for read in (lambda: x[[3]], lambda: x[0:4], lambda: batches[1], lambda: next(iter(x)), x.explain):
        if read == x.explain and layout in ("contiguous", "chunked", "by h5py"):
            continue
        with pytest.raises(DatasetError, match="is closed"):
            read()
    errors: list[BaseException] = []

    def elsewhere():
        try:
            x[[3]]
        except DatasetError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(DEADLINE)
    assert len(errors) == 1
    for matrix in (other, copied):
        np.testing.assert_array_equal(matrix[[599, 3]], DATA[[599, 3]])
