"""The record of an extraction."""

import os
from dataclasses import replace

import pytest

from befit.files.digest import FileDigests, digest_of
from befit.files.marker import Marker, Record, read_marker, write_marker


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "archive").write_bytes(b"archive")
    (tmp_path / "a\udcffé").write_text("odd name")
    return tmp_path


@pytest.fixture
def marker(folder):
    found = (folder / "archive").stat()
    return Marker(
        True,
        digest_of(folder / "archive", "sha256").hexdigest,
        found.st_size,
        found.st_mtime_ns,
        {("a\udcffé",): Record.of(folder / "a\udcffé", "file"), ("d", "e"): Record("directory", 0, 0)},
    )


def test_a_marker_is_read_as_it_was_written(folder, marker):
    write_marker(folder / ".m", marker)
    assert read_marker(folder / ".m") == marker
    assert sorted(os.listdir(folder)) == sorted([".m", "archive", "a\udcffé"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"version": 1}',
        '{"version": 2}',
        '{"version": 1, "members": {"a": 3}}',
        "\x80",
    ],
)
def test_what_is_no_marker_is_none(folder, text):
    (folder / ".m").write_text(text, encoding="latin-1")
    assert read_marker(folder / ".m") is None


def test_no_marker_is_none(folder):
    assert read_marker(folder / ".m") is None


def test_a_marker_is_of_its_archive_only(folder, marker):
    archive = folder / "archive"
    assert marker.matched(archive, FileDigests()) == marker
    os.utime(archive, ns=(1, 1))
    matched = marker.matched(archive, FileDigests())
    assert matched == replace(marker, archive_mtime_ns=1), "touched or copied: the content decides"
    archive.write_bytes(b"Archive")
    assert marker.matched(archive, FileDigests()) is None
    archive.write_bytes(b"longer archive")
    assert marker.matched(archive, FileDigests()) is None


def test_an_unfinished_extraction_is_of_no_archive(folder, marker):
    write_marker(folder / ".m", replace(marker, finished=False))
    assert read_marker(folder / ".m").matched(folder / "archive", FileDigests()) is None


def test_every_member_must_be_there(folder, marker):
    assert not marker.is_complete(folder)
    (folder / "d" / "e").mkdir(parents=True)
    assert marker.is_complete(folder)
    (folder / "a\udcffé").unlink()
    assert not marker.is_complete(folder)
