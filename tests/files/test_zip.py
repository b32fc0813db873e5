"""Zip archives of every kind that programs write; the oracle is ``zipfile``, where it reads them too."""

import io
import os
import shutil
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import pytest

from befit.errors import ArchiveError
from befit.files.archive import read_members
from befit.files.limits import Budget, Limits

END = struct.Struct("<4s4H2LH")


def read(content):
    members = read_members(io.BytesIO(content), ("tar", "zip"), Budget(Limits(), lambda _: len(content)))
    return {member.name: b"".join(member.chunks) for member in members}


def zipped(*members, **settings):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **settings) as archive:
        for info, data in members:
            archive.writestr(info, data)
    return stream.getvalue()


def extra(number, data):
    return struct.pack("<2H", number, len(data)) + data


def entry(
    raw_name, data=b"xx", *, flags=0, local_extra=b"", table_extra=b"", numbers=None, behind=b"", wide=False
):
    """A zip archive of one stored member, piece by piece."""
    crc, size = zlib.crc32(data), len(data)
    in_local = (crc, size, size) if numbers is None else numbers
    in_table = (crc, 0xFFFFFFFF, 0xFFFFFFFF) if wide else (crc, size, size)
    start = struct.pack(
        "<4s5H3L2H", b"PK\x03\x04", 20, flags, 0, 0, 33, *in_local, len(raw_name), len(local_extra)
    )
    content = start + raw_name + local_extra + data + behind
    rest = (len(raw_name), len(table_extra), 0, 0, 0, 0o100644 << 16, 0)
    table = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 0x314, 20, flags, 0, 0, 33, *in_table, *rest)
    table += raw_name + table_extra
    return content + table + END.pack(b"PK\x05\x06", 0, 0, 1, 1, len(table), len(content), 0)


@pytest.mark.parametrize(
    ("raw", "flags", "field", "name"),
    [
        (b"plain.txt", 0, b"", "plain.txt"),
        (b"\x81.txt", 0, b"", "ü.txt"),
        ("日本".encode(), 0x800, b"", "日本"),
        ("ü.txt".encode(), 0, b"", "ü.txt"),
        (b"u.txt", 0, b"\x01" + zlib.crc32(b"u.txt").to_bytes(4, "little") + "ü.txt".encode(), "ü.txt"),
        (b"u.txt", 0, b"\x01\0\0\0\0" + "ü.txt".encode(), "u.txt"),
        (b"u.txt", 0, b"\x02" + zlib.crc32(b"u.txt").to_bytes(4, "little") + "ü.txt".encode(), "u.txt"),
    ],
)
def test_names(raw, flags, field, name):
    """Case 46."""
    fields = extra(0x7075, field) if field else b""
    content = entry(raw, flags=flags, local_extra=fields, table_extra=fields)
    assert read(content) == {name: b"xx"}
    if not field and (flags or name.isascii() or raw[0] == 0x81):
        assert zipfile.ZipFile(io.BytesIO(content)).namelist() == [name]


@pytest.mark.parametrize("flags", [0, 0x800])
def test_names_that_are_no_utf8_though_they_say_so(flags):
    """Case 46."""
    field = b"" if flags else extra(0x7075, b"\x01" + zlib.crc32(b"\xff").to_bytes(4, "little") + b"\xff")
    with pytest.raises(ArchiveError, match="not in UTF-8"):
        read(entry(b"\xff", flags=flags, table_extra=field))


CRC = zlib.crc32(b"xx")


@pytest.mark.parametrize("numbers", [(0, 0, 0), (CRC, 2, 2)])
@pytest.mark.parametrize("mark", [b"PK\x07\x08", b""])
@pytest.mark.parametrize("form", ["<3L", "<L2Q"])
def test_sizes_behind_the_data(numbers, mark, form):
    behind = mark + struct.pack(form, CRC, 2, 2)
    assert read(entry(b"a", flags=8, numbers=numbers, behind=behind)) == {"a": b"xx"}


@pytest.mark.parametrize(
    ("numbers", "behind"),
    [
        ((0, 0, 0), b""),
        ((0, 0, 0), struct.pack("<4s3L", b"PK\x07\x08", CRC, 2, 3)),
        ((0, 0, 0), struct.pack("<4s3L", b"PK\x07\x08", CRC + 1, 2, 2)),
        ((CRC, 2, 3), struct.pack("<4s3L", b"PK\x07\x08", CRC, 2, 2)),
    ],
)
def test_sizes_behind_the_data_that_contradict_the_table(numbers, behind):
    """Readers of a stream would see another archive than those that begin at the end."""
    with pytest.raises(ArchiveError, match="contradicts the table"):
        read(entry(b"a", flags=8, numbers=numbers, behind=behind))


def test_sizes_in_zip64_fields():
    sizes = struct.pack("<2Q", 2, 2)
    full = (CRC, 0xFFFFFFFF, 0xFFFFFFFF)
    wide = extra(1, sizes)
    assert read(entry(b"a", table_extra=wide, wide=True)) == {"a": b"xx"}
    assert read(entry(b"a", table_extra=wide, wide=True, numbers=full, local_extra=wide)) == {"a": b"xx"}
    with pytest.raises(ArchiveError, match="zip64 field is too short"):
        read(entry(b"a", table_extra=extra(1, sizes[:9]), wide=True))
    with pytest.raises(ArchiveError, match="contradicts"):
        read(entry(b"a", numbers=full, local_extra=extra(1, struct.pack("<2Q", 3, 2))))


@pytest.mark.soak
def test_more_members_than_sixteen_bits_count():
    """A zip64 end record that is needed; zipfile writes it."""
    content = zipped(*((f"{number}", b"") for number in range(66_000)))
    assert b"PK\x06\x06" in content
    assert len(read(content)) == 66_000
    assert len(read(b"#!/bin/sh\n" + content)) == 66_000


@pytest.mark.parametrize("force", [False, True])
def test_streams_and_zip64_of_zipfile(force):
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a", "w", force_zip64=force) as member,
    ):
        member.write(b"x" * 10_000)
    assert read(stream.getvalue()) == {"a": b"x" * 10_000}


@pytest.mark.parametrize(
    "stub", [b"MZ" + bytes(5000), b"#!/bin/sh\nexec unzip\n" * 100, b"\x7fELF" + bytes(600)]
)
def test_a_program_that_unpacks_may_stand_in_front(stub):
    """With places in the table that count it, as ``zip -A`` sets them, and without."""
    plain = zipped(("a", b"one"), ("b", b"two" * 1000))
    assert read(stub + plain) == {"a": b"one", "b": b"two" * 1000}
    stream = io.BytesIO()
    stream.write(stub)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("a", b"one")
    assert read(stream.getvalue()) == {"a": b"one"}


def test_a_comment_and_zeros_behind_the_end():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", b"xx")
        archive.comment = b"a comment that is long" * 1000
    assert read(stream.getvalue()) == {"a": b"xx"}
    assert read(stream.getvalue() + bytes(512)) == {"a": b"xx"}


def test_padding_in_extra_fields_as_android_writes_it():
    assert read(entry(b"a", local_extra=bytes(3), table_extra=bytes(3))) == {"a": b"xx"}


def test_a_zip_within_a_zip_is_a_file():
    inner = zipped(("evil", b"xx"))
    content = zipped(("a.zip", inner))
    assert read(content) == {"a.zip": inner}


def times(content):
    members = read_members(io.BytesIO(content), ("zip",), Budget(Limits(), lambda _: len(content)))
    return {member.name: member.mtime_ns for member in members}


def test_times():
    """In UTC where a field has it, else in the zone of this machine, as unzip has it; else none."""
    assert times(entry(b"a", table_extra=extra(0x5455, b"\x01" + struct.pack("<l", 10**9)))) == {"a": 10**18}
    assert times(entry(b"a", table_extra=extra(0x5455, b"\x01\0"))) != {"a": None}
    content = zipped((zipfile.ZipInfo("a", (2020, 5, 17, 12, 30, 14)), b"xx"))
    found = time.localtime(times(content)["a"] // 10**9)
    assert found[:6] == (2020, 5, 17, 12, 30, 14)


@pytest.mark.parametrize("module", ["isal.igzip_lib", "zlib_ng.zlib_ng"])
def test_other_decoders(monkeypatch, module):
    content = zipped(("a", b"text " * 200_000), ("b", os.urandom(300_000)), compression=zipfile.ZIP_DEFLATED)
    whole = read(content)
    monkeypatch.setitem(sys.modules, "isal.igzip_lib", None)
    monkeypatch.setitem(sys.modules, module, None)
    assert read(content) == whole
    assert whole["a"] == b"text " * 200_000


@pytest.mark.skipif(shutil.which("zip") is None, reason="no program zip")
def test_what_the_program_zip_writes(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "é").write_bytes(b"text " * 1000)
    (tmp_path / "empty").write_bytes(b"")
    subprocess.run(["zip", "-qr", "a.zip", "d", "empty"], cwd=tmp_path, check=True)
    wanted = {"d/": b"", "d/é": b"text " * 1000, "empty": b""}
    assert read((tmp_path / "a.zip").read_bytes()) == wanted
    streamed = subprocess.run(
        ["zip", "-qr", "-", "d", "empty"], cwd=tmp_path, capture_output=True, check=True
    )
    assert read(streamed.stdout) == wanted
