"""``get_file`` with archives: the return values of Keras 2.1, where those led somewhere."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from befit.errors import ArchiveError, ArgumentError, UnsafeArchiveError
from befit.files import Limits, get_file

NOWHERE = "http://127.0.0.1:1/nothing-listens-here.txt"
FLOWER = {"rose.txt": "red", "deep/iris.txt": "blue"}


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("fname", "archive", "folder"),
    [
        ("flower", "flower.tar.gz", "flower"),
        ("flower.tar.gz", "flower.tar.gz", "flower"),
        ("flower.tgz", "flower.tgz", "flower"),
        (None, "flower.tar.gz", "flower"),
    ],
)
def test_untar_returns_the_folder(server, cache, flower, fname, archive, folder):
    url = server.serve("/x/flower.tar.gz", flower)
    for _ in range(2):
        path = get_file(fname, url, untar=True, cache_dir=cache)
        assert path == str(cache / "datasets" / folder)
        assert content_of(path) == FLOWER
    assert (cache / "datasets" / archive).read_bytes() == flower
    assert len(server.seen) == 1


def test_untar_returns_a_folder_even_if_the_archive_has_another(server, cache, archives):
    """Keras 2.1 returned a path that did not exist."""
    url = server.serve("/a", archives.tar(("data/x", b"xx")))
    assert content_of(get_file("nomatch", url, untar=True, cache_dir=cache)) == {"data/x": "xx"}
    url = server.serve("/b", archives.tar(("x", b"xx"), ("y", b"yy")))
    assert content_of(get_file("loose", url, untar=True, cache_dir=cache)) == {"x": "xx", "y": "yy"}
    url = server.serve("/c", archives.tar(("file", b"xx")))
    assert content_of(get_file("file", url, untar=True, cache_dir=cache)) == {"file": "xx"}
    url = server.serve("/d", archives.tar())
    assert content_of(get_file("empty", url, untar=True, cache_dir=cache)) == {}
    assert (cache / "datasets" / "empty").is_dir()


def test_untar_takes_a_zip_too(server, cache, archives):
    url = server.serve("/data.zip", archives.zip(("data/x", b"xx")))
    assert get_file("data.zip", url, untar=True, cache_dir=cache) == str(cache / "datasets" / "data")
    assert content_of(cache / "datasets" / "data") == {"x": "xx"}


def test_extract_returns_the_archive_with_the_members_beside_it(server, cache, flower):
    url = server.serve("/flower.tar.gz", flower)
    for _ in range(2):
        path = get_file("flower.tar.gz", url, extract=True, cache_dir=cache)
        assert path == str(cache / "datasets" / "flower.tar.gz")
        assert Path(path).read_bytes() == flower
        assert content_of(cache / "datasets" / "flower") == FLOWER
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", ["v1.2.tar.gz", "no suffix", "wrong.zip", "a/b.tgz"])
def test_extract_goes_by_content_not_by_name(server, cache, flower, name):
    path = get_file(name, server.serve("/f", flower), extract=True, cache_dir=cache)
    assert path == str(cache / "datasets" / name)
    assert content_of(Path(path).parent / "flower") == FLOWER


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_documented_format(server, cache, archives, mode):
    url = server.serve("/f", archives.tar(("flower/x", b"xx"), mode=mode))
    assert content_of(get_file("flower", url, untar=True, archive_format="tar", cache_dir=cache)) == {
        "x": "xx"
    }


def test_an_archive_whose_folder_has_the_name_of_the_archive(server, cache, flower, files_in):
    """Keras 2.1 raised NotADirectoryError here."""
    with pytest.raises(ArchiveError, match=r"holds 'flower', which is the name of the archive file itself"):
        get_file("flower", server.serve("/f", flower), extract=True, cache_dir=cache)
    assert files_in(cache) == {"datasets"}


@pytest.mark.parametrize("archive_format", [None, []])
def test_no_format_means_no_extraction(server, cache, flower, files_in, archive_format):
    url = server.serve("/f", flower)
    path = get_file("flower.tar.gz", url, extract=True, archive_format=archive_format, cache_dir=cache)
    assert Path(path).read_bytes() == flower
    assert files_in(cache) == {"datasets", "datasets/flower.tar.gz", "datasets/.flower.tar.gz.stamp.json"}
    with pytest.raises(ArgumentError, match=r"archive_format=.* forbids it"):
        get_file("flower", url, untar=True, archive_format=archive_format, cache_dir=cache)


def test_what_cannot_be_extracted_is_an_error(server, cache, files_in):
    """Keras 2.1 returned the path and extracted nothing; Keras 3 returns a path that does not exist."""
    url = server.serve("/f", gzip.compress(b"a,b\n1,2\n"))
    for arguments in ({"extract": True}, {"untar": True}):
        with pytest.raises(ArchiveError, match="single gzip-compressed file"):
            get_file("data.csv.gz", url, cache_dir=cache, **arguments)
    assert files_in(cache) == {"datasets"}


def test_a_file_with_the_right_digest_is_kept_even_if_it_cannot_be_extracted(server, cache):
    content = gzip.compress(b"a,b\n1,2\n", mtime=0)
    url, digest = server.serve("/f", content), hashlib.sha256(content).hexdigest()
    for _ in range(2):
        with pytest.raises(ArchiveError, match="single gzip-compressed file"):
            get_file("data.csv.gz", url, extract=True, file_hash=digest, cache_dir=cache)
    assert (cache / "datasets" / "data.csv.gz").read_bytes() == content
    assert len(server.seen) == 1


def test_a_broken_archive_in_the_cache_is_downloaded_again(server, cache, flower):
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets" / "flower.tar.gz").write_bytes(flower[:-20])
    url = server.serve("/f", flower)
    assert content_of(get_file("flower", url, untar=True, cache_dir=cache)) == FLOWER
    assert (cache / "datasets" / "flower.tar.gz").read_bytes() == flower


def test_a_corrupt_archive_harms_no_other_dataset(server, cache, flower):
    """Keras 2.1 removed the whole folder."""
    (cache / "datasets" / "mnist").mkdir(parents=True)
    (cache / "datasets" / "mnist" / "x").write_text("precious")
    with pytest.raises(ArchiveError):
        get_file("flower", server.serve("/f", flower[:-20]), untar=True, cache_dir=cache)
    assert content_of(cache / "datasets" / "mnist") == {"x": "precious"}


def test_an_extraction_happens_once_and_keeps_edits(server, cache, flower):
    """Keras 3 extracts at every call, over what the user has changed."""
    url = server.serve("/f", flower)
    folder = Path(get_file("flower", url, untar=True, cache_dir=cache))
    (folder / "rose.txt").write_text("edited")
    (folder / "own.txt").write_text("mine")
    get_file("flower", url, untar=True, cache_dir=cache)
    (folder / "deep" / "iris.txt").unlink()
    get_file("flower", url, untar=True, cache_dir=cache)
    assert content_of(folder) == {"rose.txt": "edited", "own.txt": "mine", "deep/iris.txt": "blue"}
    get_file("flower", url, untar=True, cache_dir=cache, force_download=True)
    assert content_of(folder) == {**FLOWER, "own.txt": "mine"}


def test_an_extraction_by_keras_is_taken_over(server, cache, flower):
    """Whole: nothing is written again. With another content: befit asks, it does not overwrite."""
    datasets = cache / "datasets"
    datasets.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(flower)) as archive:
        archive.extractall(datasets, filter="data")
    os.utime(datasets / "flower" / "rose.txt", ns=(5, 5))
    (datasets / "flower.tar.gz").write_bytes(flower)
    get_file("flower", NOWHERE, untar=True, cache_dir=cache)
    assert (datasets / "flower" / "rose.txt").stat().st_mtime_ns == 5
    (datasets / ".flower.extracted.json").unlink()
    (datasets / "flower" / "rose.txt").write_text("edited")
    with pytest.raises(ArchiveError, match=r"rose\.txt; nothing was replaced"):
        get_file("flower", NOWHERE, untar=True, cache_dir=cache)
    assert content_of(datasets / "flower") == {**FLOWER, "rose.txt": "edited"}


def test_an_archive_does_not_replace_another_dataset(server, cache, archives):
    get_file("mnist.npz", server.serve("/mnist", b"digits"), cache_dir=cache)
    url = server.serve("/f", archives.tar(("mnist.npz", b"poison"), ("flower/x", b"xx")))
    with pytest.raises(ArchiveError, match=r"mnist\.npz; nothing was replaced"):
        get_file("flower.tar.gz", url, extract=True, cache_dir=cache)
    assert (cache / "datasets" / "mnist.npz").read_bytes() == b"digits"
    assert not (cache / "datasets" / "flower").exists()


def test_a_refusal_changes_nothing_not_even_the_archive(server, cache, archives, flower, files_in):
    """``force_download`` brings another archive, and a file of the user stands where a member belongs."""
    new = archives.tar(("flower/rose.txt", b"white"), ("flower/new.txt", b"new"))
    url = server.serve("/f", flower, new)
    folder = Path(get_file("flower", url, untar=True, cache_dir=cache))
    (folder / "new.txt").write_text("mine")
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    with pytest.raises(ArchiveError, match=r"new\.txt; nothing was replaced"):
        get_file("flower", url, untar=True, cache_dir=cache, force_download=True)
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before
    get_file("flower", NOWHERE, untar=True, cache_dir=cache)
    (folder / "new.txt").unlink()
    get_file("flower", url, untar=True, cache_dir=cache, force_download=True)
    assert content_of(folder) == {"rose.txt": "white", "new.txt": "new", "deep/iris.txt": "blue"}
    assert (cache / "datasets" / "flower.tar.gz").read_bytes() == new


def test_a_refusal_leaves_the_record_of_the_last_extraction(server, cache, archives, flower):
    """The archive in the cache was exchanged by hand; its members do not fit."""
    folder = Path(get_file("flower", server.serve("/f", flower), untar=True, cache_dir=cache))
    (folder / "new.txt").write_text("mine")
    record = (cache / "datasets" / ".flower.extracted.json").read_bytes()
    (cache / "datasets" / "flower.tar.gz").write_bytes(archives.tar(("flower/new.txt", b"new")))
    with pytest.raises(ArchiveError, match="nothing was replaced"):
        get_file("flower", NOWHERE, untar=True, cache_dir=cache)
    assert (cache / "datasets" / ".flower.extracted.json").read_bytes() == record


def test_a_cached_archive_is_read_once_for_its_digest(cache, flower, readings):
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets" / "flower.tar.gz").write_bytes(flower)
    digest = hashlib.sha256(flower).hexdigest()
    for offline in (True, False):
        get_file("flower", NOWHERE, untar=True, file_hash=digest, cache_dir=cache, offline=offline)
        assert readings == [{"sha256"}]
        readings.clear()


def test_a_touched_archive_is_read_once_and_not_at_every_call(server, cache, flower, readings, later):
    url = server.serve("/f", flower)
    get_file("flower", url, untar=True, cache_dir=cache)
    os.utime(cache / "datasets" / "flower.tar.gz", ns=(1, 1))
    later()
    for _ in range(3):
        assert content_of(get_file("flower", url, untar=True, cache_dir=cache)) == FLOWER
    assert readings == [{"sha256"}]
    assert len(server.seen) == 1


def test_a_touched_archive_in_a_cache_that_cannot_be_written(server, cache, flower, readings, monkeypatch):
    url = server.serve("/f", flower)
    get_file("flower", url, untar=True, cache_dir=cache)
    os.utime(cache / "datasets" / "flower.tar.gz", ns=(1, 1))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("befit.files.marker.part_file", refuse)
    monkeypatch.setattr("befit.files.stamp._never_through_a_link", refuse)
    assert content_of(get_file("flower", url, untar=True, cache_dir=cache)) == FLOWER
    assert readings == [{"sha256"}]


def test_a_new_version_replaces_the_old_members(server, cache, archives, flower):
    new = archives.tar(("flower/rose.txt", b"white"))
    url = server.serve("/f", flower, new)
    folder = get_file("flower", url, untar=True, cache_dir=cache)
    digest = hashlib.sha256(new).hexdigest()
    get_file("flower", url, untar=True, cache_dir=cache, file_hash=digest)
    assert content_of(folder) == {"rose.txt": "white", "deep/iris.txt": "blue"}


def test_the_same_archive_for_untar_and_extract(server, cache, archives):
    """Each way has its own record; neither undoes the other."""
    url = server.serve("/data.zip", archives.zip(("x", b"xx")))
    for _ in range(2):
        assert content_of(get_file("data.zip", url, untar=True, cache_dir=cache)) == {"x": "xx"}
        get_file("data.zip", url, extract=True, cache_dir=cache)
        assert (cache / "datasets" / "x").read_text() == "xx"
    assert len(server.seen) == 1


def test_limits_can_be_set(server, cache, flower):
    url = server.serve("/f", flower)
    with pytest.raises(UnsafeArchiveError, match="more than 3 members"):
        get_file("flower", url, untar=True, cache_dir=cache, limits=Limits(members=3))
    assert get_file("flower", url, untar=True, cache_dir=cache, limits=Limits(members=4))
