"""What the benchmarks of `get_file` work on: generated, and in memory where there is a folder for that."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

SCALE = 1.0  # of all sizes; 0.05 for a quick look

_RAM = Path("/dev/shm")
_SMALL_FILES = 20_000
_FOLDERS = 400
_LARGE_FILES = 6
_LARGE_BYTES = 25_000_000


class Data(NamedTuple):
    """A file that is served."""

    path: Path
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def ram_backed() -> bool:
    """Whether files are written to memory; else they go to the folder for temporary files."""
    return os.access(_RAM, os.W_OK)


def where() -> str:
    """The folder that is written to, for a note below a table."""
    return f"Files are written to {_RAM}, in memory." if ram_backed() else "Files are written to a disk."


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="befit-bench-", dir=_RAM if ram_backed() else None) as folder:
        yield Path(folder)


class Workplace:
    """A folder with what is served and, beside it, a fresh folder for each run."""

    def __init__(self, folder: Path) -> None:
        self.served = folder / "served"
        self.served.mkdir()
        self._runs = folder / "run"

    def fresh(self) -> Path:
        """Return an empty folder; the one before is removed."""
        if self._runs.exists():
            shutil.rmtree(self._runs)
        self._runs.mkdir()
        return self._runs

    def random_file(self, mebibytes: int) -> Data:
        """A file of bytes that cannot be compressed."""
        path = self.served / f"random-{mebibytes}.bin"
        block = random.Random(0).randbytes(1 << 20)
        hasher = hashlib.sha256()
        with path.open("wb") as file:
            for number in range(max(1, round(mebibytes * SCALE))):
                part = number.to_bytes(8) + block[8:]
                file.write(part)
                hasher.update(part)
        return Data(path, path.stat().st_size, hasher.hexdigest())

    def many_files(self) -> Data:
        """A tar.gz of 20,000 files in 400 folders, like a set of small images with annotations."""
        return self._archive("many.tar.gz", _small_files)

    def few_files(self) -> Data:
        """A tar.gz of 6 large files."""
        return self._archive("few.tar.gz", _large_files)

    def _archive(self, name: str, members: Callable[[], Iterator[tuple[str, bytes]]]) -> Data:
        path = self.served / name
        root = path.name.partition(".")[0]
        with tarfile.open(path, "w:gz", compresslevel=6) as archive:
            for member, content in members():
                info = tarfile.TarInfo(f"{root}/{member}")
                info.size = len(content)
                info.mtime = 1_700_000_000
                archive.addfile(info, io.BytesIO(content))
        content = path.read_bytes()
        return Data(path, len(content), hashlib.sha256(content).hexdigest())


def _small_files() -> Iterator[tuple[str, bytes]]:
    """Sizes of images made small: most are about 2 kB, a few 50 kB; every second file is text."""
    chance = random.Random(1)
    count = max(_FOLDERS, round(_SMALL_FILES * SCALE))
    for number in range(count):
        size = min(50_000, int(chance.lognormvariate(7.5, 0.8)))
        compressible = number % 2
        content = _text(chance, size * 2) if compressible else chance.randbytes(size)
        folder = number * _FOLDERS // count
        yield f"class{folder:03}/{number:06}.{'json' if compressible else 'jpg'}", content


def _large_files() -> Iterator[tuple[str, bytes]]:
    chance = random.Random(2)
    for number in range(_LARGE_FILES):
        size = round(_LARGE_BYTES * SCALE)
        yield f"shard-{number}.bin", chance.randbytes(size // 4) + _text(chance, size - size // 4)


def _text(chance: random.Random, size: int) -> bytes:
    """Numbers as text, which shrink to about two fifths."""
    numbers = _numbers()
    start = chance.randrange(len(numbers))
    return (numbers[start:] + numbers * (size // len(numbers) + 1))[:size]


@cache
def _numbers() -> bytes:
    """More than gzip looks back over, so that a repetition is none to it."""
    chance = random.Random(3)
    return b" ".join(f"{chance.gauss(0, 1):.4f}".encode() for _ in range(20_000))
