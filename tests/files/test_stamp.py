"""Stamps: what is known of a file without reading it, and when that is not believed."""

import hashlib
import json
import logging
import os
import shutil
import time

import pytest

from befit.files import stamp as stamp_module
from befit.files.digest import Digest, FileDigests, digests_of
from befit.files.stamp import (
    Fingerprint,
    Stamp,
    last_used,
    mark_used,
    read_stamp,
    save_stamp,
    stamp_path,
    stamped_name,
    write_stamp,
)

URL = "https://example.org/f"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def known_digest(file, algorithm):
    """The digest that is known without reading the file."""
    stamp = read_stamp(file)
    is_same = stamp is not None and stamp.fingerprint.is_same(Fingerprint.of(file.stat()))
    return stamp.digests.get(algorithm) if is_same else None


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"content")
    return path


def test_a_stamp_is_read_as_it_was_written(file):
    before = time.time()
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL, validator='"etag"', written=file.stat())
    stamp = read_stamp(file)
    assert stamp.fingerprint == Fingerprint.of(file.stat())
    assert (stamp.digests, stamp.url, stamp.validator) == ({"sha256": sha256(b"content")}, URL, '"etag"')
    assert before <= stamp.downloaded <= time.time()
    assert stamp_path(file).name == ".f.stamp.json"
    assert sorted(os.listdir(file.parent)) == [".f.stamp.json", "f"]


def test_a_file_that_was_just_downloaded_is_known_at_once(file):
    """Its times are as young as can be; but nobody else could write it before."""
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    assert known_digest(file, "sha256") == sha256(b"content")
    assert known_digest(file, "md5") is None


def test_what_another_process_put_in_its_place_is_not_stamped(file, tmp_path, caplog):
    written = file.stat()
    (tmp_path / "other").write_bytes(b"CONTENT")
    os.utime(tmp_path / "other", ns=(written.st_atime_ns, written.st_mtime_ns))
    os.replace(tmp_path / "other", file)
    caplog.set_level(logging.INFO)
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL, written=written)
    assert read_stamp(file) is None
    assert "replaced by another process" in caplog.text
    file.unlink()
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL, written=written)
    assert read_stamp(file) is None


def overwrite(file):
    """One byte, and the time of change is put back, as some tools do."""
    found = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"C")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert file.stat().st_mtime_ns == found.st_mtime_ns


def exchange(file):
    """Another file of the same size and time takes its place."""
    found = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"CONTENT")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    os.replace(other, file)


@pytest.mark.skipif(os.name == "nt", reason="no time of change that nobody can set")
@pytest.mark.parametrize("change", [overwrite, exchange])
def test_a_changed_byte_with_the_old_time_is_noticed(file, change):
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    stamp = read_stamp(file)
    aged = Fingerprint(*stamp.fingerprint)._replace(ctime_ns=stamp.fingerprint.ctime_ns - 10**9)
    save_stamp(file, Stamp(aged, stamp.digests))  # as if the download was a second ago
    change(file)
    assert known_digest(file, "sha256") is None
    assert FileDigests().of(file, "sha256").hexdigest == sha256(file.read_bytes())


def touch(file):
    os.utime(file, ns=(1, 1))


def copy(file):
    shutil.copytree(file.parent, file.parent.with_name("copied"))
    shutil.rmtree(file.parent)
    file.parent.with_name("copied").rename(file.parent)


@pytest.mark.parametrize("change", [touch, copy])
@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_file_that_was_touched_or_copied_is_read_once(file, readings, later, change, algorithm):
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    change(file)
    later()
    for _ in range(3):
        digest = FileDigests().of(file, algorithm)
        assert digest.hexdigest == hashlib.new(algorithm, b"content").hexdigest()
    assert readings == [{algorithm, "sha256"}], "with the recorded one, to see that it still holds"
    assert known_digest(file, "sha256") == sha256(b"content")
    assert read_stamp(file).url == URL, "still the same file, from the same place"


def test_another_digest_joins_those_that_are_known(file, readings, later):
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    later()
    for algorithm in ("md5", "md5", "sha256", "sha1"):
        FileDigests().of(file, algorithm)
    assert readings == [{"md5", "sha256"}, {"sha1", "sha256"}]
    assert set(read_stamp(file).digests) == {"sha256", "md5", "sha1"}


def test_a_file_that_befit_found_is_read_once_and_not_called_downloaded(file, readings, later):
    later()
    for _ in range(2):
        assert FileDigests().of(file, "md5") == Digest("md5", hashlib.md5(b"content").hexdigest())
    assert readings == [{"md5"}]
    assert (read_stamp(file).url, read_stamp(file).downloaded) == (None, None)


def test_a_file_that_was_written_just_now_is_not_stamped(file, readings, monkeypatch):
    """A second write within the same tick of the clock would leave no trace."""
    changed = Fingerprint.of(file.stat())
    now = changed.mtime_ns if os.name == "nt" else changed.ctime_ns
    for nanoseconds, stamped in ((0, False), (4_000_000, False), (3 * 10**9, True)):
        monkeypatch.setattr("befit.files.digest.time_ns", lambda then=now + nanoseconds: then)
        FileDigests().of(file, "md5")
        assert (read_stamp(file) is not None) == stamped, nanoseconds
    assert len(readings) == 3


def test_a_clock_of_whole_seconds_is_believed_later():
    whole = Fingerprint(1, 5 * 10**9, 5 * 10**9, 1, 1)
    fine = whole._replace(mtime_ns=5 * 10**9 + 1, ctime_ns=5 * 10**9 + 1)
    assert fine.is_settled(5 * 10**9 + 30_000_000)
    assert not whole.is_settled(5 * 10**9 + 30_000_000)
    assert not whole.is_settled(7 * 10**9)
    assert whole.is_settled(7 * 10**9 + 1)
    assert not whole.is_settled(10**9), "a time in the future"


def test_a_file_that_changes_while_it_is_read_is_not_stamped(file, monkeypatch, later):
    def changing(path, algorithms):
        digests = digests_of(path, algorithms)
        with path.open("ab") as opened:
            opened.write(b"more")
        return digests

    monkeypatch.setattr("befit.files.digest.digests_of", changing)
    later()
    FileDigests().of(file, "sha256")
    assert read_stamp(file) is None


def test_a_recorded_digest_is_not_replaced_by_that_of_a_damaged_file(file, later):
    """Else the second look would call the damage sound."""
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    recorded = read_stamp(file)
    file.write_bytes(b"damaged")
    later()
    for _ in range(2):
        digests = FileDigests()
        assert digests.of(file, "sha256").hexdigest == sha256(b"damaged")
        assert read_stamp(file) == recorded
    digests.accept(file)  # whoever called knows that these are the right bytes
    assert known_digest(file, "sha256") == sha256(b"damaged")
    assert read_stamp(file).url is None


def test_stamps_need_not_be_trusted(file, readings, later):
    write_stamp(file, {"sha256": "wrong"}, url=URL)
    later()
    digests = FileDigests(trust_stamps=False)
    for _ in range(2):
        assert digests.of(file, "sha256").hexdigest == sha256(b"content")
    assert readings == [{"sha256"}], "once in a call"
    assert read_stamp(file).digests == {"sha256": "wrong"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"version": 1}', '{"version": 9}', "\x80", '{"version": 1, "file": [1]}'],
)
def test_a_stamp_that_cannot_be_read_is_no_error_and_is_replaced(file, later, text):
    stamp_path(file).write_text(text, encoding="latin-1")
    assert read_stamp(file) is None
    later()
    assert FileDigests().of(file, "sha256").hexdigest == sha256(b"content")
    assert known_digest(file, "sha256") == sha256(b"content")


def test_a_stamp_that_cannot_be_written_is_no_error(file, monkeypatch, later, readings):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(stamp_module, "_never_through_a_link", refuse)
    later()
    digests = FileDigests()
    for _ in range(3):
        digests.of(file, "sha256")
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    assert len(readings) == 1, "once in a call"
    assert os.listdir(file.parent) == ["f"]


def test_a_stamp_is_not_written_through_a_link(file, tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    stamp_path(file).symlink_to(tmp_path / "theirs")
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_disk_of_the_network_has_another_number_on_each_machine(file, monkeypatch):
    here = Fingerprint.of(file.stat())
    elsewhere = here._replace(device=here.device + 1)
    assert here.is_same(elsewhere)
    monkeypatch.setattr(os, "name", "nt")  # where there is no ctime, the device must do
    assert not here.is_same(elsewhere)


def test_names_of_stamps():
    assert stamped_name(".a.b.stamp.json") == "a.b"
    assert [stamped_name(name) for name in ("a.stamp.json", ".stamp.json", ".a.json")] == [None] * 3


def test_the_last_use_is_noted_once_a_day(file):
    mark_used(file)  # no stamp: nothing to note
    assert os.listdir(file.parent) == ["f"]
    write_stamp(file, {"sha256": sha256(b"content")}, url=URL)
    now = time.time()
    for age, noted in ((3600, False), (3 * 86400, True)):
        os.utime(stamp_path(file), (now - age, now - age))
        mark_used(file)
        assert (last_used(file) >= now - 1) == noted
    assert json.loads(stamp_path(file).read_bytes())["url"] == URL
    assert known_digest(file, "sha256") == sha256(b"content")
