"""Hostile and broken zip archives: each is refused, nothing leaves the folder, nothing half-done stays.

The numbers are those of the list of attacks that archives are known for.
"""

import random
import stat
import struct
import time
import zipfile

import pytest

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.limits import Limits

NOISE = random.Random(0).randbytes(100_000)
END = struct.Struct("<4s4H2LH")


def flipped(content, offset):
    return content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :]


def patched_zip(content, *, only=None, **values):
    """Change fields of the first entry of the table and of the header before its data, or of one of them."""
    fields = {
        "flags": (8, 6, "<H"),
        "method": (10, 8, "<H"),
        "crc": (16, 14, "<I"),
        "compressed": (20, 18, "<I"),
        "size": (24, 22, "<I"),
    }
    data = bytearray(content)
    central = data.index(b"PK\x01\x02")
    for name, value in values.items():
        in_central, in_local, form = fields[name]
        if only != "local":
            struct.pack_into(form, data, central + in_central, value)
        if only != "table":
            struct.pack_into(form, data, in_local, value)
    return bytes(data)


def patched_end(content, **values):
    """Change fields of the end record: ``count``, ``size`` and ``offset`` of the table."""
    magic, disk, first, here, count, size, offset, comment = END.unpack(content[-END.size :])
    fields = {"here": here, "count": count, "size": size, "offset": offset, **values}
    return content[: -END.size] + END.pack(magic, disk, first, *fields.values(), comment)


def overlapping_zip(make):
    """The bytes of one member, listed as 64."""
    content = make.zip(("a", bytes(1 << 20)))
    at, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[at:end]
    entries = b"".join(entry[:46] + bytes([48 + index]) + entry[47:] for index in range(64))
    return content[:at] + entries + END.pack(b"PK\x05\x06", 0, 0, 64, 64, len(entries), at, 0)


def with_zip64_end(content, **values):
    """The end record of ``content`` in both forms; ``values`` change the long one."""
    *_, here, count, size, offset, _ = END.unpack(content[-END.size :])
    fields = {
        "here": here,
        "count": count,
        "size": size,
        "offset": offset,
        "locator": len(content) - END.size,
    }
    fields |= values
    locator = fields.pop("locator")
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *fields.values())
    return (
        content[: -END.size]
        + wide
        + struct.pack("<4sLQL", b"PK\x06\x07", 0, locator, 1)
        + content[-END.size :]
    )


def ten_million(make):
    """Case 48: an end record that says so, and no table behind it."""
    return with_zip64_end(make.zip(("a", b"x")), here=10_000_000, count=10_000_000)


X = b"x" * 1000
HOSTILE = {
    "32 zip: dot-dot": lambda make: make.zip(("../victim", b"evil")),
    "33 zip: absolute": lambda make: make.zip(("/victim", b"evil")),
    "34 zip: backslash": lambda make: make.zip(("..\\victim", b"evil")),
    "zip: NUL in the name": lambda make: make.zip(("a\0/../victim", b"evil")),
    "35 zip: symlink to outside": lambda make: make.zip(("l", b"../../victim", stat.S_IFLNK | 0o777)),
    "35 zip: symlink, write through": lambda make: make.zip(
        ("l", b"..", stat.S_IFLNK | 0o777), ("l/victim", b"evil")
    ),
    "35 zip: symlink of megabytes": lambda make: make.zip(("l", bytes(1 << 20), stat.S_IFLNK | 0o777)),
    "zip: device": lambda make: make.zip(("null", b"", stat.S_IFCHR | 0o666)),
    "zip: named pipe": lambda make: make.zip(("pipe", b"", stat.S_IFIFO | 0o666)),
    "zip: folder with content": lambda make: make.zip(("d/", b"evil")),
    "37 zip: overlapping members": overlapping_zip,
    "40 zip: one name twice": lambda make: make.zip(("a", b"one"), ("a", b"two")),
    "zip: two cases of one name": lambda make: make.zip(("a", b"one"), ("A", b"two")),
    "36 zip: bomb": lambda make: make.zip(("zeros", bytes(80 << 20))),
    "18 zip: direction of text": lambda make: make.zip(("photo\u202egpj.exe", b"evil")),
    "49 zip: record of befit": lambda make: make.zip((".Mnist.EXTRACTED.json", b"{}"), ("out/a", b"x")),
}

BROKEN = {
    "zip: begins before its file": lambda make: patched_end(make.zip(("a", X)), offset=1200),
    "38 zip: size that lies low": lambda make: patched_zip(make.zip(("a", X)), size=10),
    "38 zip: size that lies high": lambda make: patched_zip(make.zip(("a", X)), size=5000),
    "39 zip: wrong checksum": lambda make: patched_zip(make.zip(("a", X)), crc=1),
    "41 zip: encrypted": lambda make: patched_zip(make.zip(("a", X)), flags=1),
    "zip: cut": lambda make: make.zip(("a", X))[:-30],
    "zip: cut in the data": lambda make: make.zip(("a", NOISE))[:500],
    "zip: damaged stored data": lambda make: flipped(make.zip(("a", NOISE), method=zipfile.ZIP_STORED), 100),
    "zip: damaged deflated data": lambda make: flipped(make.zip(("a", bytes(range(256)) * 50)), 60),
    "41 zip: encrypted table": lambda make: patched_zip(make.zip(("a", X)), flags=0x2041),
    "44 zip: two names for one member": lambda make: make.zip(("good", b"xx")).replace(b"good", b"evil", 1),
    "44 zip: two methods": lambda make: patched_zip(make.zip(("a", X)), only="local", method=0),
    "44 zip: two sizes": lambda make: patched_zip(make.zip(("a", X)), only="local", size=999),
    "44 zip: two lengths of the data": lambda make: patched_zip(
        make.zip(("a", X)), only="local", compressed=1
    ),
    "44 zip: two checksums": lambda make: patched_zip(make.zip(("a", X)), only="local", crc=1),
    "44 zip: encrypted in one place": lambda make: patched_zip(make.zip(("a", X)), only="local", flags=1),
    "45 zip64: other number of members": lambda make: with_zip64_end(make.zip(("a", X)), count=2, here=2),
    "45 zip64: other table": lambda make: with_zip64_end(make.zip(("a", X)), offset=3),
    "45 zip64: other size of the table": lambda make: with_zip64_end(make.zip(("a", X)), size=3),
    "45 zip64: record elsewhere": lambda make: with_zip64_end(make.zip(("a", X)), locator=3),
    "45 zip64: other number in the short record": lambda make: patched_end(
        with_zip64_end(make.zip(("a", X))), count=2, here=2
    ),
    "45 zip64: other table in the short record": lambda make: patched_end(
        with_zip64_end(make.zip(("a", X))), offset=3
    ),
    "48 ten million members": ten_million,
    "zip: one member more than there is": lambda make: patched_end(make.zip(("a", X)), here=2, count=2),
    "zip: one member less than there is": lambda make: patched_end(
        make.zip(("a", X), ("b", X)), here=1, count=1
    ),
    "zip: part of several": lambda make: patched_end(make.zip(("a", X)), here=0),
    "zip: table longer than the file": lambda make: patched_end(make.zip(("a", X)), size=10**6),
    "zip: text behind its end": lambda make: make.zip(("a", X)) + b"and more",
    "zip: two ends": lambda make: with_comment(make.zip(("a", X)), make.zip(("b", X))),
    "zip: more data than the member": lambda make: longer_data(make.zip(("a", NOISE))),
    "zip: no zip at all": lambda make: b"PK\x03\x04" + b"no zip at all" * 100,
}


def with_comment(content, comment):
    return content[:-2] + struct.pack("<H", len(comment)) + comment


def longer_data(content):
    """The compressed data of the member seems to begin with what is behind it: some of the noise is left."""
    length = struct.unpack_from("<I", content, content.index(b"PK\x01\x02") + 20)[0]
    return patched_zip(content, compressed=length - 2)


@pytest.mark.parametrize("untar", [True, False], ids=["untar", "extract"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(archives, refuse, name, untar):
    refuse(HOSTILE[name](archives), UnsafeArchiveError, untar)


@pytest.mark.parametrize("untar", [True, False], ids=["untar", "extract"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_archives(archives, refuse, name, untar):
    refuse(BROKEN[name](archives), ArchiveError, untar)


@pytest.mark.parametrize("method", [93, 20, 99], ids=["Zstandard", "its old number", "AES"])
def test_a_zip_means_the_same_on_every_python(archives, unpack, method):
    """zipfile of Python 3.14 reads Zstandard, with errors of its own; that of 3.13 does not."""
    for content in (b"x" * 1000, b""):
        with pytest.raises(ArchiveError, match=f"'a' .* befit does not read: method {method}"):
            unpack(patched_zip(archives.zip(("a", content)), method=method))


def test_too_many_members_are_refused_before_the_table_is_read(unpack):
    """Case 48: there is no table, only room for one."""
    table = b"PK\x03\x04".ljust(46 * 3000)
    end = END.pack(b"PK\x05\x06", 0, 0, 3000, 3000, len(table), 0, 0)
    with pytest.raises(UnsafeArchiveError, match="more than 1,000 members"):
        unpack(table + end, Limits(members=1000))


def test_overlapping_members_cost_no_time(archives, unpack, tmp_path):
    """Case 37: 64 MiB of work would take longer."""
    started = time.process_time()
    with pytest.raises(UnsafeArchiveError, match="overlaps another one"):
        unpack(overlapping_zip(archives))
    assert time.process_time() - started < 1
    assert list((tmp_path / "staging0" / "members").iterdir()) == []
