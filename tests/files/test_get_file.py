"""``get_file`` as documented: where files go, what is returned, what is verified, what is left alone."""

import hashlib
import inspect
import os
from pathlib import Path

import pytest

from befit.errors import (
    ArgumentError,
    BefitError,
    DigestError,
    DownloadError,
    OfflineError,
)
from befit.files import get_file

SHA256 = hashlib.sha256(b"content").hexdigest()
NOWHERE = "http://127.0.0.1:1/nothing-listens-here.txt"
FLOWER = {"rose.txt": "red", "deep/iris.txt": "blue"}


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_the_documented_signature():
    documented = [
        *("fname", "origin", "untar", "md5_hash", "file_hash", "cache_subdir"),
        *("hash_algorithm", "extract", "archive_format", "cache_dir"),
    ]
    parameters = inspect.signature(get_file).parameters
    assert list(parameters)[: len(documented)] == documented
    defaults = {
        "untar": False,
        "cache_subdir": "datasets",
        "hash_algorithm": "auto",
        "archive_format": "auto",
    }
    assert {name: parameters[name].default for name in defaults} == defaults
    added = [parameter.kind for name, parameter in parameters.items() if name not in documented]
    assert set(added) == {inspect.Parameter.KEYWORD_ONLY}


# The file


def test_the_documented_example(server):
    """``example.txt`` is at ``<KERAS_HOME>/datasets/example.txt``, and a second call asks nobody."""
    url = server.serve("/some/where", b"content")
    path = get_file("example.txt", url)
    assert path == os.path.join(os.environ["KERAS_HOME"], "datasets", "example.txt")
    assert Path(path).read_bytes() == b"content"
    assert get_file("example.txt", url) == path
    assert len(server.seen) == 1


def test_a_url_alone_names_the_file(server, cache):
    url = server.serve("/data/iris%20data.csv?version=2", b"content")
    assert get_file(origin=url, cache_dir=cache) == str(cache / "datasets" / "iris data.csv")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("name",), "got None"), (("https://h/x",), "get_file\\(origin='https://h/x'\\)"), ((), "origin")],
)
def test_a_missing_origin_is_said(arguments, says):
    with pytest.raises(ArgumentError, match=says):
        get_file(*arguments)


def test_a_relative_cache_gives_a_relative_path_as_in_keras(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert get_file("f", source(b"x"), cache_dir=".", cache_subdir="") == "f"


def test_a_folder_of_that_name_is_not_a_file(source, cache):
    (cache / "datasets" / "f").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(ArgumentError, match="is a folder; pass another fname"):
            get_file("f", source(b"x"), cache_dir=cache, force_download=force)


def test_a_subfolder_in_the_name_is_created(source, cache):
    path = get_file("a/b/c.txt", source(b"x"), cache_dir=cache)
    assert path == str(cache / "datasets" / "a" / "b" / "c.txt")
    assert Path(path).read_bytes() == b"x"


def test_a_link_in_the_cache_is_read_and_replaced_not_written_through(source, cache, tmp_path):
    (cache / "datasets").mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (cache / "datasets" / "f").symlink_to(elsewhere)
    assert Path(get_file("f", NOWHERE, cache_dir=cache)).read_text() == "theirs"
    path = get_file("f", source(b"content"), file_hash=SHA256, cache_dir=cache)
    assert Path(path).read_text() == "content"
    assert elsewhere.read_text() == "theirs"


def test_force_download_replaces_the_file(server, cache):
    url = server.serve("/f", b"old", b"new")
    path = Path(get_file("f", url, cache_dir=cache))
    assert path.read_bytes() == b"old"
    get_file("f", url, cache_dir=cache, force_download=True)
    assert path.read_bytes() == b"new"


def test_a_failed_download_leaves_the_old_file(server, answer, cache, files_in):
    url = server.serve("/f", b"old", answer(b"new content", sent=3))
    path = Path(get_file("f", url, cache_dir=cache))
    with pytest.raises(DownloadError):
        get_file("f", url, cache_dir=cache, force_download=True, retries=1)
    assert path.read_bytes() == b"old"
    assert files_in(cache) == {"datasets", "datasets/f", "datasets/.f.stamp.json"}


def test_ctrl_c_leaves_nothing(server, cache, files_in, monkeypatch):
    from befit.files.digest import Hasher

    def interrupt(self, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(Hasher, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        get_file("f", server.serve("/f", b"content"), cache_dir=cache)
    assert files_in(cache) == {"datasets"}


def test_a_progress_bar_shows_the_bytes(server, cache, capsys):
    get_file("shown.txt", server.serve("/f", bytes(300_000)), cache_dir=cache, progress=True)
    shown = capsys.readouterr()
    assert "shown.txt: 100%" in shown.err
    assert shown.out == ""
    get_file("silent.txt", server.serve("/f", bytes(300_000)), cache_dir=cache)
    assert capsys.readouterr().err == ""


# The digest


@pytest.mark.parametrize(
    "digest",
    [
        {"file_hash": SHA256},
        {"file_hash": SHA256.upper()},
        {"file_hash": f"sha256:{SHA256}"},
        {"file_hash": SHA256, "hash_algorithm": "".join(["sha", "256"])},
        {"file_hash": hashlib.md5(b"content").hexdigest()},
        {"md5_hash": hashlib.md5(b"content").hexdigest()},
        {"md5_hash": hashlib.md5(b"content").hexdigest(), "hash_algorithm": "sha256"},
        {"file_hash": hashlib.sha512(b"content").hexdigest()},
        {"file_hash": hashlib.sha1(b"content").hexdigest()},
    ],
)
def test_a_digest_in_any_spelling_is_verified_once_and_hit_again(server, cache, digest):
    url = server.serve("/f", b"content")
    for _ in range(3):
        assert Path(get_file("f", url, cache_dir=cache, **digest)).read_bytes() == b"content"
    assert len(server.seen) == 1


@pytest.mark.parametrize("cached", [None, b"older file"])
@pytest.mark.parametrize("name", ["md5_hash", "file_hash"])
def test_wrong_bytes_never_reach_the_cache(server, cache, files_in, cached, name):
    """Keras 2.1 never looked after a download; later ones left the bad file for the next call."""
    if cached is not None:
        (cache / "datasets").mkdir(parents=True)
        (cache / "datasets" / "f").write_bytes(cached)
    expected = hashlib.new("md5" if name == "md5_hash" else "sha256", b"content").hexdigest()
    with pytest.raises(DigestError) as caught:
        get_file("f", server.serve("/f", b"tampered"), cache_dir=cache, **{name: expected})
    message = str(caught.value)
    for part in (
        expected,
        server.url("/f"),
        "8 bytes",
        hashlib.new("md5" if "md5" in message else "sha256", b"tampered").hexdigest(),
    ):
        assert part in message
    assert files_in(cache) == {"datasets"} | ({"datasets/f"} if cached else set())
    if cached:
        assert (cache / "datasets" / "f").read_bytes() == cached
        assert "stays as it was" in message


def test_a_cached_file_with_another_digest_is_downloaded_again(server, cache):
    url = server.serve("/f", b"content")
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets" / "f").write_bytes(b"partial, as Keras leaves it")
    assert Path(get_file("f", url, cache_dir=cache, file_hash=SHA256)).read_bytes() == b"content"
    assert len(server.seen) == 1


def test_a_login_page_instead_of_a_file_is_called_one(server, cache, files_in):
    url = server.serve("/f", b"<!DOCTYPE html>\n<title>Please log in</title>")
    with pytest.raises(DigestError, match="web page"):
        get_file("data.bin", url, cache_dir=cache, file_hash=SHA256)
    with pytest.raises(DownloadError, match="web page"):
        get_file("weights.h5", url, cache_dir=cache)
    with pytest.raises(DownloadError, match="web page"):
        get_file("flower", url, cache_dir=cache, untar=True)
    assert files_in(cache) == {"datasets"}
    assert Path(get_file("page.html", url, cache_dir=cache)).exists()
    assert Path(get_file("README", url, cache_dir=cache)).exists()


# Offline


@pytest.fixture(params=["argument", "environment"])
def offline(request, monkeypatch):
    if request.param == "environment":
        monkeypatch.setenv("BEFIT_OFFLINE", "1")
        return {}
    return {"offline": True}


def test_offline_takes_what_is_cached(server, cache, offline, flower):
    url, archive = server.serve("/f", b"content"), server.serve("/flower", flower)
    get_file("f", url, cache_dir=cache, offline=False)
    get_file("flower.tar.gz", archive, cache_dir=cache, offline=False)
    assert get_file("f", url, cache_dir=cache, file_hash=SHA256, **offline) == str(cache / "datasets" / "f")
    assert content_of(get_file("flower", archive, cache_dir=cache, untar=True, **offline)) == FLOWER
    assert len(server.seen) == 2


def test_offline_reads_files_of_this_machine(tmp_path, cache, offline):
    """A ``file`` URL needs no network, so ``offline`` does not stand in its way."""
    (tmp_path / "source").write_bytes(b"local")
    path = get_file("f", (tmp_path / "source").as_uri(), cache_dir=cache, **offline)
    assert Path(path).read_bytes() == b"local"


def test_offline_asks_no_mirror_either(server, tmp_path, cache, offline):
    mirror = server.serve("/f", b"content")
    missing = (tmp_path / "missing").as_uri()
    with pytest.raises(DownloadError, match="No such file"):
        get_file("f", missing, mirrors=[mirror], cache_dir=cache, **offline)
    assert server.seen == []
    assert get_file("f", missing, mirrors=mirror, cache_dir=cache, offline=False)


def test_offline_never_asks(server, cache, offline):
    url = server.serve("/f", b"other")
    with pytest.raises(OfflineError, match="does not exist; go online once for"):
        get_file("f", url, cache_dir=cache, **offline)
    assert not cache.exists()
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets" / "f").write_bytes(b"other")
    with pytest.raises(OfflineError, match="another digest"):
        get_file("f", url, cache_dir=cache, file_hash=SHA256, **offline)
    with pytest.raises(OfflineError, match="force_download"):
        get_file("f", url, cache_dir=cache, force_download=True, **offline)
    assert server.seen == []


def test_an_argument_is_stronger_than_the_environment(server, cache, monkeypatch):
    monkeypatch.setenv("BEFIT_OFFLINE", "1")
    assert get_file("f", server.serve("/f", b"content"), cache_dir=cache, offline=False)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hash_algorithm": "crc32"},
        {"file_hash": "abc"},
        {"archive_format": "gz", "extract": True},
        {"timeout": 0},
        {"retries": -1},
        {"headers": {"A": "b\n"}},
        {"fname": "../x"},
        {"fname": ".."},
        {"fname": ""},
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_happens(cache, arguments):
    with pytest.raises(ArgumentError) as caught:
        get_file(**{"fname": "x", "origin": NOWHERE, "cache_dir": cache, **arguments})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, BefitError)
    assert not cache.exists()
