"""Warm hits: a file that is in the cache is looked at, not read; ``verify='always'`` reads it."""

import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from befit.errors import ArgumentError, OfflineError
from befit.files import get_file
from befit.files.stamp import Fingerprint, read_stamp, save_stamp, stamp_path

SHA256 = hashlib.sha256(b"content").hexdigest()
MD5 = hashlib.md5(b"content").hexdigest()


def known_digest(file, algorithm):
    """The digest that is known without reading the file."""
    stamp = read_stamp(file)
    is_same = stamp is not None and stamp.fingerprint.is_same(Fingerprint.of(file.stat()))
    return stamp.digests.get(algorithm) if is_same else None


@pytest.mark.parametrize("digest", [{"file_hash": SHA256}, {"md5_hash": MD5}, {}])
def test_a_downloaded_file_is_not_read_again(server, cache, readings, digest):
    url = server.serve("/f", b"content")
    for _ in range(3):
        path = Path(get_file("f", url, cache_dir=cache, **digest))
    assert readings == []
    assert len(server.seen) == 1
    stamp = read_stamp(path)
    assert stamp.digests == ({"md5": MD5} if "md5_hash" in digest else {"sha256": SHA256})
    assert stamp.url == url


def test_the_validator_of_the_server_is_recorded(server, answer, cache):
    url = server.serve("/f", answer(b"content", headers={"ETag": '"v1"'}))
    assert read_stamp(Path(get_file("f", url, cache_dir=cache))).validator == '"v1"'


@pytest.mark.skipif(os.name == "nt", reason="no time of change that nobody can set")
def test_a_changed_byte_with_the_old_time_is_downloaded_again(server, cache, later):
    url = server.serve("/f", b"content")
    path = Path(get_file("f", url, cache_dir=cache, file_hash=SHA256))
    found = path.stat()
    deadline = time.monotonic() + 5
    while path.stat().st_ctime_ns == found.st_ctime_ns and time.monotonic() < deadline:
        path.write_bytes(b"CONTENT")  # until the clock of the file system goes on
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_mtime_ns == found.st_mtime_ns
    get_file("f", url, cache_dir=cache, file_hash=SHA256)
    assert path.read_bytes() == b"content"
    assert len(server.seen) == 2


def test_a_file_of_another_tool_is_read_once(cache, readings, later, server):
    (cache / "datasets").mkdir(parents=True)
    (cache / "datasets" / "f").write_bytes(b"content")
    later()
    for _ in range(3):
        get_file("f", server.url("/f"), cache_dir=cache, file_hash=SHA256)
    assert readings == [{"sha256"}]
    assert server.seen == []


def test_a_file_that_the_user_replaced_is_read_once_if_it_is_the_expected_one(server, cache, readings, later):
    """The digest of another file is on record; the caller says that this one is right."""
    path = Path(get_file("f", server.serve("/f", b"older"), cache_dir=cache))
    path.write_bytes(b"content")
    later()
    for _ in range(3):
        get_file("f", server.url("/f"), cache_dir=cache, file_hash=SHA256)
    assert readings == [{"sha256"}]
    assert len(server.seen) == 1


def test_a_cache_that_cannot_be_written_is_used(server, cache, monkeypatch):
    url = server.serve("/f", b"content")
    path = Path(get_file("f", url, cache_dir=cache))
    stamp_path(path).unlink()

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("befit.files.stamp._never_through_a_link", refuse)
    for _ in range(2):
        assert get_file("f", url, cache_dir=cache, file_hash=SHA256) == str(path)
    assert len(server.seen) == 1


def test_the_day_of_the_last_use_is_noted(server, cache):
    url = server.serve("/f", b"content")
    path = Path(get_file("f", url, cache_dir=cache))
    os.utime(stamp_path(path), (1, 1))
    get_file("f", url, cache_dir=cache)
    assert time.time() - stamp_path(path).stat().st_mtime < 60
    assert known_digest(path, "sha256") == SHA256


# verify='always'


def damage(path):
    """Other bytes with the same stamp, as after an error of the disk."""
    found = path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    stamp = read_stamp(path)
    save_stamp(path, replace(stamp, fingerprint=Fingerprint.of(path.stat())))
    assert known_digest(path, "sha256") == SHA256


@pytest.mark.parametrize("digest", [{"file_hash": SHA256}, {}])
def test_a_damage_that_no_stamp_shows_is_found_and_mended(server, cache, later, digest):
    url = server.serve("/f", b"content")
    path = Path(get_file("f", url, cache_dir=cache, **digest))
    damage(path)
    later()
    get_file("f", url, cache_dir=cache, **digest)
    assert path.read_bytes() == b"CONTENT", "the stamp is believed"
    get_file("f", url, cache_dir=cache, verify="always", **digest)
    assert path.read_bytes() == b"content"
    assert len(server.seen) == 2


def test_offline_a_damage_is_an_error_again_and_again(server, cache, later):
    url = server.serve("/f", b"content")
    path = Path(get_file("f", url, cache_dir=cache))
    damage(path)
    later()
    for _ in range(2):
        with pytest.raises(OfflineError, match="another digest"):
            get_file("f", url, cache_dir=cache, verify="always", offline=True)
    assert path.read_bytes() == b"CONTENT"


def test_a_sound_file_is_read_at_every_call(server, cache, readings):
    url = server.serve("/f", b"content")
    get_file("f", url, cache_dir=cache)
    for _ in range(2):
        get_file("f", url, cache_dir=cache, verify="always")
    assert readings == [{"sha256"}] * 2
    assert len(server.seen) == 1


def test_what_has_no_record_yet_gets_one(cache, server, later):
    (cache / "datasets").mkdir(parents=True)
    path = cache / "datasets" / "f"
    path.write_bytes(b"content")
    later()
    get_file("f", server.serve("/f", b"content"), cache_dir=cache, verify="always")
    assert server.seen == []
    assert known_digest(path, "sha256") == SHA256
    path.write_bytes(b"CONTENT")
    get_file("f", server.url("/f"), cache_dir=cache, verify="always")
    assert path.read_bytes() == b"content"


@pytest.mark.parametrize("verify", ["never", True, None, ""])
def test_other_words_are_refused(cache, server, verify):
    with pytest.raises(ArgumentError, match="write 'stamp' or 'always'"):
        get_file("f", server.url("/f"), cache_dir=cache, verify=verify)
    assert not cache.exists()


# Cost


def test_a_warm_hit_imports_nothing_heavy(server, cache):
    url = server.serve("/f", b"content")
    get_file("f", url, cache_dir=cache, file_hash=SHA256)
    code = (
        "import sys, befit; "
        f"befit.get_file('f', {url!r}, cache_dir={str(cache)!r}, file_hash={SHA256!r}); "
        "print(sorted({'urllib3', 'filelock', 'tqdm', 'ssl', 'numpy', 'h5py', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(not hasattr(sys, "addaudithook"), reason="no audit hooks")
def test_a_warm_hit_opens_the_stamp_and_nothing_else(server, cache, flower):
    """With ``untar``, also the marker, and never the archive or the list of its members."""
    url, archive = server.serve("/f", b"content"), server.serve("/flower", flower)
    opened = []
    listening = False

    def hook(event, arguments):
        if listening and event == "open":
            opened.append(os.path.basename(str(arguments[0])))

    sys.addaudithook(hook)
    for arguments, names in (
        ({"fname": "f", "origin": url, "file_hash": SHA256}, [".f.stamp.json"]),
        ({"fname": "f", "origin": url}, []),
        (
            {"fname": "flower", "origin": archive, "untar": True},
            [".flower.extracted.json", ".flower.tar.gz.stamp.json", "datasets"],
        ),
        (
            {"fname": "flower.tar.gz", "origin": archive, "extract": True},
            [".flower.tar.gz.extracted.json", ".flower.tar.gz.stamp.json", "datasets"],
        ),
    ):
        get_file(**arguments, cache_dir=cache)
        opened.clear()
        listening = True
        get_file(**arguments, cache_dir=cache)
        listening = False
        assert sorted(opened) == names
