"""Damaged HDF5 files: an error, or what h5py reads; never a crash, never a hang, never another number.

Damaged files may crash HDF5 itself, so they are read in processes of their own, by this file run as a script:
one reads with h5py alone, the others with befit, and what they say about each file is compared.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")

HANG = 30  # seconds for one file
MEMORY = 4 << 30  # bytes of a process; a damaged size must not take all there is
READERS = {"h5py": "", "mapped": "1", "read": "0"}  # and what BEFIT_MMAP is for them

LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (4, 3)},
    "split": {"chunks": (5, 2), "maxshape": (None, 6)},
    "gzip": {"chunks": (4, 3), "compression": "gzip", "shuffle": True},
    "checksums": {"chunks": (7, 3), "compression": "gzip", "fletcher32": True},
    "lzf": {"chunks": (6, 3), "compression": "lzf", "maxshape": (None, None)},
    "latest": {"chunks": (4, 2), "compression": "gzip", "libver": "latest"},
    "latest, extensible": {"chunks": (4, 3), "maxshape": (None, 3), "libver": "latest"},
    "latest, two axes": {"chunks": (4, 2), "maxshape": (None, None), "fletcher32": True, "libver": "latest"},
    "missing": {"chunks": (4, 3), "maxshape": (None, 3), "fillvalue": 7, "written": 10},
    "by h5py": {"chunks": (4, 3), "scaleoffset": 0},
}


def write(path: Path, options: dict) -> np.ndarray:
    """Write ``x``, 23 rows of 3 numbers, and an attribute and a group beside it; return its rows."""
    options = dict(options)
    data = np.arange(69, dtype="i4").reshape(23, 3) % 29
    data[options.pop("written", 23) :] = options.get("fillvalue", 0)
    with h5py.File(path, "w", libver=options.pop("libver", "earliest")) as file:
        x = file.create_dataset("x", data.shape, data.dtype, **options)
        x[: 10 if "fillvalue" in options else None] = data[: 10 if "fillvalue" in options else None]
        x.attrs["unit"] = "m"
        file.create_group("empty")
    return data


def damages(whole: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damage a file in ``count`` ways: bytes, numbers, ranges, cuts; 0: cut and change it everywhere."""
    chance = random.Random(seed)
    for place in [] if count else range(seed % 7, len(whole), 7):
        yield whole[:place]
        yield whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
    for number in range(count):
        data = bytearray(whole)
        kind, place = number % 5, chance.randrange(len(data))
        if kind == 0:
            del data[place:]
        elif kind == 1:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 2:
            data[place] = chance.choice([0, 1, 0x7F, 0xFF, data[place] + 1 & 0xFF])
        elif kind == 3:
            size = chance.choice([2, 4, 8])
            value = chance.choice([0, 1, -1, 1 << 8 * size - 1, place, len(data)]) & (1 << 8 * size) - 1
            data[place : place + size] = value.to_bytes(size, "little")
        else:
            size = chance.randrange(1, 40)
            data[place : place + size] = chance.choice([bytes(size), chance.randbytes(size)])
        yield bytes(data)


# What follows runs in processes of their own.


def verdict(reader: str, path: str) -> str:
    """Return what a reader says of the file: the digest of its rows, or the error."""
    try:
        if reader == "h5py":
            with h5py.File(path, "r") as file:
                rows = file["x"][()]
        else:
            from befit import HDF5Matrix
            from befit.errors import BefitError

            with HDF5Matrix(path, "x", cache_bytes=40) as x:
                rows = x[:]
                backwards = x[np.arange(len(rows))[::-1]]
                fast = x.layout.fast
            if not fast:  # these are h5py's own rows; it returns what was in memory for a chunk of no bytes
                return "through h5py"
            if not np.array_equal(backwards[::-1], rows):
                return "wrong: rows differ from those of a slice"
    except Exception as error:  # noqa: BLE001 (this is what the test is about)
        right = (
            reader == "h5py"
            or isinstance(error, MemoryError)  # also NumPy's, of what has more bytes than there are addresses
            or "array is too big" in str(error)
            or (isinstance(error, BefitError | OSError) and len(str(error)) > 20)
        )
        return f"{'error' if right else 'wrong'}: {type(error).__name__}: {error}"
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder("="))
    return f"rows {rows.dtype} {rows.shape} {hashlib.sha256(rows.tobytes()).hexdigest()}"


def read_on(reader: str, files: list[str], pipe: int) -> None:
    """Say of one file after the other what a reader says of it; the process may end at any of them."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["BEFIT_MMAP"] = READERS[reader]
    for path in files:
        os.write(pipe, json.dumps(verdict(reader, path)).encode() + b"\n")


def verdicts(reader: str, files: list[str]) -> list[str]:
    """Return what a reader says of each file, ``crash`` and ``hang`` included."""
    found: list[str] = []
    while len(found) < len(files):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ours)
            read_on(reader, files[len(found) :], theirs)
            os._exit(0)
        os.close(theirs)
        text = b""
        while select.select([ours], [], [], HANG)[0] and (part := os.read(ours, 1 << 16)):
            text += part
            *lines, text = text.split(b"\n")
            found += [json.loads(line) for line in lines]
        ended, status = os.waitpid(child, os.WNOHANG if len(found) < len(files) else 0)
        until = time.monotonic() + 1  # it may be about to end
        while not ended and time.monotonic() < until:
            select.select([], [], [], 0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        os.close(ours)
        if len(found) < len(files):
            found.append(f"crash: {status}" if ended else "hang")
    return found


def compare(folder: Path, count: int, seed: int) -> dict:
    """Damage a file of every layout in ``count`` ways; return how many were read how, and what went wrong."""
    counts: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    for number, (name, options) in enumerate(LAYOUTS.items()):
        write(folder / "whole.h5", options)
        before = verdict("h5py", str(folder / "whole.h5"))
        files = []
        for index, data in enumerate(damages((folder / "whole.h5").read_bytes(), count, seed + number)):
            files.append(str(folder / f"{number}-{index}.h5"))
            Path(files[-1]).write_bytes(data)
        found = {reader: verdicts(reader, files) for reader in READERS}
        for path, theirs, *ours in zip(files, *found.values(), strict=True):
            for reader, said in zip(list(READERS)[1:], ours, strict=True):
                kind, other = said.split(":")[0].split(" ")[0], theirs.split(":")[0].split(" ")[0]
                right = kind in ("error", "through") or said in (theirs, before)
                if not right and kind == other == "rows" and theirs != before:
                    kind = "other"  # an index without a checksum points elsewhere: nobody can tell
                counts[kind] += 1
                # Where HDF5 itself crashes or hangs, it does in befit too, which asks it where rows are.
                if not right and kind != "other" and other not in ("crash", "hang"):
                    wrong.append(f"{name}: {path} by {reader}: {said}; h5py: {theirs}; undamaged: {before}")
            if all(line.split("; h5py")[0].find(path) < 0 for line in wrong):
                os.unlink(path)
    return {"counts": counts, "wrong": wrong}


def campaign(folder: Path, count: int, seed: int) -> dict:
    """Run ``compare`` in a process of its own."""
    command = [sys.executable, __file__, str(folder), str(count), str(seed)]
    environment = {**os.environ, "PYTHONFAULTHANDLER": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_damaged_file_is_an_error_or_read_as_h5py_reads_it(tmp_path):
    result = campaign(tmp_path, 20, 3)
    assert not result["wrong"], "\n".join(result["wrong"])
    assert result["counts"].get("other", 0) == 0
    assert min(result["counts"][kind] for kind in ("error", "rows")) > 50, result["counts"]


@pytest.mark.parametrize("offset", [(0, 0), (100, 0), (12, 9)])
def test_an_index_that_names_a_chunk_twice_or_one_outside(tmp_path, offset):
    """An index of version 1 has no checksum; h5py then reads what it finds, and so does a matrix."""
    from befit import HDF5Matrix

    write(tmp_path / "a.h5", LAYOUTS["chunked"])
    data = bytearray((tmp_path / "a.h5").read_bytes())
    chunk = np.array([12, 0, 0], "<u8").tobytes()  # row, column and byte where the fourth chunk begins
    assert data.count(chunk) == 1
    place = data.index(chunk)
    data[place : place + 16] = np.array(offset, "<u8").tobytes()
    (tmp_path / "a.h5").write_bytes(data)
    with h5py.File(tmp_path / "a.h5") as file:
        rows = file["x"][()]
    with HDF5Matrix(tmp_path / "a.h5", "x") as x:
        np.testing.assert_array_equal(x, rows)
        np.testing.assert_array_equal(x[::-1], rows[::-1])


def test_a_chunk_without_an_address(tmp_path):
    """h5py gives no offset for it, which is no whole number."""
    from befit import HDF5Matrix
    from befit.errors import DatasetError

    write(tmp_path / "a.h5", LAYOUTS["chunked"])
    with h5py.File(tmp_path / "a.h5") as file:
        address = np.array(file["x"].id.get_chunk_info(2).byte_offset, "<u8").tobytes()
    data = (tmp_path / "a.h5").read_bytes()
    assert data.count(address) == 1
    (tmp_path / "a.h5").write_bytes(data.replace(address, b"\xff" * 8))
    with pytest.raises(DatasetError, match=r"dataset 'x' in .* is damaged"):
        HDF5Matrix(tmp_path / "a.h5", "x")


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
