"""Origins that fsspec reads, played by its own file system in memory."""

import sys

import pytest

from befit.errors import ArgumentError, DownloadError, MissingDependencyError
from befit.files import get_file, remote
from befit.files.options import TransferOptions
from befit.files.remote import RemoteOrigin

fsspec = pytest.importorskip("fsspec")
CONTENT = bytes(range(251)) * 5000


@pytest.fixture
def memory():
    client = fsspec.filesystem("memory")
    client.pipe_file("/bucket/data.bin", CONTENT)
    yield client
    client.store.clear()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(remote, "_PIECE", 100_000)


def test_a_file_that_fsspec_reads(memory, cache):
    path = get_file(origin="memory://bucket/data.bin", cache_dir=cache)
    assert path == str(cache / "datasets" / "data.bin")
    with open(path, "rb") as file:
        assert file.read() == CONTENT
    memory.rm("/bucket/data.bin")
    assert get_file(origin="memory://bucket/data.bin", cache_dir=cache) == path


def test_a_file_that_changes_meanwhile_is_not_mixed(memory, cache, monkeypatch):
    really = memory.cat_file
    pieces = []

    def cat_file(path, start=None, end=None, **options):
        data = really(path, start, end, **options)
        pieces.append(start)
        if len(pieces) == 3:
            memory.pipe_file("/bucket/data.bin", CONTENT[::-1])
        return data

    monkeypatch.setattr(memory, "cat_file", cat_file)
    path = get_file(origin="memory://bucket/data.bin", cache_dir=cache)
    with open(path, "rb") as file:
        assert file.read() == CONTENT[::-1]
    assert pieces[3] == 0, "it began again"


def test_what_passes_is_tried_again(memory, cache, monkeypatch, pauses):
    really = memory.cat_file
    failures = iter([ConnectionError("reset"), RuntimeError("of the client's own")])

    def cat_file(path, start=None, end=None, **options):
        if start and (failure := next(failures, None)) is not None:
            raise failure
        return really(path, start, end, **options)

    monkeypatch.setattr(memory, "cat_file", cat_file)
    with open(get_file(origin="memory://bucket/data.bin", cache_dir=cache), "rb") as file:
        assert file.read() == CONTENT
    assert len(pauses) == 2


def test_what_is_not_there(memory, cache):
    with pytest.raises(DownloadError, match=r"there is no such file: memory://bucket/other\.bin"):
        get_file(origin="memory://bucket/other.bin", cache_dir=cache)
    with pytest.raises(DownloadError, match="is a folder"):
        get_file("name", "memory://bucket", cache_dir=cache)


@pytest.mark.parametrize("origin", ["data:,x", "gopher://h/x", "simplecache::memory://b/x", "memory:"])
def test_what_fsspec_cannot_read_so(memory, cache, origin):
    with pytest.raises(ArgumentError, match=r"scheme|no URL"):
        get_file("x", origin, cache_dir=cache)


def test_a_client_that_is_not_installed_is_named(monkeypatch):
    known = {"far": {"class": "no_such_package.FS", "err": "install farfs to reach far"}}
    monkeypatch.setattr(sys.modules["fsspec.registry"], "known_implementations", known)
    with pytest.raises(MissingDependencyError, match=r"reading far URLs: .*install farfs"):
        RemoteOrigin("far://host/data", TransferOptions())


def test_options_reach_the_client(memory, cache, monkeypatch):
    def refuse(path, **options):
        raise TypeError(f"unexpected {options}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(ArgumentError, match=r"unexpected \{'colour': 'green'\}"):
        get_file("x", "memory://b/x", cache_dir=cache, storage_options={"colour": "green"})


def test_no_secret_is_shown(memory, cache):
    with pytest.raises(DownloadError) as caught:
        get_file("x", "memory://me:passw0rd@bucket/other.bin?signature=s1gn", cache_dir=cache)
    assert "passw0rd" not in str(caught.value)
    assert "s1gn" not in str(caught.value)
