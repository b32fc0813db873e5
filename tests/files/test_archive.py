"""Formats are recognised by content."""

import bz2
import gzip
import lzma
import zipfile

import pytest

from befit.errors import ArchiveError, ArgumentError
from befit.files.archive import archive_formats, detect, read_members
from befit.files.limits import Budget, Limits

MEMBERS = {"a.txt": b"text", "d/b.bin": bytes(100_000), "d/empty": b""}


@pytest.fixture
def read(tmp_path):
    def members(content, formats=("tar", "zip")):
        path = tmp_path / "archive.dat"
        path.write_bytes(content)
        found = {}
        for member in read_members(path, formats, Budget(Limits(), len(content))):
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


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
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
        (gzip.compress(b"a" * 10**4)[:20], "broken gzip file"),
        (lzma.compress(b"a" * 10**4)[:20], "broken xz file"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 100, "broken gzip file"),
        (b"BZh9" + b"\xff" * 100, "broken bzip2 file"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "Zstandard"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "7z"),
        (b"Rar!\x1a\x07\x00" + bytes(600), "RAR"),
        (b"PK\x07\x08" + bytes(600), "split zip"),
        (b"\n <!DOCTYPE html><html>Log in</html>", "web page"),
        (b"\xef\xbb\xbf<HTML lang=en>" + b" " * 1000, "web page"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(tmp_path, content, says):
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ArchiveError, match=says):
        detect(tmp_path / "x.tar.gz")


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
