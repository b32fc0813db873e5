"""The record of an extraction: a marker that is read at each call, and a manifest that seldom is."""

import json
import os
import time

import pytest

from befit.files import marker as marker_module
from befit.files.digest import FileDigests, digests_of
from befit.files.marker import (
    Record,
    is_complete,
    is_marker_name,
    manifest_path,
    mark_busy,
    read_marker,
    read_members,
    write_marker,
)

NAMES = ["d", "d/e", "d/e/f", "d/g", "loose\udcffé"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "archive").write_bytes(b"archive")
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name in ("d/e/f", "d/g", "loose\udcffé"):
        (tmp_path / name).write_text(name, errors="surrogateescape")
    return tmp_path


@pytest.fixture
def path(folder):
    return folder / ".m.extracted.json"


@pytest.fixture
def members(folder):
    return {
        tuple(name.split("/")): Record.of(folder / name, "directory" if (folder / name).is_dir() else "file")
        for name in NAMES
    }


@pytest.fixture
def digests(folder):
    return {name: found.hexdigest for name, found in digests_of(folder / "archive", {"sha256"}).items()}


@pytest.fixture
def written(path, digests, members):
    write_marker(path, "archive", digests, members)
    return path


@pytest.fixture
def manifests_read(monkeypatch):
    """How often a manifest was looked at."""
    read = []

    def counted(path, marker):
        read.append(path)
        return read_members(path, marker)

    monkeypatch.setattr(marker_module, "read_members", counted)
    return read


@pytest.fixture
def later(monkeypatch):
    """``later()``: what was done so far is some seconds old."""
    return lambda: monkeypatch.setattr(marker_module, "time_ns", lambda: time.time_ns() + 5 * 10**9)


def test_a_marker_is_read_as_it_was_written(folder, written, digests, members):
    marker = read_marker(written)
    assert (marker.finished, marker.archive, marker.digests) == (True, "archive", digests)
    assert set(marker.folders) == {"d", "d/e"}
    assert read_members(written, marker) == members
    expected = {".m.extracted.json", ".m.members.json", "archive", "d", "loose\udcffé"}
    assert set(os.listdir(folder)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"version": 1}', '{"version": 2}', '{"version": 3}', "\x80"],
)
def test_what_is_no_marker_is_none(path, text):
    path.write_text(text, encoding="latin-1")
    assert read_marker(path) is None


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"marker": "other"}', "\x80"])
def test_what_is_no_manifest_is_none(written, text):
    """Killed between the two files, or damaged: the members are not known."""
    manifest_path(written).unlink()
    if text is not None:
        manifest_path(written).write_text(text, encoding="latin-1")
    assert read_members(written, read_marker(written)) is None


def test_a_manifest_of_another_extraction_is_not_taken(folder, written, digests, members):
    marker = read_marker(written)
    write_marker(written, "archive", digests, members)
    assert read_members(written, marker) is None


def test_no_marker_is_none(path):
    assert read_marker(path) is None


def test_a_marker_is_of_its_archive_only(folder, written):
    archive, marker = folder / "archive", read_marker(written)
    assert marker.is_extracted(archive, FileDigests())
    os.utime(archive, ns=(1, 1))
    assert marker.is_extracted(archive, FileDigests()), "touched or copied: the content decides"
    archive.write_bytes(b"Archive")
    assert not marker.is_extracted(archive, FileDigests())
    archive.write_bytes(b"longer archive")
    assert not marker.is_extracted(archive, FileDigests())


def test_digests_by_several_algorithms_are_compared_where_they_meet(folder, written, digests):
    archive, marker = folder / "archive", read_marker(written)
    wrong = "0" * 64
    assert marker.is_of(archive, digests)
    assert marker.is_of(archive, {**digests, "md5": "unknown before"})
    assert not marker.is_of(archive, {"sha256": wrong})
    assert marker.is_of(archive, {"md5": "says nothing, so the archive is read"})
    archive.write_bytes(b"another")
    assert not marker.is_of(archive, {"md5": "says nothing, so the archive is read"})


def test_an_unfinished_extraction_is_of_no_archive(folder, written, members):
    mark_busy(written, read_marker(written), members, finished=False)
    marker = read_marker(written)
    assert not marker.is_extracted(folder / "archive", FileDigests())
    assert read_members(written, marker) == members


def test_the_manifest_is_not_read_while_nothing_has_changed(written, manifests_read):
    for _ in range(3):
        assert is_complete(written, read_marker(written))
    assert manifests_read == []


@pytest.mark.parametrize("name", ["d/g", "d/e/f", "loose\udcffé"])
def test_a_missing_member_is_noticed(folder, written, name):
    (folder / name).unlink()
    assert not is_complete(written, read_marker(written))


@pytest.mark.parametrize("stand_in", [None, "file", "link"])
def test_a_missing_folder_is_noticed(folder, written, stand_in):
    (folder / "d/e").rename(folder / "moved")
    if stand_in == "file":
        (folder / "d/e").write_text("")
    elif stand_in == "link":
        (folder / "d/e").symlink_to(folder / "moved")
    assert not is_complete(written, read_marker(written))


@pytest.mark.parametrize("name", ["d/own", "d/e/own", "own"])
def test_files_of_the_user_make_the_next_look_thorough_and_the_one_after_it_cheap(
    folder, written, manifests_read, later, name
):
    (folder / name).write_text("mine")
    later()
    for _ in range(3):
        assert is_complete(written, read_marker(written))
    assert len(manifests_read) == 1


def test_a_folder_that_changed_just_now_is_looked_at_again(folder, written, manifests_read, monkeypatch):
    """A member that vanishes within the same tick of the clock leaves the same time."""
    (folder / "d/own").write_text("mine")
    changed = (folder / "d").stat().st_mtime_ns
    monkeypatch.setattr(marker_module, "time_ns", lambda: changed + 1_000_000)
    assert is_complete(written, read_marker(written))
    (folder / "d/g").unlink()
    os.utime(folder / "d", ns=(changed, changed))
    assert not is_complete(written, read_marker(written))
    assert len(manifests_read) == 2


def test_edits_are_not_missing_members(folder, written, manifests_read):
    (folder / "d/g").write_text("edited")
    (folder / "d/e/f").write_text("")
    assert is_complete(written, read_marker(written))
    assert manifests_read == []


def test_a_folder_that_cannot_be_written_is_looked_at_thoroughly(folder, written, monkeypatch, later):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (folder / "d/own").write_text("mine")
    later()
    monkeypatch.setattr(marker_module, "part_file", refuse)
    before = written.read_bytes()
    assert is_complete(written, read_marker(written))
    assert written.read_bytes() == before


def test_a_marker_that_another_process_wrote_meanwhile_is_left_alone(
    folder, written, digests, members, monkeypatch, later
):
    """What is refreshed is the marker that was looked at, and no other."""
    looked_at = read_marker(written)
    (folder / "d/own").write_text("mine")
    later()

    def meanwhile(path, marker):
        found = read_members(path, marker)
        write_marker(path, "archive", {"sha256": "of another archive"}, members)
        return found

    monkeypatch.setattr(marker_module, "read_members", meanwhile)
    assert is_complete(written, looked_at)
    assert read_marker(written).digests == {"sha256": "of another archive"}


def test_folders_are_not_believed_on_windows(folder, written, manifests_read, monkeypatch):
    monkeypatch.setattr(marker_module, "_FOLDERS_TELL", False)
    assert is_complete(written, read_marker(written))
    assert len(manifests_read) == 1


@pytest.fixture
def first_version(path, digests, members):
    """A marker as befit wrote it before there were manifests."""
    content = {
        "version": 1,
        "finished": True,
        "archive": {**digests, "size": 7, "mtime_ns": 1},
        "members": {"/".join(parts): list(record) for parts, record in members.items()},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_marker_of_the_first_version_is_taken_over(folder, first_version, members, later):
    later()
    marker = read_marker(first_version)
    assert marker.is_extracted(folder / "archive", FileDigests())
    assert is_complete(first_version, marker)
    taken_over = read_marker(first_version)
    assert taken_over.manifest
    assert taken_over.digests == marker.digests
    assert read_members(first_version, taken_over) == members


def test_a_marker_of_the_first_version_can_be_incomplete_or_replaced(folder, first_version, members):
    mark_busy(first_version, read_marker(first_version), members, finished=False)
    marker = read_marker(first_version)
    assert not marker.finished
    assert read_members(first_version, marker) == members
    (folder / "d/g").unlink()
    assert not is_complete(first_version, marker)


@pytest.mark.parametrize("name", [".a.extracted.json", ".a.members.json", ".a.stamp.json"])
def test_names_of_records(name):
    assert is_marker_name(name)
    assert not is_marker_name(name[1:])
    assert not is_marker_name(name + "x")
