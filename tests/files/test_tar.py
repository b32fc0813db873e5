"""Headers of tar archives, right ones of every kind, and those that two readers could read in two ways."""

import io
import os
import shutil
import subprocess
import tarfile

import pytest

from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files.archive import read_members
from befit.files.extract import extract
from befit.files.limits import Budget, Limits
from befit.files.reader import Reader
from befit.files.tar import read_members as read_tar

END = bytes(1024)


def header(name, kind=tarfile.REGTYPE, size=0, patch=None, format=tarfile.GNU_FORMAT, signed=False):
    """A header, with bytes changed before its checksum is made."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    block = bytearray(info.tobuf(format))
    for offset, data in (patch or {}).items():
        block[offset : offset + len(data)] = data
    block[148:156] = b" " * 8
    total = sum(block) - (256 * sum(byte > 127 for byte in block) if signed else 0)
    block[148:155] = b"%06o\0" % total
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % 512)


def extended(kind, data):
    return header("extended", kind, len(data)) + padded(data)


def pax(*records, kind=b"x"):
    """A pax header of the texts ``key=value``."""
    data = b""
    for record in records:
        text = b" " + record.encode() + b"\n"
        length = next(n for n in range(len(text), len(text) + 9) if n == len(text) + len(str(n)))
        data += str(length).encode() + text
    return extended(kind, data)


def read(content):
    members = read_members(io.BytesIO(content), ("tar",), Budget(Limits(), lambda _: len(content)))
    return [(member.name, member.kind, b"".join(member.chunks), member.target) for member in members]


def files(content):
    return {name: data for name, _, data, _ in read(content)}


def test_a_size_in_base_256():
    size = {124: b"\x80" + (5).to_bytes(11, "big")}
    assert files(header("a", patch=size) + padded(b"12345") + END) == {"a": b"12345"}


@pytest.mark.parametrize(
    "digits", [b"0000005\0    ", b"         5 \0", b"5\0junkjunkju", b"00000000005 ", b"5           "]
)
def test_a_size_in_digits_as_programs_have_written_it(digits):
    assert files(header("a", patch={124: digits}) + padded(b"12345") + END) == {"a": b"12345"}


@pytest.mark.parametrize(
    "digits", [b"-0000000005\0", b"+0000000005\0", b"0o000000005\0", b"0_000000005\0", b"00000000008\0"]
)
def test_a_size_that_only_python_takes_for_a_number_is_damage(digits):
    with pytest.raises(ArchiveError, match="number"):
        read(header("a", patch={124: digits}) + padded(b"12345") + END)


def test_a_checksum_of_signed_bytes():
    """As old programs of Sun made it."""
    assert list(files(header("é" * 20, signed=True) + END)) == ["é" * 20]


def test_the_prefix_counts_in_posix_archives_only():
    """Old GNU tar has times of the member in its place."""
    prefix = {345: b"prefix"}
    assert list(files(header("a", patch=prefix, format=tarfile.USTAR_FORMAT) + END)) == ["prefix/a"]
    assert list(files(header("a", patch=prefix, format=tarfile.GNU_FORMAT) + END)) == ["a"]


def test_folders_of_unix_v7():
    """A file of no type whose name ends with a slash."""
    old = {156: b"\0", 257: bytes(8)}
    assert read(header("d/", patch=old) + header("d/a", size=2, patch=old) + padded(b"xx") + END) == [
        ("d/", "directory", b"", ""),
        ("d/a", "file", b"xx", ""),
    ]


def test_a_name_cut_at_a_slash_is_no_folder_where_a_long_one_counts():
    """CVE-2025-13462: tarfile took it for a folder, and the data for headers."""
    long = "d" * 99 + "/" + "x"
    inner = header("evil", size=4) + padded(b"evil")
    member = header(long[:100], size=len(inner), patch={156: b"\0"}) + inner
    for name in (extended(b"L", long.encode() + b"\0"), pax(f"path={long}")):
        assert files(name + member + END) == {long: inner}


def test_pax_headers_count_before_all_others():
    """Case 25, and CVE-2025-62518: a size that only one of two readers sees moves all that follows."""
    inner = header("evil", size=4) + padded(b"evil")
    content = (
        pax(f"size={len(inner)}", "path=é", "mtime=-1.25") + header("a", size=0) + inner + header("b") + END
    )
    (first, second) = read_members(io.BytesIO(content), ("tar",), Budget(Limits(), lambda _: len(content)))
    assert (first.name, first.mtime_ns, second.name) == ("é", -1_250_000_000, "b")
    assert files(content) == {"é": inner, "b": b""}


def test_headers_for_all_members():
    """``git archive`` writes one, with the name of the commit."""
    every = pax("comment=abc", "mtime=7", kind=b"g")
    content = every + header("a", size=2) + padded(b"xx") + pax("path=c") + header("b") + END
    assert files(content) == {"a": b"xx", "c": b""}
    assert read(every + END) == []
    for record in ("path=x", "size=0", "linkpath=x", "GNU.sparse.major=1"):
        with pytest.raises(ArchiveError, match="for all members"):
            read(pax(record, kind=b"g") + header("a") + END)


AMBIGUOUS = {
    "folder with content": header("d", b"5", size=512) + header("evil") + END,
    "symlink with content": header("l", b"2", size=512) + header("evil") + END,
    "hard link with content": header("h", b"1", size=512) + header("evil") + END,
    "hard link with content, in pax": pax("size=512") + header("h", b"1") + header("evil") + END,
    "file called as a folder": header("d/", patch={156: b"0"}) + END,
    "old folder with content": header("d/", size=512, patch={156: b"\0"}) + header("a") + END,
    "two long names": extended(b"L", b"a\0") + extended(b"L", b"b\0") + header("c") + END,
    "two pax headers": pax("path=a") + pax("path=b") + header("c") + END,
    "a long name and another one in pax": extended(b"L", b"a\0") + pax("path=b") + header("c") + END,
    "nothing behind an extended header": pax("path=a") + END,
    "negative size in pax": pax("size=-1") + header("a") + END,
    "size in pax that is none": pax("size=1e3") + header("a") + END,
    "time in pax that is none": pax("mtime=nan") + header("a") + END,
    "empty path": pax("path=") + header("a") + END,
    "record longer than its header": extended(b"x", b"99 path=a\n") + header("a") + END,
    "record without an end": extended(b"x", b"9 path=ab") + header("a") + END,
    "record without a sign": extended(b"x", b"8 patha\n") + header("a") + END,
    "record of length zero": extended(b"x", b"0 path=a\n") + header("a") + END,
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused(name, tmp_path):
    content = AMBIGUOUS[name]
    with pytest.raises(ArchiveError):
        extract(
            io.BytesIO(content),
            lambda _: len(content),
            tmp_path,
            name="a",
            formats=("tar",),
            limits=Limits(),
            wanted=None,
            label="a",
        )
    assert os.listdir(tmp_path / "members") == []


def test_an_empty_field_is_zero():
    assert files(header("a", patch={100: bytes(8), 124: bytes(12), 136: b" " * 12}) + END) == {"a": b""}


def test_a_time_before_1970_in_base_256():
    content = header("a", patch={136: b"\xff" * 11 + b"\xfb"}) + END
    (member,) = read_members(io.BytesIO(content), ("tar",), Budget(Limits(), lambda _: len(content)))
    assert member.mtime_ns == -5_000_000_000


def cut_short(content):
    for member in read_tar(Reader(io.BytesIO(content), "the tar archive"), Budget(Limits(), lambda _: 1)):
        b"".join(member.chunks)


@pytest.mark.parametrize("cut", [0, 100, 511, 512, 700, 1024, 1100])
def test_a_cut_is_called_one(cut):
    """Case 27: in a header, in data, and before the mark that ends the archive."""
    content = header("a", size=600) + padded(b"x" * 600)
    with pytest.raises(ArchiveError, match="tar archive was cut short"):
        cut_short(content[:cut])


def test_times_that_no_system_has_are_left_out():
    content = header("a", patch={136: b"\x80" + b"\xff" * 11}) + END
    (member,) = read_members(io.BytesIO(content), ("tar",), Budget(Limits(), lambda _: len(content)))
    assert member.mtime_ns is None


def sparse(*records):
    """A sparse file in the ways of pax headers; ten bytes, and three and two of them not zero."""
    return pax("GNU.sparse.name=s", *records) + header("GNUSparseFile.0/s", size=5) + padded(b"abcxy") + END


SPARSE = b"\0abc\0\0xy\0\0"


def test_sparse_files_in_pax_headers():
    places = "offset=1", "numbytes=3", "offset=6", "numbytes=2"
    of_0_0 = ("size=10", "numblocks=2", *places)
    assert files(sparse(*(f"GNU.sparse.{record}" for record in of_0_0))) == {"s": SPARSE}
    assert files(sparse("GNU.sparse.size=10", "GNU.sparse.map=1,3,6,2")) == {"s": SPARSE}


def sparse_1_0(table, size=10):
    data = padded(table) + b"abcxy"
    records = ("major=1", "minor=0", "name=s", f"realsize={size}")
    head = pax(*(f"GNU.sparse.{record}" for record in records))
    return head + header("GNUSparseFile.0/s", size=len(data)) + padded(data) + END


def test_sparse_files_with_a_map_in_their_data():
    assert files(sparse_1_0(b"2\n1\n3\n6\n2\n")) == {"s": SPARSE}
    many = b"103\n" + b"0\n0\n" * 101 + b"1\n3\n6\n2\n"
    assert files(sparse_1_0(many + b"x" * 0)) == {"s": SPARSE}, "a map of several blocks"


@pytest.mark.parametrize(
    "table",
    [
        b"2\n6\n3\n1\n2\n",  # backwards
        b"2\n1\n3\n3\n2\n",  # one over the other
        b"2\n1\n3\n9\n2\n",  # beyond the end
        b"1\n1\n3\n",  # not all that is stored
        b"2\n1\n3\n6\n-2\n",
        b"2\n1\n3\n6\n",
        b"x" * 2000,
        b"9" * 30 + b"\n",
        b"3000000\n",
    ],
)
def test_maps_that_contradict_their_data(table):
    with pytest.raises(ArchiveError):
        read(sparse_1_0(table))


def test_a_sparse_file_of_a_version_to_come():
    with pytest.raises(ArchiveError, match="unknown version"):
        read(sparse("GNU.sparse.major=2", "GNU.sparse.minor=0"))


def test_a_sparse_terabyte_in_pax_headers():
    """Case 16."""
    with pytest.raises(UnsafeArchiveError, match="250 times"):
        read(sparse("GNU.sparse.size=1099511627776", "GNU.sparse.map=1,3,6,2"))


@pytest.mark.skipif(shutil.which("tar") is None, reason="no program tar")
@pytest.mark.parametrize(
    "how", ["--format=oldgnu", "--format=gnu", *(f"--sparse-version={v}" for v in ("0.0", "0.1", "1.0"))]
)
def test_sparse_files_as_gnu_tar_writes_them(tmp_path, how):
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True).stdout
    if "GNU tar" not in version:
        pytest.skip("another tar")
    with (tmp_path / "s").open("wb") as file:
        for number in range(60):
            file.seek(number * 40_000)
            file.write(b"data" * (number + 1))
        file.truncate(3_000_000)
    formats = [how] if "format" in how else ["--format=pax", how]
    subprocess.run(
        ["tar", "--sparse", "--hole-detection=raw", *formats, "-cf", "a.tar", "s"], cwd=tmp_path, check=True
    )
    content = (tmp_path / "a.tar").read_bytes()
    assert len(content) < 1_000_000, "it is stored as a sparse file"
    assert files(content) == {"s": (tmp_path / "s").read_bytes()}
