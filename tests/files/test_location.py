"""Where files live."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from befit.errors import ArgumentError, DownloadError
from befit.files.location import Location, locate, name_from_url, private_folder, writable_location

URL = "https://example.org/data/flower.tar.gz?version=2#top"


def place(fname=None, origin=URL, *, untar=False, cache_subdir="datasets", cache_dir="/c"):
    return locate(fname, origin, untar=untar, cache_subdir=cache_subdir, cache_dir=cache_dir)


def test_the_documented_place(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert place("example.txt", cache_dir=None).file == tmp_path / "datasets" / "example.txt"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert place("example.txt", cache_dir=None).file == tmp_path / ".keras" / "datasets" / "example.txt"
    assert place("example.txt", cache_dir="~/x").file == tmp_path / "x" / "datasets" / "example.txt"


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        ({"fname": "a.txt"}, "/c/datasets/a.txt"),
        ({"fname": Path("a.txt")}, "/c/datasets/a.txt"),
        ({"fname": "/abs/a.txt"}, "/abs/a.txt"),
        ({"fname": "a.txt", "cache_subdir": "/abs"}, "/abs/a.txt"),
        ({"fname": "a.txt", "cache_subdir": ""}, "/c/a.txt"),
        ({"fname": "a.txt", "cache_subdir": "x/y"}, "/c/x/y/a.txt"),
        ({"fname": "sub/a.txt"}, "/c/datasets/sub/a.txt"),
        ({"fname": None}, "/c/datasets/flower.tar.gz"),
    ],
)
def test_absolute_paths_win_and_relative_ones_are_joined(arguments, file):
    assert place(**arguments) == Location(Path(file), Path(file), movable="/abs" not in str(arguments))


@pytest.mark.parametrize(
    ("fname", "archive", "folder"),
    [
        ("flower", "flower.tar.gz", "flower"),
        ("flower.tar.gz", "flower.tar.gz", "flower"),
        ("x.tgz", "x.tgz", "x"),
        ("x.TAR.BZ2", "x.TAR.BZ2", "x"),
        ("x.tar.bz", "x.tar.bz", "x"),
        ("x.txz", "x.txz", "x"),
        ("x.tar.zst", "x.tar.zst", "x"),
        ("x.tzst", "x.tzst", "x"),
        ("data.zip", "data.zip", "data"),
        ("v1.2", "v1.2.tar.gz", "v1.2"),
        ("v1.2.tar.gz", "v1.2.tar.gz", "v1.2"),
        ("a.train.tar", "a.train.tar", "a.train"),
        ("sub/flower", "sub/flower.tar.gz", "sub/flower"),
        (None, "flower.tar.gz", "flower"),
    ],
)
def test_untar_returns_the_name_without_the_suffix_of_an_archive(fname, archive, folder):
    found = place(fname, untar=True)
    assert (found.file, found.result) == (Path("/c/datasets", archive), Path("/c/datasets", folder))


@pytest.mark.parametrize(
    "fname", ["", ".", "..", "/", "a/..", "a/", "../a", "../../a", "a/../../b", "a\0b", "x" * 300]
)
def test_names_that_are_none_or_leave_the_cache_are_refused(fname):
    with pytest.raises(ArgumentError, match="fname"):
        place(fname)


def test_a_suffix_alone_names_no_folder():
    with pytest.raises(ArgumentError, match="leaves no name"):
        place(".tar.gz", untar=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://h",
        "https://h/",
        "https://h/a/",
        "https://h/..",
        "https://h/%2e%2e",
        "https://h/a%2fb",
        "https://h/a%5Cb",
        "https://h/a%00b",
    ],
)
def test_urls_that_end_with_no_name_ask_for_fname(url):
    with pytest.raises(ArgumentError, match="fname="):
        name_from_url(url)


def test_a_missing_cache_is_created(tmp_path):
    location = place("a/b.txt", cache_dir=tmp_path / "not" / "there")
    assert writable_location(location) == location
    assert location.folder.is_dir()
    assert list(location.folder.iterdir()) == []


def test_a_file_in_the_way_is_an_argument_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="a file is in its way"):
        writable_location(place("a.txt", cache_dir=tmp_path / "file"))


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes are POSIX")


@posix
def test_the_fallback_folder_belongs_to_the_user_alone(temporary_folder):
    folder = private_folder()
    assert folder.parent == temporary_folder
    assert folder.lstat().st_uid == os.getuid()
    assert folder.lstat().st_mode & 0o777 == 0o700
    assert private_folder() == folder


@posix
@pytest.mark.parametrize("plant", ["open", "link", "file", "foreign"])
def test_a_planted_fallback_folder_is_not_used(temporary_folder, plant):
    """Keras takes whatever lies at /tmp/.keras."""
    path = temporary_folder / f"befit-{os.getuid()}"
    if plant == "open":
        path.mkdir()
        path.chmod(0o777)
    elif plant == "link":
        (temporary_folder / "elsewhere").mkdir(mode=0o700)
        path.symlink_to("elsewhere")
    elif plant == "file":
        path.write_text("")
        path.chmod(0o600)
    else:
        if os.getuid() != 0:
            pytest.skip("only root can give a folder away")
        path.mkdir(mode=0o700)
        os.chown(path, 65534, 65534)
    with pytest.raises(DownloadError, match="not a private folder"):
        private_folder()


def test_an_absolute_place_that_cannot_be_written_is_an_error_not_a_surprise(monkeypatch):
    monkeypatch.setattr("befit.files.location._refusal", lambda file: "Read-only file system")
    with pytest.raises(DownloadError, match="cannot write to /abs: Read-only file system"):
        writable_location(place("/abs/file"))


UNPRIVILEGED = """
import os, sys, tempfile, warnings
from pathlib import Path
import befit.files, filelock, urllib.request, json
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
cache, other, origin, tempfile.tempdir = map(str, map(Path, sys.argv[1:5]))
warnings.simplefilter("error")
print(befit.files.get_file("held.txt", "https://unreachable.invalid/held.txt", cache_dir=cache))
try:
    befit.files.get_file("new.txt", Path(origin).as_uri(), cache_dir=cache)
except UserWarning as warning:
    print(warning)
warnings.simplefilter("ignore")
print(befit.files.get_file("new.txt", Path(origin).as_uri(), cache_dir=cache))
print(befit.files.get_file("new.txt", "https://unreachable.invalid/new.txt", cache_dir=cache))
print(befit.files.get_file("flower", "https://unreachable.invalid/x", untar=True, cache_dir=cache))
print(befit.files.get_file("new.txt", Path(other).as_uri(), cache_dir=os.path.dirname(cache)))
"""


@posix
def test_a_cache_that_cannot_be_written(tmp_path, flower):
    """Its files are used; others go to the private folder, which is announced."""
    held = tmp_path / "cache" / "datasets"
    held.mkdir(parents=True)
    (held / "held.txt").write_text("held")
    (held / "flower.tar.gz").write_bytes(flower)
    (tmp_path / "origin.txt").write_text("new")
    (tmp_path / "other.txt").write_text("other")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    temporary.chmod(0o777)
    for folder in (tmp_path, held, held.parent):
        folder.chmod(0o555)
    for parent in tmp_path.parents[:2]:  # pytest's own folders, which are closed to other users
        parent.chmod(0o755)
    arguments = [tmp_path / "cache", tmp_path / "other.txt", tmp_path / "origin.txt", temporary]
    try:
        run = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        for folder in (tmp_path, held, held.parent):
            folder.chmod(0o755)
    assert run.returncode == 0, run.stderr
    held_path, warning, new, again, unpacked, other = run.stdout.splitlines()
    assert held_path == str(held / "held.txt")
    assert "cannot be written; new.txt goes to" in warning
    assert Path(new).is_relative_to(temporary)
    assert Path(new).read_text() == "new"
    assert again == new
    assert Path(unpacked).is_relative_to(temporary)
    assert Path(unpacked, "rose.txt").read_text() == "red"
    assert other != new, "two caches must not meet in one fallback folder"
    assert Path(other).read_text() == "other"
    (private,) = temporary.iterdir()
    assert private.lstat().st_mode & 0o777 == 0o700
