"""Hostile and broken archives: nothing leaves the folder, nothing half-done stays, each is refused."""

import contextlib
import gzip
import io
import os
import random
import stat
import struct
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files import get_file
from befit.files.extract import extract
from befit.files.limits import Limits

LONG = "d" * 247
HARD, SYM, CHR, BLK, DIR, FIFO = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
)
NOISE = random.Random(0).randbytes(100_000)


def link(kind, name, target):
    return (name, kind, {"linkname": target})


def header(name, kind, size=0, patch=None):
    """A header as GNU tar writes it, with bytes changed before its checksum is made."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for offset, data in (patch or {}).items():
        block[offset : offset + len(data)] = data
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    return bytes(block)


def long_realpath(make):
    """CVE-2025-4517: a chain of links whose real path is longer than PATH_MAX."""
    members, steps = [], "abcdefghijklmnop"
    for depth, step in enumerate(steps):
        at = "/".join([LONG] * depth)
        members += [(f"{at}/{LONG}".lstrip("/"), DIR), link(SYM, f"{at}/{step}".lstrip("/"), LONG)]
    path = "/".join(steps)
    return make.tar(*members, link(SYM, f"{path}/{'l' * 254}", "../" * len(steps)), ("x/victim", b"evil"))


def flipped(content, offset):
    return content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]


def stored_gzip_with_a_flipped_bit(make):
    """Only the checksum in the gzip trailer sees it: the data is stored, not compressed."""
    packed = gzip.compress(make.tar(("a", b"precious data" * 100), mode="w"), compresslevel=0)
    return flipped(packed, packed.index(b"precious") + 3)


def patched_zip(content, **values):
    """Change fields of the first entry of the central directory and of its local header."""
    fields = {"flags": (8, 6, "<H"), "method": (10, 8, "<H"), "crc": (16, 14, "<I"), "size": (24, 22, "<I")}
    data = bytearray(content)
    central = data.index(b"PK\x01\x02")
    for name, value in values.items():
        in_central, in_local, form = fields[name]
        struct.pack_into(form, data, central + in_central, value)
        struct.pack_into(form, data, in_local, value)
    return bytes(data)


def zip_that_begins_before_its_file(content):
    """The place of the table is given 100 bytes too far, so the first member seems to lie at -100."""
    end = bytearray(content[-22:])
    end[16:20] = (int.from_bytes(end[16:20], "little") + 100).to_bytes(4, "little")
    return content[:-22] + bytes(end)


def overlapping_zip(make):
    """The bytes of one member, listed as 64."""
    content = make.zip(("a", bytes(1 << 20)))
    at, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[at:end]
    entries = b"".join(entry[:46] + bytes([48 + index]) + entry[47:] for index in range(64))
    return content[:at] + entries + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 64, 64, len(entries), at, 0)


HOSTILE = {
    "dot-dot name": lambda make: make.tar(("../victim", b"evil")),
    "dot-dot inside": lambda make: make.tar(("a/../../victim", b"evil")),
    "absolute name": lambda make: make.tar(("/victim", b"evil")),
    "absolute symlink, write through": lambda make: make.tar(
        link(SYM, "l", "{outside}"), ("l/victim", b"evil")
    ),
    "relative symlink, write through": lambda make: make.tar(link(SYM, "l", ".."), ("l/victim", b"evil")),
    "inner symlink, write through": lambda make: make.tar(("d", DIR), link(SYM, "l", "d"), ("l/x", b"evil")),
    "hard link out, overwrite": lambda make: make.tar(link(HARD, "l", "{outside}/victim"), ("l", b"evil")),
    "hard link to outside": lambda make: make.tar(link(HARD, "l", "../../victim")),
    "hard link named outside": lambda make: make.tar(("a", b"evil"), link(HARD, "../victim", "a")),
    "real path longer than PATH_MAX": long_realpath,
    "dot-dot behind a link": lambda make: make.tar(
        ("a/b", DIR), link(SYM, "a/l", "b"), link(SYM, "m", "a/l/../../../victim")
    ),
    "symlink through a link": lambda make: make.tar(
        ("a/b", DIR), ("a/x", b"no"), link(SYM, "l", "a/b"), link(SYM, "m", "l/../x")
    ),
    "symlink without a name": lambda make: make.tar(link(SYM, "", "..")),
    "symlink called dot": lambda make: make.tar(link(SYM, "./", "..")),
    "hard link to a symlink": lambda make: make.tar(("f", b"xx"), link(SYM, "l", "f"), link(HARD, "h", "l")),
    "hard link to nothing": lambda make: make.tar(link(HARD, "h", "missing")),
    "hard link to a folder": lambda make: make.tar(("d", DIR), link(HARD, "h", "d")),
    "hard link to itself": lambda make: make.tar(link(HARD, "h", "h")),
    "absolute symlink": lambda make: make.tar(link(SYM, "l", "/etc/passwd")),
    "symlink to outside": lambda make: make.tar(link(SYM, "a/l", "../../victim")),
    "symlink to the top": lambda make: make.tar(("f", b"xx"), link(SYM, "a/l", "..")),
    "symlink to nothing": lambda make: make.tar(link(SYM, "l", "missing")),
    "symlink to itself": lambda make: make.tar(link(SYM, "l", "l")),
    "symlinks in a circle": lambda make: make.tar(link(SYM, "a", "b"), link(SYM, "b", "a")),
    "symlink below a file": lambda make: make.tar(("f", b"xx"), link(SYM, "l", "f/x")),
    "symlink with a backslash": lambda make: make.tar(link(SYM, "l", "..\\victim")),
    "character device": lambda make: make.tar(("null", CHR)),
    "block device": lambda make: make.tar(("disk", BLK)),
    "named pipe": lambda make: make.tar(("pipe", FIFO)),
    "unknown type": lambda make: make.tar(("volume", b"V")),
    "file, symlink, file": lambda make: make.tar(
        ("a", b"one"), link(SYM, "a", "{outside}/victim"), ("a", b"two")
    ),
    "one name twice": lambda make: make.tar(("a", b"one"), ("./a", b"two")),
    "file as folder": lambda make: make.tar(("a", b"one"), ("a/b", b"two")),
    "folder as file": lambda make: make.tar(("a/b", b"two"), ("a", b"one")),
    "drive letter": lambda make: make.tar(("C:\\victim", b"evil")),
    "drive without a backslash": lambda make: make.tar(("C:victim", b"evil")),
    "backslashes": lambda make: make.tar(("..\\victim", b"evil")),
    "right-to-left override": lambda make: make.tar(("photo\u202egpj.exe", b"evil")),
    "newline": lambda make: make.tar(("a\nb", b"evil")),
    "two cases of one name": lambda make: make.tar(("Readme", b"one"), ("README", b"two")),
    "two Unicode forms": lambda make: make.tar(("caf\u00e9", b"one"), ("cafe\u0301", b"two")),
    "name of 256 bytes": lambda make: make.tar(("x" * 256, b"evil")),
    "path longer than PATH_MAX": lambda make: make.tar(("/".join([LONG] * 20), b"evil")),
    "very deep": lambda make: make.tar(("/".join("d" * 100), b"evil")),
    "sparse terabyte": lambda make: (
        header("huge", tarfile.GNUTYPE_SPARSE, patch={483: b"\x80" + (2 << 40).to_bytes(11, "big")})
        + bytes(1024)
    ),
    "name of 3 GiB": lambda make: header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 3 << 30) + bytes(10_240),
    "marker of another archive": lambda make: make.tar((".mnist.npz.extracted.json", b"{}"), ("out", DIR)),
    "zip: dot-dot": lambda make: make.zip(("../victim", b"evil")),
    "zip: absolute": lambda make: make.zip(("/victim", b"evil")),
    "zip: backslash": lambda make: make.zip(("..\\victim", b"evil")),
    "zip: NUL in the name": lambda make: make.zip(("a\0/../victim", b"evil")),
    "zip: symlink to outside": lambda make: make.zip(("l", b"../../victim", stat.S_IFLNK | 0o777)),
    "zip: symlink, write through": lambda make: make.zip(
        ("l", b"..", stat.S_IFLNK | 0o777), ("l/victim", b"evil")
    ),
    "zip: symlink of megabytes": lambda make: make.zip(("l", bytes(1 << 20), stat.S_IFLNK | 0o777)),
    "zip: device": lambda make: make.zip(("null", b"", stat.S_IFCHR | 0o666)),
    "zip: named pipe": lambda make: make.zip(("pipe", b"", stat.S_IFIFO | 0o666)),
    "zip: folder with content": lambda make: make.zip(("d/", b"evil")),
    "zip: overlapping members": overlapping_zip,
    "zip: one name twice": lambda make: make.zip(("a", b"one"), ("a", b"two")),
    "zip: two cases of one name": lambda make: make.zip(("a", b"one"), ("A", b"two")),
    "zip: bomb": lambda make: make.zip(("zeros", bytes(80 << 20))),
}

BROKEN = {
    "negative size": lambda make: header("a", tarfile.REGTYPE, patch={124: b"\xff" * 12}) + bytes(1024),
    "headers within headers": lambda make: (
        (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 4) + b"abc\0" + bytes(508)) * 3000
    ),
    "two sizes of one member": lambda make: make.tar(
        ("a", b"x" * 512, {"pax_headers": {"size": "99999"}}), ("b", b"y" * 512), mode="w"
    ),
    "cut in the data": lambda make: make.tar(("a", NOISE), mode="w")[:5000],
    "cut between members": lambda make: make.tar(("a", b"x" * 512), ("b", b"xx"), mode="w")[:1024],
    "cut in the end mark": lambda make: make.tar(("a", b"x" * 512), mode="w")[:1100],
    "damaged header": lambda make: (
        make.tar(("a", b"x" * 512), ("b", b"xx"), mode="w")[:1024] + b"garb" * 1000
    ),
    "second archive behind the end": lambda make: (
        make.tar(("a", b"xx"), mode="w") + make.tar(("b", b"xx"), mode="w")
    ),
    "second archive, compressed": lambda make: make.tar(("a", b"xx")) + make.tar(("b", b"xx")),
    "text behind the end": lambda make: make.tar(("a", b"xx"), mode="w") + b"and more",
    "gzip cut in the data": lambda make: make.tar(("a", NOISE))[:50_000],
    "gzip cut in its trailer": lambda make: make.tar(("a", b"xx"))[:-3],
    "garbage behind the gzip": lambda make: make.tar(("a", b"xx")) + b"garbage",
    "xz cut in its trailer": lambda make: make.tar(("a", b"xx"), mode="w:xz")[:-3],
    "bzip2 cut in the data": lambda make: make.tar(("a", NOISE), mode="w:bz2")[:50_000],
    "one flipped bit": stored_gzip_with_a_flipped_bit,
    "empty file": lambda make: b"",
    "web page": lambda make: b"<!DOCTYPE html><title>Log in</title>",
    "table": lambda make: b"a,b\n1,2\n",
    "one compressed table": lambda make: gzip.compress(b"a,b\n1,2\n"),
    "zip: begins before its file": lambda make: zip_that_begins_before_its_file(make.zip(("a", b"x" * 1000))),
    "zip: size that lies low": lambda make: patched_zip(make.zip(("a", b"x" * 1000)), size=10),
    "zip: size that lies high": lambda make: patched_zip(make.zip(("a", b"x" * 1000)), size=5000),
    "zip: wrong checksum": lambda make: patched_zip(make.zip(("a", b"x" * 1000)), crc=1),
    "zip: encrypted": lambda make: patched_zip(make.zip(("a", b"x" * 1000)), flags=1),
    "zip: cut": lambda make: make.zip(("a", b"x" * 1000))[:-30],
    "zip: cut in the data": lambda make: make.zip(("a", NOISE))[:500],
    "zip: damaged stored data": lambda make: flipped(make.zip(("a", NOISE), method=zipfile.ZIP_STORED), 100),
    "zip: damaged deflated data": lambda make: flipped(make.zip(("a", bytes(range(256)) * 50)), 60),
    "zip: two names for one member": lambda make: make.zip(("good", b"xx")).replace(b"good", b"evil", 1),
}


@pytest.fixture
def outside(tmp_path):
    """A folder around the cache, with a victim at every height that ``..`` could reach."""
    for folder in (tmp_path, tmp_path / "cache", tmp_path / "cache" / "datasets"):
        folder.mkdir(exist_ok=True)
        (folder / "victim").write_text("unharmed")
    return tmp_path


def refuse(content, error, outside, source, files_in, untar):
    url = source(content.replace(b"{outside}", str(outside).encode()), "archive")
    before = files_in(outside)
    with pytest.raises(error, match="from file://") as caught:
        get_file("out", url, untar=untar, extract=not untar, cache_dir=outside / "cache")
    assert type(caught.value) is error
    assert files_in(outside) == before, "neither members nor the archive nor a staging folder"
    assert all(path.read_text() == "unharmed" for path in outside.rglob("victim"))


@pytest.mark.parametrize("untar", [True, False], ids=["untar", "extract"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(archives, outside, source, files_in, name, untar):
    refuse(HOSTILE[name](archives), UnsafeArchiveError, outside, source, files_in, untar)


@pytest.mark.parametrize("untar", [True, False], ids=["untar", "extract"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives(archives, outside, source, files_in, name, untar):
    refuse(BROKEN[name](archives), ArchiveError, outside, source, files_in, untar)


def test_these_tests_would_see_an_escape(archives, outside):
    """The oracle itself: an extraction without checks does harm the victim."""
    content = HOSTILE["dot-dot name"](archives)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            (outside / "cache" / member.name).write_bytes(archive.extractfile(member).read())
    assert (outside / "victim").read_text() == "evil"


@pytest.mark.parametrize("method", [93, 20, 99], ids=["Zstandard", "its old number", "AES"])
def test_a_zip_means_the_same_on_every_python(archives, tmp_path, method):
    """zipfile of Python 3.14 reads Zstandard, with errors of its own; that of 3.13 does not."""
    for content in (b"x" * 1000, b""):
        archive, staging = tmp_path / "archive", tmp_path / f"staging{len(content)}"
        archive.write_bytes(patched_zip(archives.zip(("a", content)), method=method))
        staging.mkdir()
        with pytest.raises(ArchiveError, match=f"'a' .* befit does not read: method {method}"):
            extract(
                archive, staging, name="archive", formats=("zip",), limits=Limits(), wanted=None, label="x"
            )


@pytest.fixture(scope="module")
def seeds(archives):
    return [
        archives.tar(
            ("d", DIR), ("d/f", b"content" * 50), link(SYM, "l", "d/f"), link(HARD, "h", "d/f"), mode="w"
        ),
        archives.tar(("n" * 120, b"xx"), ("é", b"yy"), mode="w", format=tarfile.GNU_FORMAT),
        archives.tar(("n" * 120, b"xx"), ("é", b"yy", {"pax_headers": {"mtime": "1.5"}}), mode="w"),
        archives.zip(("d/f", b"content" * 50), ("l", b"d/f", stat.S_IFLNK | 0o777), ("e/", b"")),
    ]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_archives_are_refused_or_stay_inside(tmp_path_factory, seeds, data):
    """Whatever bytes are changed: an ArchiveError, or members inside the folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "archive").write_bytes(data.draw(st.sampled_from([bytes, gzip.compress]))(bytes(content)))
    (folder / "staging").mkdir()
    with contextlib.suppress(ArchiveError):
        extract(
            folder / "archive",
            folder / "staging",
            name="archive",
            formats=("tar", "zip"),
            limits=Limits(),
            wanted=None,
            label="archive",
        )
    assert set(os.listdir(folder)) == {"archive", "staging"}
    assert set(os.listdir(folder / "staging")) == {"members"}
    root = (folder / "staging" / "members").resolve()
    assert all(path.resolve().is_relative_to(root) for path in (folder / "staging").rglob("*/*"))
