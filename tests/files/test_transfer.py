"""A transfer by one connection, and what it leaves for a later call; its origin does as it is told."""

import errno
import json
import os
import sys
import threading
from pathlib import Path

import pytest

from befit.errors import DigestError, DownloadError
from befit.files import fetch, follow, transfer
from befit.files.origin import DisagreementError, NoRangesError, Version
from befit.files.part import Part
from befit.files.plan import Plan
from befit.files.retry import TransientError

sys.path.append(str(Path(__file__).parent))
from scripted_origin import CONTENT, SHA256, STRONG, Scripted, ScriptedBody, run_fixture, target_fixture  # noqa: F401


def test_bytes_come_and_are_read_meanwhile(run):
    origin = Scripted()
    assert run(origin) == CONTENT
    assert origin.asked == [(0, None)]
    assert origin.closed


@pytest.mark.parametrize("content", [b"", b"x"])
@pytest.mark.parametrize("is_known", [True, False])
def test_small_files(run, content, is_known):
    assert run(Scripted(content=content, version=Version(len(content) if is_known else None))) == content


def test_a_file_of_unknown_length(run):
    assert run(Scripted(version=Version())) == CONTENT


def test_a_transfer_that_broke_off_goes_on_where_it_ended(run, pauses):
    origin = Scripted(100_000, 200_000, 300_000)
    assert run(origin) == CONTENT
    assert [start for start, _ in origin.asked] == [0, 100_000, 300_000, 600_000]
    assert len(pauses) == 3


def test_an_answer_that_ends_early_is_not_the_end_of_the_file(run):
    origin = Scripted(lambda body, size: b"" if body.position else body.take(100_000))
    assert run(origin) == CONTENT
    assert [start for start, _ in origin.asked] == [0, 100_000]


def test_progress_is_worth_more_attempts_than_retries_allow(run):
    origin = Scripted(*[100_000] * 10)
    assert run(origin, retries=1) == CONTENT
    assert len(origin.asked) == 11


def test_without_progress_the_attempts_are_counted(run, pauses):
    origin = Scripted(100_000, *[10] * 20)
    with pytest.raises(DownloadError, match=r"\(tried 3 times; retries=2\)"):
        run(origin)
    assert len(origin.asked) == 3
    assert len(pauses) == 2


@pytest.mark.parametrize(
    "version", [Version(len(CONTENT)), Version(len(CONTENT), 'W/"a"'), Version(len(CONTENT), "a date")]
)
def test_without_a_strong_validator_only_a_digest_allows_to_go_on(run, version):
    origin = Scripted(100_000, version=version)
    assert run(origin) == CONTENT
    assert [start for start, _ in origin.asked] == [0, 0]
    origin = Scripted(100_000, version=version)
    assert run(origin, expected=SHA256) == CONTENT
    assert [start for start, _ in origin.asked] == [0, 100_000]


@pytest.mark.parametrize("changed", [Version(len(CONTENT), '"b"', is_strong=True), Version(len(CONTENT) + 1)])
def test_a_file_that_changes_is_begun_again_and_never_mixed(run, changed):
    new = CONTENT[::-1] + b"." * (changed.total - len(CONTENT))

    class Changing(Scripted):
        def open(self, start, end, known):
            if len(self.asked) == 1:
                self.content, self.version = new, changed
            return super().open(start, end, known)

    origin = Changing(100_000)
    assert run(origin) == new
    assert [start for start, _ in origin.asked] == [0, 100_000, 0]


def test_a_server_without_ranges_is_not_asked_for_one_again(run):
    origin = Scripted(100_000, NoRangesError("whole"), 200_000, 300_000)
    assert run(origin) == CONTENT
    assert [start for start, _ in origin.asked] == [0, 100_000, 0, 0, 0]


def test_a_server_that_says_so_is_not_asked_for_a_range(run, monkeypatch):
    monkeypatch.setattr(ScriptedBody, "has_ranges", False)
    origin = Scripted(100_000)
    assert run(origin) == CONTENT
    assert origin.asked == [(0, None)] * 2


def test_how_far_it_is_is_noted_before_the_pause(run, target, monkeypatch):
    noted = []

    def sleep(seconds):
        (state,) = target.parent.glob(".*/state.json")
        noted.append(json.loads(state.read_text())["missing"])

    monkeypatch.setattr("befit.files.retry.time.sleep", sleep)
    assert run(Scripted(100_000)) == CONTENT
    assert noted == [[[100_000, len(CONTENT)]]]


def test_a_file_that_changes_for_ever_ends_in_an_error(run):
    origin = Scripted(*[step for _ in range(9) for step in (100_000, DisagreementError("has changed"))])
    with pytest.raises(DownloadError, match=r"has changed \(4 times, each time from its start\)"):
        run(origin, retries=9)


def test_the_pauses_before_attempts_and_new_beginnings(run, pauses):
    run(Scripted(TransientError("busy", 7.0), TransientError("down")))
    assert pauses[0] == 7.0
    del pauses[:]
    run(Scripted(TransientError("down")))
    assert 0.25 <= pauses[0] <= 0.5
    del pauses[:]
    run(Scripted(DisagreementError("changed")))
    assert pauses == []
    run(Scripted(DisagreementError("changed"), DisagreementError("changed")))
    assert len(pauses) == 1


def test_an_error_that_stays_is_not_tried_again(run, pauses):
    origin = Scripted(DownloadError("no such file"))
    with pytest.raises(DownloadError, match="no such file"):
        run(origin)
    assert len(origin.asked) == 1
    assert pauses == []


# What a later process finds


def test_a_later_call_goes_on_after_a_failure(run, target):
    with pytest.raises(DownloadError):
        run(Scripted(100_000, *[TransientError("down")] * 3))
    (left,) = target.parent.iterdir()
    assert left.name.endswith(".download")
    origin = Scripted()
    assert run(origin) == CONTENT
    assert origin.asked[0] == (100_000, len(CONTENT))


def test_a_later_call_finds_that_the_file_has_changed(run):
    with pytest.raises(DownloadError):
        run(Scripted(100_000, *[TransientError("down")] * 3))
    new = CONTENT[::-1]
    origin = Scripted(content=new, version=Version(len(new), '"b"', is_strong=True))
    assert run(origin, retries=0) == new
    assert [start for start, _ in origin.asked] == [100_000, 0]


@pytest.mark.parametrize("version", [STRONG, Version(len(CONTENT))])
def test_bytes_of_another_file_that_went_unnoticed_are_fetched_again(run, version):
    """The digest tells at the end; then nothing of the mixture is used."""
    with pytest.raises(DownloadError):
        run(Scripted(100_000, *[TransientError("down")] * 3, content=CONTENT[::-1]), expected=SHA256)
    origin = Scripted(version=version)
    assert run(origin, expected=SHA256) == CONTENT
    assert [start for start, _ in origin.asked] == [100_000, 0]


@pytest.mark.parametrize("steps", [[100], [DownloadError("gone")]])
def test_what_is_of_no_use_is_not_left(run, target, steps):
    with pytest.raises(DownloadError):
        run(Scripted(*steps, *[TransientError("down")] * 3))
    assert list(target.parent.iterdir()) == []


def test_a_mixture_is_fetched_again_by_one_connection(run, monkeypatch):
    used = []

    class Noted(transfer.Transfer):
        def __init__(self, origin, url, part, works, options, **others):
            used.append(options.connections)
            super().__init__(origin, url, part, works, options, **others)

    with pytest.raises(DownloadError):
        run(Scripted(100_000, *[TransientError("down")] * 3, content=CONTENT[::-1]), expected=SHA256)
    monkeypatch.setattr(fetch, "Transfer", Noted)
    assert run(Scripted(), expected=SHA256, connections=2) == CONTENT
    assert used == [2, 1]


def test_a_wrong_file_is_not_left(run, target):
    origin = Scripted(content=CONTENT[::-1])
    with pytest.raises(DigestError):
        run(origin, expected=SHA256)
    assert origin.asked == [(0, None)], "it would be wrong again"
    assert list(target.parent.iterdir()) == []


def test_a_part_knows_no_version_before_it_has_one(tmp_path):
    assert not Part(tmp_path, None).accept(STRONG)


# Reading behind


def test_a_file_that_grows_is_read_up_to_where_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(follow, "_WAIT", 1)
    (tmp_path / "x").write_bytes(b"0123456789")
    plan, data = Plan(10, [(4, 8)]), bytearray(10)
    with follow._GrowingFile(tmp_path / "x", plan) as file:
        assert file.readinto(data) == 4
        segment = plan.claim(10)
        plan.advance(segment, 4)
        assert file.seek(-1, os.SEEK_CUR) == 3
        assert file.read() == b"3456789"
        assert file.seek(-2, os.SEEK_END) == 8
        assert file.read() == b"89"


# Full disks


def test_bytes_that_are_given_up_make_room_for_those_to_come(run, target, monkeypatch):
    def usage(folder):
        used = sum(path.stat().st_size for path in target.parent.rglob("*") if path.is_file())
        return 1_500_000 - used

    monkeypatch.setattr("befit.files.part.free_bytes", usage)
    assert run(Scripted(content=CONTENT[::-1]), Scripted(), expected=SHA256) == CONTENT
    assert run(Scripted(900_000, DisagreementError("changed")), expected=SHA256) == CONTENT


def test_a_disk_that_is_full_does_not_cost_what_is_there(run, target, monkeypatch):
    really, notes, is_full, noted = Path.write_text, [], threading.Event(), threading.Condition()

    def write_text(path, text, **options):
        if path.name == "state.json.new":
            if is_full.is_set():
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            with noted:
                notes.append(text)
                noted.notify_all()
        return really(path, text, **options)

    def read(body, size):
        if body.position >= 600_000:
            with noted:
                seen = len(notes)
                assert noted.wait_for(lambda: len(notes) >= seen + 2, 60)
            is_full.set()
            raise OSError(errno.ENOSPC, "No space left on device", "content")
        return body.take(100_000)

    monkeypatch.setattr(transfer, "_SAVE_EVERY", 0)
    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError, match="No space left on device"):
        run(Scripted(read))
    (left,) = target.parent.iterdir()
    assert left.name.endswith(".download")
    is_full.clear()
    origin = Scripted()
    assert run(origin) == CONTENT
    assert origin.asked[0] == (600_000, len(CONTENT))


def test_a_leftover_that_is_whole_is_the_file_only_if_the_server_says_so(run):
    def fails(file):
        file.read()
        raise OSError(errno.ENOSPC, "no room for the members")

    with pytest.raises(OSError, match="no room for the members"):
        run(Scripted(), work=fails)
    new = CONTENT[::-1]
    origin = Scripted(content=new, version=Version(len(new), '"b"', is_strong=True))
    assert run(origin) == new
    assert origin.asked == [(len(new) - 1, len(new)), (0, None)]
    with pytest.raises(OSError, match="no room for the members"):
        run(Scripted(), work=fails)
    origin = Scripted()
    assert run(origin) == CONTENT
    assert origin.sent == 1
