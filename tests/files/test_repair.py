"""An extraction that lost a member, was edited, or was cut off: what is put back, and what is left alone."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from befit.errors import ArchiveError
from befit.files import get_file
from befit.files.digest import digests_of
from befit.files.marker import read_marker, read_members

CONTENT = {f"flower/{folder}/{name}": f"{folder} {name}" for folder in ("a", "b", "c") for name in "xyz"}


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".gz"
    }


def state_of(folder):
    """What every file is, down to the file system's own number of it."""
    return {
        path: (path.lstat().st_ino, path.lstat().st_mtime_ns, path.read_bytes())
        for path in Path(folder).rglob("*")
        if path.is_file() and not path.name.endswith((".json", ".lock"))
    }


@pytest.fixture
def garden(archives):
    return archives.tar(*((name, text.encode()) for name, text in CONTENT.items()))


@pytest.fixture
def url(server, garden):
    return server.serve("/f", garden)


@pytest.fixture(params=["untar", "extract"])
def get(request, url, cache):
    """Download and extract; returns the folder that holds ``flower``."""

    def call(**arguments):
        get_file("flower.tar.gz", url, cache_dir=cache, **{request.param: True}, **arguments)
        return cache / "datasets"

    return call


@pytest.fixture
def extractions(monkeypatch):
    """How often an archive was unpacked."""
    from befit.files import obtain

    noted = []

    def counted(*args, original=obtain.extract, **kwargs):
        noted.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(obtain, "extract", counted)
    return noted


def test_a_whole_extraction_is_not_done_again(get, extractions):
    for _ in range(3):
        assert content_of(get()) == CONTENT
    assert len(extractions) == 1


@pytest.mark.parametrize("name", ["a/x", "c/z"])
def test_one_missing_member_is_put_back_and_nothing_else_moves(get, server, extractions, name):
    datasets = get()
    before = state_of(datasets)
    (datasets / "flower" / name).unlink()
    get()
    after = state_of(datasets)
    missing = datasets / "flower" / name
    assert after.pop(missing)[2] == before.pop(missing)[2]
    assert after == before, "the others are the very same files"
    assert len(extractions) == 2
    get()
    assert len(extractions) == 2
    assert len(server.seen) == 1


def test_edits_stay_while_a_member_is_put_back(get):
    datasets = get()
    flower = datasets / "flower"
    (flower / "a/x").write_text("edited")
    (flower / "a/y").write_text("")
    (flower / "b/own").write_text("mine")
    replacement = flower / "b/x.new"
    replacement.write_text("saved by an editor that renames")
    os.replace(replacement, flower / "b/x")
    (flower / "c/z").unlink()
    expected = {
        **CONTENT,
        "flower/a/x": "edited",
        "flower/a/y": "",
        "flower/b/own": "mine",
        "flower/b/x": "saved by an editor that renames",
    }
    for _ in range(2):
        get()
        assert content_of(datasets) == expected
    (flower / "c/z").unlink()
    get()
    assert content_of(datasets) == expected, "still known to be edits"


def test_a_folder_that_was_removed_comes_back(get):
    datasets = get()
    for name in "xyz":
        (datasets / "flower/b" / name).unlink()
    (datasets / "flower/b").rmdir()
    get()
    assert content_of(datasets) == CONTENT


@pytest.mark.parametrize(
    "records", [[".extracted.json"], [".members.json"], [".extracted.json", ".members.json"]]
)
def test_lost_records_are_made_anew_over_what_is_there(get, records, extractions):
    """As where the process was killed before it wrote them: the same content is kept, not written again."""
    datasets = get()
    before = state_of(datasets)
    for record in datasets.glob(".flower*"):
        if any(record.name.endswith(suffix) for suffix in records):
            record.unlink()
    (datasets / "flower/c/z").unlink()
    get()
    after = state_of(datasets)
    assert content_of(datasets) == CONTENT
    missing = datasets / "flower/c/z"
    assert {path: state for path, state in after.items() if path != missing} == {
        path: state for path, state in before.items() if path != missing
    }
    get()
    assert len(extractions) == 2


@pytest.mark.parametrize("step", ["decide", "move", "write_marker"])
def test_a_killed_extraction_is_finished_by_the_next_call(get, monkeypatch, step):
    with monkeypatch.context() as broken:
        broken.setattr(f"befit.files.obtain.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            get()
    datasets = get()
    assert content_of(datasets) == CONTENT
    (marker,) = datasets.glob(".*.extracted.json")
    members = read_members(marker, read_marker(marker))
    assert {"/".join(parts) for parts, record in members.items() if record.kind == "file"} == set(CONTENT)


def killed(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def half_replaced(server, cache, archives, monkeypatch):
    """A second version was about to replace the first; the process was killed when a part was in place."""
    first = archives.tar(*((name, b"first") for name in CONTENT))
    second = archives.tar(*((name, b"second") for name in CONTENT))
    url = server.serve("/f", first, second, second, first)
    folder = Path(get_file("flower", url, untar=True, cache_dir=cache))

    def replace_some(source, target, original=os.replace, **kwargs):
        if len([path for path in folder.rglob("?") if path.is_file() and path.read_text() == "second"]) == 4:
            raise KeyboardInterrupt
        original(source, target, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr("befit.files.place.os.replace", replace_some)
        with pytest.raises(KeyboardInterrupt):
            get_file("flower", url, untar=True, cache_dir=cache, force_download=True)
    assert sorted(content_of(folder).values()) == ["first"] * 5 + ["second"] * 4
    return url, folder, {"first": first, "second": second}


def test_a_replacement_that_was_killed_is_finished_by_the_next_call(half_replaced, cache):
    url, folder, _ = half_replaced
    get_file("flower", url, untar=True, cache_dir=cache)
    assert set(content_of(folder).values()) == {"second"}


def test_after_a_killed_replacement_the_older_version_is_not_taken_for_whole(half_replaced, cache):
    """Its record says that it was extracted; but some members are the newer one's already."""
    url, folder, versions = half_replaced
    (cache / "datasets" / "flower.tar.gz").write_bytes(versions["first"])
    with pytest.raises(ArchiveError, match="nothing was replaced"):
        get_file("flower", url, untar=True, cache_dir=cache)
    get_file("flower", url, untar=True, cache_dir=cache, force_download=True)
    assert set(content_of(folder).values()) == {"second"}


@pytest.mark.parametrize("record", [".members.", ".extracted."])
def test_a_record_that_was_half_written_is_removed_when_there_is_work_again(cache, monkeypatch, record, get):
    """The process ends where it can clean up nothing any more."""
    left = []

    def write_half(source, target, original=os.replace, **keywords):
        if record in str(target):
            left.append(Path(source))
            raise KeyboardInterrupt
        original(source, target, **keywords)

    def unlink(path, original=Path.unlink, **keywords):
        if path not in left:
            original(path, **keywords)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", write_half)
        broken.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert left[0].exists()
    monkeypatch.setattr("befit._internal.staging._is_abandoned", lambda *_: True)
    get()
    assert not left[0].exists()
    assert content_of(cache / "datasets") == CONTENT


def test_loose_members_in_a_folder_that_others_use_too(server, cache, archives, monkeypatch):
    """The shared folder changes with every download; then befit looks at its own members, once."""
    url = server.serve("/f", archives.tar(("x", b"xx"), ("y", b"yy"), ("d/z", b"zz")))
    other = server.serve("/other", b"other")
    read = []

    def counted(*args, original=read_members):
        read.append(args)
        return original(*args)

    def get():
        get_file("f.tar.gz", url, extract=True, cache_dir=cache)

    get()
    monkeypatch.setattr("befit.files.marker.read_members", counted)
    monkeypatch.setattr("befit.files.marker.time_ns", lambda: time.time_ns() + 5 * 10**9)
    get()
    assert len(read) == 0
    get_file("other", other, cache_dir=cache)
    for _ in range(3):
        get()
    assert len(read) == 1
    (cache / "datasets" / "y").unlink()
    get()
    assert (cache / "datasets" / "y").read_text() == "yy"


def test_an_archive_with_another_known_digest_is_not_another_archive(server, cache, garden, monkeypatch):
    """First its MD5 was asked for, then its SHA-256: it is read for the second one, and edits stay edits."""
    url = server.serve("/f", garden)
    digests = [hashlib.new(name, garden).hexdigest() for name in ("md5", "sha256")]
    read = []

    def counted(path, algorithms):
        read.append(set(algorithms))
        return digests_of(path, algorithms)

    folder = Path(get_file("flower", url, untar=True, file_hash=digests[0], cache_dir=cache))
    monkeypatch.setattr("befit.files.digest.time_ns", lambda: time.time_ns() + 5 * 10**9)
    monkeypatch.setattr("befit.files.digest.digests_of", counted)
    (folder / "a/x").write_text("edited")
    (folder / "a/y").unlink()
    for _ in range(2):
        get_file("flower", url, untar=True, file_hash=digests[1], cache_dir=cache)
    assert read == [{"md5", "sha256"}]
    assert content_of(cache / "datasets") == {**CONTENT, "flower/a/x": "edited"}
    assert len(server.seen) == 1


def test_another_download_of_the_same_archive_keeps_edits(server, cache, garden):
    """The archive was lost, and comes again with a digest of another kind than the marker has."""
    url = server.serve("/f", garden)
    folder = Path(
        get_file("flower", url, untar=True, md5_hash=hashlib.md5(garden).hexdigest(), cache_dir=cache)
    )
    (folder / "a/x").write_text("edited")
    (cache / "datasets" / "flower.tar.gz").unlink()
    get_file("flower", url, untar=True, file_hash=hashlib.sha256(garden).hexdigest(), cache_dir=cache)
    assert content_of(cache / "datasets") == {**CONTENT, "flower/a/x": "edited"}
    assert len(server.seen) == 2
