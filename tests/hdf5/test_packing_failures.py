"""pack(): whole or not at all, whatever happens in the middle."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from befit.errors import ArgumentError, DatasetError
from befit.hdf5.packing import output, pack, packer

# A source that says so when half of it has been read, and then waits to be interrupted.
SLOW = """
import sys, time
import numpy as np
from befit.hdf5.packing import pack, packer

packer._BLOCK = 1 << 16

class Slow:
    shape, dtype = (1000, 1024), np.dtype("f8")

    def __getitem__(self, rows):
        start, stop, _ = rows.indices(1000)
        if start >= 500:
            print("half", flush=True)
            time.sleep(60)
        return np.random.default_rng(start).random((stop - start, 1024))

pack({"x": Slow()}, sys.argv[1], compression=None, overwrite=True)
"""
# The file may not grow beyond 2 MiB; the process has to live on, and end well.
FULL = """
import resource, signal, sys
import numpy as np
from befit.errors import DatasetError
from befit.hdf5.packing import pack, packer

packer._BLOCK = 1 << 18
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
rows = np.random.default_rng(0).integers(0, 256, (8 << 10, 1 << 10), "uint8")
for compression in (None, "gzip", "lzf"):
    try:
        pack({"a": np.arange(5), "x": rows}, sys.argv[1], compression=compression, overwrite=True)
    except DatasetError as error:
        print(error.errno, error)
pack({"a": np.arange(5)}, sys.argv[1], overwrite=True)
"""


@contextmanager
def running(script: str, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive its test."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The only file of its folder."""
    path = tmp_path / "out.h5"
    path.write_bytes(b"what was there")
    return path


def untouched(out: Path) -> bool:
    return os.listdir(out.parent) == [out.name] and out.read_bytes() == b"what was there"


def test_a_killed_process_leaves_nothing_that_the_next_one_does_not_remove(out: Path) -> None:
    with running(SLOW, out) as process:
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert out.read_bytes() == b"what was there"
    assert len(os.listdir(out.parent)) == 2  # and the part of the killed process
    pack({"x": np.arange(3)}, out, overwrite=True)
    assert os.listdir(out.parent) == [out.name]
    with h5py.File(out) as file:
        assert file["x"][:].tolist() == [0, 1, 2]


def test_a_part_of_a_living_process_stays(out: Path) -> None:
    with running(SLOW, out) as process:
        assert process.stdout.readline() == "half\n"
        pack({"x": np.arange(3)}, out, overwrite=True)
        assert len(os.listdir(out.parent)) == 2


def test_ctrl_c_leaves_nothing(out: Path) -> None:
    with running(SLOW, out) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate()[1]
    assert process.returncode in (1, 130, -signal.SIGINT)
    assert untouched(out)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit for the size of files")
def test_a_full_disk_leaves_nothing_and_the_process_lives(out: Path) -> None:
    """HDF5 alone cannot close the file then, and the process ends with a segmentation fault."""
    with running(FULL, out) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    lines = printed.splitlines()
    assert len(lines) == 3
    words = f"{errno.EFBIG} cannot write {out}: File too large; nothing was left behind."
    assert all(line.startswith(words) for line in lines)
    assert os.listdir(out.parent) == [out.name]
    with h5py.File(out) as file:
        assert file["a"][:].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("failing", ["write", "truncate", "fsync", "replace"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_an_error_of_the_disk_at_any_time(
    failing: str, compression: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write in turn is the one that fails."""

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    left = [0]

    class Failing(output.io.FileIO):
        def write(self, data: Any) -> int:
            left[0] -= 1
            return super().write(data) if left[0] >= 0 or failing != "write" else fail()

        def truncate(self, size: int | None = None) -> int:
            return super().truncate(size) if failing != "truncate" else fail()

    monkeypatch.setattr(packer, "_BLOCK", 1 << 14)
    monkeypatch.setattr(output.io, "FileIO", Failing)
    if failing in ("fsync", "replace"):
        monkeypatch.setattr(output.os, failing, fail)
    rows = np.random.default_rng(0).integers(0, 256, (100, 1000), "uint8")
    for number in range(200 if failing == "write" else 1):
        left[0] = number
        try:
            pack({"x": rows, "g/y": rows}, out, compression=compression, chunk_rows=9, overwrite=True)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error  # noqa: PT017 - it may also be done
            assert untouched(out)
        else:
            break
    else:
        assert failing != "write"
        return
    assert failing == "write"
    assert number > 5
    with h5py.File(out) as file:
        np.testing.assert_array_equal(file["g/y"][:], rows)


@pytest.mark.parametrize("error", [ValueError("no row"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [0, 40])
def test_an_error_of_the_source_leaves_nothing(
    error: BaseException, at: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails:
        shape, dtype = (80, 10), np.dtype("i4")

        def __getitem__(self, rows: slice) -> np.ndarray:
            if rows.start is not None and rows.stop > at:
                raise error
            return np.zeros((80, 10), "i4")[rows]

    monkeypatch.setattr(packer, "_BLOCK", 400)
    with pytest.raises(type(error)):
        pack({"y": np.arange(9), "x": Fails()}, out, overwrite=True)
    assert untouched(out)


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    class Slow:
        shape, dtype = (3,), np.dtype("i8")

        def __getitem__(self, rows: slice) -> np.ndarray:
            (tmp_path / "out.h5").write_text("somebody else's")
            return np.arange(3)[rows]

    with pytest.raises(FileExistsError, match=r"out\.h5"):
        pack({"x": Slow()}, tmp_path / "out.h5")
    assert os.listdir(tmp_path) == ["out.h5"]
    assert (tmp_path / "out.h5").read_text() == "somebody else's"


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder.*nowhere"):
        pack({"x": [1]}, tmp_path / "nowhere" / "out.h5")
    with pytest.raises(ArgumentError, match="is a folder"):
        pack({"x": [1]}, tmp_path, overwrite=True)
    if os.name == "posix" and os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match="cannot write to this folder"):
            pack({"x": [1]}, tmp_path / "out.h5")
        tmp_path.chmod(0o700)


def test_too_little_space_is_seen_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, 3_000_000))
    monkeypatch.setattr(packer, "_write", lambda *_: pytest.fail("nothing may be written"))
    with pytest.raises(DatasetError, match=r"about 0\.01 GB and .* has 0\.00 GB free"):
        pack({"x": np.random.default_rng(0).random(1_000_000)}, tmp_path / "out.h5")
    assert os.listdir(tmp_path) == []
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, 3_000_000))
    pack({"x": np.zeros(1_000_000)}, tmp_path / "out.h5")  # 8 MB that shrink


@pytest.mark.skipif(os.name == "nt", reason="has no such modes")
def test_the_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    pack({"x": [1]}, tmp_path / "out.h5")
    (tmp_path / "other").touch()
    assert (tmp_path / "out.h5").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_hdf5_can_read_back_what_could_not_be_written(tmp_path: Path) -> None:
    """It may drop a part of its index from memory and need it again before it closes the file."""

    class Full(output.io.FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x").write_bytes(b"0123456789")
    with Full(tmp_path / "x", "r+") as file:
        sink = output._Sink(file)
        sink.seek(8)
        assert sink.write(b"abcd") == 4
        assert isinstance(sink.error, OSError)
        found = bytearray(4)
        for position, expected in ((8, b"abcd"), (2, b"2345"), (20, bytes(4))):
            sink.seek(position)
            assert sink.readinto(found) == 4
            assert found == expected
