"""Hostile and broken tar archives: nothing leaves the folder, nothing half-done stays, each is refused.

The numbers are those of the list of attacks that archives are known for; zip has a file of its own.
"""

import contextlib
import gzip
import io
import os
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit.errors import ArchiveError, BefitError, UnsafeArchiveError
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


def zeros(count):
    """A tar.gz of ``count`` empty files: a kilobyte a thousand."""
    block = header("a", tarfile.REGTYPE)
    return gzip.compress(block * count + bytes(1024), 1)


HOSTILE = {
    "01 dot-dot name": lambda make: make.tar(("../victim", b"evil")),
    "01 dot-dot inside": lambda make: make.tar(("a/../../victim", b"evil")),
    "02 absolute name": lambda make: make.tar(("/victim", b"evil")),
    "03 absolute symlink, write through": lambda make: make.tar(
        link(SYM, "l", "{outside}"), ("l/victim", b"evil")
    ),
    "04 relative symlink, write through": lambda make: make.tar(link(SYM, "l", ".."), ("l/victim", b"evil")),
    "04 inner symlink, write through": lambda make: make.tar(
        ("d", DIR), link(SYM, "l", "d"), ("l/x", b"evil")
    ),
    "05 hard link out, overwrite": lambda make: make.tar(link(HARD, "l", "{outside}/victim"), ("l", b"evil")),
    "05 hard link to outside": lambda make: make.tar(link(HARD, "l", "../../victim")),
    "06 hard link named outside": lambda make: make.tar(("a", b"evil"), link(HARD, "../victim", "a")),
    "07 real path longer than PATH_MAX": long_realpath,
    "08 dot-dot behind a link": lambda make: make.tar(
        ("a/b", DIR), link(SYM, "a/l", "b"), link(SYM, "m", "a/l/../../../victim")
    ),
    "08 symlink through a link": lambda make: make.tar(
        ("a/b", DIR), ("a/x", b"no"), link(SYM, "l", "a/b"), link(SYM, "m", "l/../x")
    ),
    "09 symlink without a name": lambda make: make.tar(link(SYM, "", "..")),
    "09 symlink called dot": lambda make: make.tar(link(SYM, "./", "..")),
    "11 hard link to a symlink": lambda make: make.tar(
        ("f", b"xx"), link(SYM, "l", "f"), link(HARD, "h", "l")
    ),
    "10 hard link to nothing": lambda make: make.tar(link(HARD, "h", "missing")),
    "10 hard link to a folder": lambda make: make.tar(("d", DIR), link(HARD, "h", "d")),
    "10 hard link to itself": lambda make: make.tar(link(HARD, "h", "h")),
    "absolute symlink": lambda make: make.tar(link(SYM, "l", "/etc/passwd")),
    "symlink to outside": lambda make: make.tar(link(SYM, "a/l", "../../victim")),
    "symlink to the top": lambda make: make.tar(("f", b"xx"), link(SYM, "a/l", "..")),
    "symlink to nothing": lambda make: make.tar(link(SYM, "l", "missing")),
    "symlink to itself": lambda make: make.tar(link(SYM, "l", "l")),
    "symlinks in a circle": lambda make: make.tar(link(SYM, "a", "b"), link(SYM, "b", "a")),
    "symlink below a file": lambda make: make.tar(("f", b"xx"), link(SYM, "l", "f/x")),
    "symlink with a backslash": lambda make: make.tar(link(SYM, "l", "..\\victim")),
    "12 character device": lambda make: make.tar(("null", CHR)),
    "12 block device": lambda make: make.tar(("disk", BLK)),
    "13 named pipe": lambda make: make.tar(("pipe", FIFO)),
    "unknown type": lambda make: make.tar(("volume", b"V")),
    "17 file, symlink, file": lambda make: make.tar(
        ("a", b"one"), link(SYM, "a", "{outside}/victim"), ("a", b"two")
    ),
    "17 one name twice": lambda make: make.tar(("a", b"one"), ("./a", b"two")),
    "21 file as folder": lambda make: make.tar(("a", b"one"), ("a/b", b"two")),
    "21 folder as file": lambda make: make.tar(("a/b", b"two"), ("a", b"one")),
    "18 drive letter": lambda make: make.tar(("C:\\victim", b"evil")),
    "18 drive without a backslash": lambda make: make.tar(("C:victim", b"evil")),
    "18 backslashes": lambda make: make.tar(("..\\victim", b"evil")),
    "18 right-to-left override": lambda make: make.tar(("photo\u202egpj.exe", b"evil")),
    "18 newline": lambda make: make.tar(("a\nb", b"evil")),
    "18 two cases of one name": lambda make: make.tar(("Readme", b"one"), ("README", b"two")),
    "18 two Unicode forms": lambda make: make.tar(("caf\u00e9", b"one"), ("cafe\u0301", b"two")),
    "19 name of 256 bytes": lambda make: make.tar(("x" * 256, b"evil")),
    "20 path longer than PATH_MAX": lambda make: make.tar(("/".join([LONG] * 20), b"evil")),
    "very deep": lambda make: make.tar(("/".join("d" * 100), b"evil")),
    "16 sparse terabyte": lambda make: (
        header("huge", tarfile.GNUTYPE_SPARSE, patch={483: b"\x80" + (2 << 40).to_bytes(11, "big")})
        + bytes(1024)
    ),
    "22 name of 3 GiB": lambda make: (
        header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 3 << 30) + bytes(10_240)
    ),
    "49 marker of another archive": lambda make: make.tar((".mnist.npz.extracted.json", b"{}"), ("out", DIR)),
    "48 many empty files in few bytes": lambda make: zeros(300_000),
}

BROKEN = {
    "23 negative size": lambda make: header("a", tarfile.REGTYPE, patch={124: b"\xff" * 12}) + bytes(1024),
    "headers within headers": lambda make: (
        (header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 4) + b"abc\0" + bytes(508)) * 3000
    ),
    "25 two sizes of one member": lambda make: make.tar(
        ("a", b"x" * 512, {"pax_headers": {"size": "99999"}}), ("b", b"y" * 512), mode="w"
    ),
    "cut in the data": lambda make: make.tar(("a", NOISE), mode="w")[:5000],
    "cut between members": lambda make: make.tar(("a", b"x" * 512), ("b", b"xx"), mode="w")[:1024],
    "cut in the end mark": lambda make: make.tar(("a", b"x" * 512), mode="w")[:1100],
    "damaged header": lambda make: (
        make.tar(("a", b"x" * 512), ("b", b"xx"), mode="w")[:1024] + b"garb" * 1000
    ),
    "26 second archive behind the end": lambda make: (
        make.tar(("a", b"xx"), mode="w") + make.tar(("b", b"xx"), mode="w")
    ),
    "26 second archive, compressed": lambda make: make.tar(("a", b"xx")) + make.tar(("b", b"xx")),
    "26 text behind the end": lambda make: make.tar(("a", b"xx"), mode="w") + b"and more",
    "27 gzip cut in the data": lambda make: make.tar(("a", NOISE))[:50_000],
    "27 gzip cut in its trailer": lambda make: make.tar(("a", b"xx"))[:-3],
    "garbage behind the gzip": lambda make: make.tar(("a", b"xx")) + b"garbage",
    "27 xz cut in its trailer": lambda make: make.tar(("a", b"xx"), mode="w:xz")[:-3],
    "27 bzip2 cut in the data": lambda make: make.tar(("a", NOISE), mode="w:bz2")[:50_000],
    "24 one flipped bit": stored_gzip_with_a_flipped_bit,
    "53 empty file": lambda make: b"",
    "table": lambda make: b"a,b\n1,2\n",
    "one compressed table": lambda make: gzip.compress(b"a,b\n1,2\n"),
    "43 zip behind a tar": lambda make: make.tar(("a", b"xx"), mode="w") + make.zip(("b", b"xx")),
    "54 7z": lambda make: b"7z\xbc\xaf\x27\x1c" + b"..\\victim".ljust(600),
}


@pytest.mark.parametrize("untar", [True, False], ids=["untar", "extract"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(archives, refuse, name, untar):
    refuse(HOSTILE[name](archives), UnsafeArchiveError, untar)


@pytest.mark.parametrize("untar", [True, False], ids=["untar", "extract"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives(archives, refuse, name, untar):
    refuse(BROKEN[name](archives), ArchiveError, untar)


def test_a_web_page_is_called_one(refuse):
    """Case 52."""
    refuse(b"<!DOCTYPE html><title>Log in</title>", BefitError, True)


def test_these_tests_would_see_an_escape(archives, outside):
    """The oracle itself: an extraction without checks does harm the victim."""
    content = HOSTILE["01 dot-dot name"](archives)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            (outside / "cache" / member.name).write_bytes(archive.extractfile(member).read())
    assert (outside / "victim").read_text() == "evil"


def test_a_link_that_stands_where_the_folder_belongs_is_not_followed(archives, outside, source):
    """Case 50."""
    (outside / "elsewhere").mkdir()
    (outside / "cache" / "datasets" / "out").symlink_to(outside / "elsewhere")
    url = source(archives.tar(("out/victim", b"evil")), "archive")
    with pytest.raises(ArchiveError, match="nothing was replaced"):
        get_file("out", url, untar=True, cache_dir=outside / "cache", progress=False)
    assert os.listdir(outside / "elsewhere") == []


def test_a_tar_with_a_zip_in_its_last_member_is_a_tar(archives, outside, source):
    """Case 43: a file that is both is what its start says."""
    inner = archives.zip(("evil", b"xx"))
    url = source(archives.tar(("a.zip", inner), mode="w"), "archive.zip")
    folder = get_file("out", url, untar=True, cache_dir=outside / "cache", progress=False)
    assert os.listdir(folder) == ["a.zip"]


def test_a_wrong_name_does_not_matter(archives, outside, source):
    """Case 51."""
    url = source(archives.zip(("a", b"xx")), "archive.tar.gz")
    folder = get_file("out.tar.gz", url, untar=True, cache_dir=outside / "cache", progress=False)
    assert os.listdir(folder) == ["a"]


class Endless(io.RawIOBase):
    """A tar archive of empty files that never ends; it is made while it is read."""

    def __init__(self):
        self.made = 0
        self.left = b""

    def seek(self, offset, whence=0):
        assert (offset, whence) == (0, 0)
        self.made, self.left = 0, b""
        return 0

    def read(self, size=-1):
        while len(self.left) < size:
            self.left += header(f"{self.made}", tarfile.REGTYPE)
            self.made += 1
        data, self.left = self.left[:size], self.left[size:]
        return data


def test_ten_million_members_are_not_waited_for(tmp_path):
    """Case 48: only as much is read as the limit allows, and a buffer more."""
    archive = Endless()
    with pytest.raises(UnsafeArchiveError, match="more than 500 members"):
        unpack(archive, tmp_path, limits=Limits(members=500), size=10_000_000 * 512)
    assert archive.made < 2000


def test_folders_that_are_only_implied_count_as_members(archives, tmp_path):
    content = archives.tar(("/".join("abcdefgh") + "/x", b"xx"))
    with pytest.raises(UnsafeArchiveError, match="more than 8 members"):
        unpack(io.BytesIO(content), tmp_path, limits=Limits(members=8), size=len(content))


def unpack(file, staging, *, limits, size):
    return extract(
        file,
        lambda _: size,
        staging,
        name="archive",
        formats=("tar", "zip"),
        limits=limits,
        wanted=None,
        label="x",
    )


@pytest.fixture(scope="module")
def seeds(archives):
    return [
        archives.tar(
            ("d", DIR), ("d/f", b"content" * 50), link(SYM, "l", "d/f"), link(HARD, "h", "d/f"), mode="w"
        ),
        archives.tar(("n" * 120, b"xx"), ("é", b"yy"), mode="w", format=tarfile.GNU_FORMAT),
        archives.tar(("n" * 120, b"xx"), ("é", b"yy", {"pax_headers": {"mtime": "1.5"}}), mode="w"),
    ]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_archives_are_refused_or_stay_inside(tmp_path_factory, seeds, data):
    """Whatever bytes are changed: an ArchiveError, or members inside the folder."""
    folder = tmp_path_factory.mktemp("fuzz")
    content = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    packed = data.draw(st.sampled_from([bytes, gzip.compress]))(bytes(content))
    (folder / "staging").mkdir()
    with contextlib.suppress(ArchiveError):
        unpack(io.BytesIO(packed), folder / "staging", limits=Limits(), size=len(packed))
    assert set(os.listdir(folder)) == {"staging"}
    assert set(os.listdir(folder / "staging")) == {"members"}
    root = (folder / "staging" / "members").resolve()
    assert all(path.resolve().is_relative_to(root) for path in (folder / "staging").rglob("*/*"))
