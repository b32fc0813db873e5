"""Moving an extraction into a folder that holds other things."""

import errno
import os

import pytest

from befit.errors import ArchiveError
from befit.files import tree
from befit.files.extract import Extracted
from befit.files.marker import Record
from befit.files.place import decide, move

OLD = {"d": None, "d/a": "a1", "d/b": "b1", "d/deep": None, "d/deep/c": "c1"}


@pytest.fixture(params=["descriptors", "paths"], autouse=True)
def way(request, monkeypatch):
    """Both ways of moving, that of POSIX and that of Windows."""
    monkeypatch.setattr(tree, "HAS_DESCRIPTORS", request.param == "descriptors")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "datasets"
    path.mkdir()
    (path / "archive.tar.gz").write_text("the archive")
    (path / "unrelated").write_text("unrelated")
    return path


@pytest.fixture
def put(tmp_path, folder):
    """``put(tree, known)``: stage the tree (text: file, None: folder, bytes: link) and place it."""

    def call(content, known=None, *, same_archive=False, force=False):
        root = tmp_path / f"staged{len(os.listdir(tmp_path))}"
        root.mkdir()
        members = {}
        for name, what in content.items():
            path = root / name
            if what is None:
                path.mkdir(parents=True)
            elif isinstance(what, bytes):
                path.symlink_to(what.decode())
            else:
                path.write_text(what)
            kind = "directory" if what is None else "symlink" if isinstance(what, bytes) else "file"
            members[tuple(name.split("/"))] = Record.of(path, kind)
        staged = Extracted(root, members)
        archive = folder / "archive.tar.gz"
        known = known or {}
        kept = decide(staged, folder, archive=archive, known=known, same_archive=same_archive, force=force)
        return move(staged, folder, kept=kept, known=known)

    return call


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_text()
        for path in folder.rglob("*")
        if path.name not in ("unrelated", "archive.tar.gz")
    }


def edit(path, text="edited by hand"):
    path.write_text(text)


def test_members_arrive_and_are_recorded(put, folder):
    known = put(OLD)
    assert content_of(folder) == OLD
    assert known == {
        tuple(name.split("/")): Record.of(folder / name, "file" if what else "directory")
        for name, what in OLD.items()
    }
    assert (folder / "unrelated").read_text() == "unrelated"


def test_what_is_there_already_is_kept_if_it_is_the_same(put, folder):
    put(OLD)
    os.utime(folder / "d/a", ns=(0, 0))
    known = put(OLD)
    assert (folder / "d/a").stat().st_mtime_ns == 0, "not replaced"
    assert known["d", "a"] == Record.of(folder / "d/a", "file"), (
        "recorded as it is here, not as it was staged"
    )
    assert content_of(folder) == OLD


def test_a_missing_member_is_put_back_and_edits_stay(put, folder):
    known = put(OLD)
    edit(folder / "d/a")
    (folder / "d/deep/c").unlink()
    (folder / "d/deep/own notes").write_text("mine")
    again = put(OLD, known, same_archive=True)
    assert content_of(folder) == {**OLD, "d/a": "edited by hand", "d/deep/own notes": "mine"}
    assert again[("d", "a")] == known[("d", "a")], "still known to be an edit"


def test_a_new_archive_replaces_old_members_that_nobody_touched(put, folder):
    known = put(OLD)
    put({"d": None, "d/a": "a2", "d/new": "n2"}, known)
    assert content_of(folder) == {**OLD, "d/a": "a2", "d/new": "n2"}


def test_a_new_archive_does_not_replace_edits(put, folder):
    known = put(OLD)
    edit(folder / "d/a")
    with pytest.raises(ArchiveError, match=r"would replace.*d/a; nothing was replaced"):
        put({"d": None, "d/a": "a2", "d/b": "b2"}, known)
    assert content_of(folder) == {**OLD, "d/a": "edited by hand"}


def test_force_replaces_edits_but_never_what_is_not_from_an_archive(put, folder):
    known = put(OLD)
    edit(folder / "d/a")
    put({"d": None, "d/a": "a2"}, known, force=True)
    assert (folder / "d/a").read_text() == "a2"
    with pytest.raises(ArchiveError, match="unrelated"):
        put({"unrelated": "stolen"}, known, force=True)
    assert (folder / "unrelated").read_text() == "unrelated"


@pytest.mark.parametrize(
    "content",
    [
        {"unrelated": "other text"},
        {"unrelated": None, "unrelated/a": "x"},
        {"unrelated": b"d", "d": None},
        {"folder": "a file"},
        {"link": None, "link/a": "x"},
        {"link": "a file"},
    ],
)
def test_what_befit_did_not_write_is_never_replaced(put, folder, tmp_path, content):
    (folder / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    before = content_of(folder)
    with pytest.raises(ArchiveError, match="nothing was replaced"):
        put({"first": "x", **content})
    assert content_of(folder) == before
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_many_conflicts_are_counted_not_listed(put, folder):
    for number in range(9):
        (folder / f"f{number}").write_text("mine")
    with pytest.raises(ArchiveError, match=r"f0, .*f4 and 4 more"):
        put({f"f{number}": "theirs" for number in range(9)})


def test_links_are_moved_and_compared_as_links(put, folder):
    content = {"d": None, "d/a": "a1", "l": b"d/a"}
    known = put(content)
    assert os.readlink(folder / "l") == "d/a"
    put(content)
    put({**content, "d/b": "b2", "l": b"d/b"}, known)
    assert os.readlink(folder / "l") == "d/b"


def test_folders_that_two_processes_place_at_once_are_merged(put, folder, monkeypatch):
    """The other one was between our look and our move."""
    put(OLD)
    monkeypatch.setattr("befit.files.place._decision", lambda *_, **__: "move")
    put({**OLD, "d/new": "n"})
    assert content_of(folder) == {**OLD, "d/new": "n"}


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no /proc to count descriptors")
@pytest.mark.parametrize("way", ["descriptors"], indirect=True)
@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_folder_that_cannot_be_opened_leaves_no_descriptor_open(put, monkeypatch, failing):
    put({"d": None, "d/a": "a1"})
    openings = []

    def exhausted(*args, original=os.open, **kwargs):
        openings.append(args)
        if len(openings) == failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return original(*args, **kwargs)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "open", exhausted)
    with pytest.raises(OSError, match="Too many open files"):
        put({"d": None, "d/b": "b1"})
    assert len(os.listdir("/proc/self/fd")) == before
