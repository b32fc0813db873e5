"""Formats are recognised by content."""

import bz2
import collections
import gzip
import io
import lzma
import random
import zipfile

import pytest

from befit.errors import ArchiveError, ArgumentError, DownloadError
from befit.files.archive import archive_formats, read_members
from befit.files.limits import Budget, Limits

try:
    from compression import zstd
except ImportError:
    zstd = pytest.importorskip("backports.zstd")


def pack_zstd(content):
    return zstd.compress(content)


MEMBERS = {"a.txt": b"text", "d/b.bin": bytes(100_000), "d/empty": b""}


@pytest.fixture
def read():
    def members(content, formats=("tar", "zip")):
        found = {}
        for member in read_members(io.BytesIO(content), formats, Budget(Limits(), lambda _: len(content))):
            found[member.name] = b"".join(member.chunks)
        return found

    return members


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_in_every_compression(archives, read, mode):
    assert read(archives.tar(*MEMBERS.items(), mode=mode)) == MEMBERS


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zip_in_every_compression(archives, read, method):
    assert read(archives.zip(*MEMBERS.items(), method=method)) == MEMBERS


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, pack_zstd])
def test_a_compressed_file_may_consist_of_several_streams(archives, read, pack):
    """As pigz, pbzip2 and ``cat a.gz b.gz`` write it."""
    plain = archives.tar(*MEMBERS.items(), mode="w")
    assert read(b"".join(pack(plain[at : at + 5000]) for at in range(0, len(plain), 5000))) == MEMBERS


def test_empty_archives_are_archives(archives, read):
    for content in (archives.tar(mode="w"), archives.tar(), archives.zip()):
        assert read(content) == {}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"label,pixel\n", "not a tar or zip archive"),
        (b"x" * 1000, "not a tar or zip archive"),
        (gzip.compress(b"a,b\n" * 1000), "single gzip-compressed file.*gzip.open"),
        (bz2.compress(b"a,b\n" * 1000), "single bzip2-compressed file.*bz2.open"),
        (lzma.compress(b"a,b\n" * 1000), "single xz-compressed file.*lzma.open"),
        (gzip.compress(b"a" * 10**4)[:20], "gzip file was cut short"),
        (lzma.compress(b"a" * 10**4)[:20], "xz file was cut short"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 100, "gzip file is damaged"),
        (b"BZh9" + b"\xff" * 100, "bzip2 file is damaged"),
        (pack_zstd(b"a,b\n" * 1000), "single Zstandard-compressed file.*zstd.open"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "7z archive.* py7zr"),
        (b"\x1f\x9d" + bytes(600), "compress"),
        (b"\x04\x22\x4d\x18" + bytes(600), "LZ4"),
        (b"Rar!\x1a\x07\x00" + bytes(600), "RAR"),
        (b"PK\x07\x08" + bytes(600), "split zip"),
        (b"\n <!DOCTYPE html><html>Log in</html>", "web page"),
        (b"\xef\xbb\xbf<HTML lang=en>" + b" " * 1000, "web page"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(read, content, says):
    with pytest.raises(ArchiveError, match=says):
        read(content)


def test_a_format_that_was_not_allowed_is_refused(archives, read):
    with pytest.raises(ArchiveError, match="a tar archive, and archive_format allows zip"):
        read(archives.tar(*MEMBERS.items()), ("zip",))
    with pytest.raises(ArchiveError, match="a zip archive, and archive_format allows tar"):
        read(archives.zip(*MEMBERS.items()), ("tar",))


@pytest.mark.parametrize(
    ("argument", "formats"),
    [
        ("auto", ("tar", "zip")),
        ("tar", ("tar",)),
        ("zip", ("zip",)),
        (["zip", "tar"], ("zip", "tar")),
        (("tar", "tar"), ("tar",)),
        (None, ()),
        ([], ()),
    ],
)
def test_archive_format_as_documented(argument, formats):
    assert archive_formats(argument) == formats


@pytest.mark.parametrize("argument", ["gz", "tar.gz", "", ["tar", "rar"]])
def test_unknown_formats_are_refused(argument):
    with pytest.raises(ArgumentError, match="archive_format"):
        archive_formats(argument)


class Growing(io.RawIOBase):
    """A file that a download still writes: what is read is noted, and the end comes last."""

    def __init__(self, content, error=None):
        self._file = io.BytesIO(content)
        self._error = error
        self.places = []  # where reads began

    def read(self, size=-1):
        self.places.append(self._file.tell())
        data = self._file.read(min(size, 7000))
        if self._error is not None and self.places[-1] > 20_000:
            raise self._error
        return data

    def seek(self, offset, whence=0):
        assert whence == 0, "the end is not there yet"
        return self._file.seek(offset)


NOISE = random.Random(0).randbytes(200_000)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, pack_zstd])
def test_a_tar_is_read_forward_while_it_grows(archives, pack):
    content = pack(archives.tar(("a", NOISE), ("b", b"xx"), mode="w"))
    file = Growing(content)
    found = {
        member.name: b"".join(member.chunks)
        for member in read_members(file, ("tar",), Budget(Limits(), lambda _: len(content)))
    }
    assert found == {"a": NOISE, "b": b"xx"}
    again = file.places.index(0, 1)
    assert max(file.places[:again]) <= 7000, "only the start, to see what it is"
    assert file.places[again:] == sorted(file.places[again:])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, pack_zstd])
@pytest.mark.parametrize("error", [DownloadError("cut"), OSError("cut"), EOFError("cut"), ValueError("cut")])
def test_an_error_of_the_file_passes_as_it_is(archives, pack, error):
    content = pack(archives.tar(("a", NOISE), ("b", b"xx"), mode="w"))
    members = read_members(Growing(content, error), ("tar",), Budget(Limits(), lambda _: len(content)))
    with pytest.raises(type(error)) as caught:
        collections.deque((b"".join(member.chunks) for member in members), maxlen=0)
    assert caught.value is error


def test_an_error_of_the_file_passes_through_the_reader_of_zip(archives):
    class Broken(io.BytesIO):
        def seek(self, offset, whence=0):
            if whence == 2:
                raise error
            return super().seek(offset, whence)

    error = DownloadError("cut")
    content = archives.zip(("a", b"xx"))
    with pytest.raises(DownloadError) as caught:
        list(read_members(Broken(content), ("zip",), Budget(Limits(), lambda _: len(content))))
    assert caught.value is error
