"""Ten thousand archives with damaged bytes: the right files or an error, and nothing anywhere else."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from befit.errors import BefitError
from befit.files import get_file

try:
    from compression import zstd
except ImportError:
    zstd = pytest.importorskip("backports.zstd")

pytestmark = pytest.mark.soak

DAMAGED = 10_000


def members(count: int, size: int) -> dict[str, bytes]:
    randbytes = random.Random(0).randbytes
    return {f"flower/{i % 3}/{i}.bin": randbytes(size // 2) + bytes(size // 2) for i in range(count)}


def tarred(content: dict[str, bytes], format: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5
            archive.addfile(info, io.BytesIO(data))
        info = tarfile.TarInfo("flower/" + "long" * 30)
        info.type, info.linkname = tarfile.SYMTYPE, "0/0.bin"
        archive.addfile(info)
    return stream.getvalue()


def zipped(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def with_checksum(content: bytes) -> bytes:
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


PACK: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda content: gzip.compress(content, 1),
    "tar.bz2": bz2.compress,
    "tar.xz": lambda content: lzma.compress(content, preset=0),
    "tar.zst": with_checksum,
}


def damage(content: bytes, chance: random.Random) -> bytes:
    """One to four bytes changed, or some taken out, put in, said twice or cut off."""
    data = bytearray(content)
    kind = chance.choice(["change"] * 5 + ["remove", "insert", "repeat", "cut"])
    at = chance.randrange(len(data))
    length = chance.choice([1, 7, 512, 1024])
    if kind == "change":
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif kind == "remove":
        del data[at : at + length]
    elif kind == "insert":
        data[at:at] = chance.randbytes(length)
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    else:
        del data[at:]
    return bytes(data)


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):  # the disk shall not fill up
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("below", [False, True], ids=["packed", "below"])
@pytest.mark.parametrize("kind", [*PACK, "zip"])
def test_damaged_archives_give_the_right_files_or_an_error(kind: str, below: bool, tmp_path: Path) -> None:
    """Never wrong data, nothing outside the folder, no other exception.

    ``below``: the tar is damaged before it is compressed, so that the right checksums of the compressed file
    cannot help; its data may then be wrong, as tar has no checksum for it. So may that of a plain tar.
    """
    content = members(5, 3_000)
    formats = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]
    plain = [zipped(content)] if kind == "zip" else [tarred(content, format) for format in formats]
    pack = PACK.get(kind, bytes)
    whole = [pack(archive) for archive in plain]
    wanted = {name.removeprefix("flower/"): data for name, data in content.items()}
    chance = random.Random(f"{kind} {below}")
    source, cache = tmp_path / "source", tmp_path / "cache"
    right = refused = 0
    for number in range(DAMAGED // (2 * (len(PACK) + 1))):
        chosen = number % len(whole)
        damaged = pack(damage(plain[chosen], chance)) if below else damage(whole[chosen], chance)
        source.write_bytes(damaged)
        try:
            folder = Path(get_file("flower", source.as_uri(), untar=True, cache_dir=cache, progress=False))
        except BefitError:
            refused += 1
        else:
            right += 1
            if kind == "zip" or (kind != "tar" and not below):
                assert set(files_in(folder).values()) <= set(wanted.values())
            root = folder.resolve().parent
            assert all(path.resolve().is_relative_to(root) for path in folder.rglob("*"))
        assert {path.name for path in tmp_path.iterdir()} <= {"source", "cache"}
        clear(cache)
    print(f"\n{kind}: {refused} refused, {right} extracted")
    assert refused > right or below or kind == "tar"
    assert refused
