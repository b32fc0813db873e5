"""What comes too late, or takes too long: threads that were told to stop, clocks, Ctrl-C."""

import errno
import os
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from befit.errors import DownloadError
from befit.files import connection, get_file, local, obtain, transfer
from befit.files.connection import Connection
from befit.files.local import LocalOrigin
from befit.files.options import TransferOptions
from befit.files.origin import DisagreementError, Version
from befit.files.part import Part
from befit.files.retry import TransientError, pause

sys.path.append(str(Path(__file__).parent))
from scripted_origin import CONTENT, SHA256, STRONG, Scripted, run_fixture, target_fixture  # noqa: F401

WEAK = Version(len(CONTENT))


class Clock:
    """The time of transfers and connections; it leaps when it is told to."""

    def __init__(self, monkeypatch):
        self.ahead, self.looks = 0.0, 0
        self.looked = threading.Condition()
        look = transfer.Transfer._look

        def counted(transfer):
            try:
                look(transfer)
            finally:
                with self.looked:
                    self.looks += 1
                    self.looked.notify_all()

        monkeypatch.setattr(transfer.Transfer, "_look", counted)
        monkeypatch.setattr(transfer, "time", self)
        monkeypatch.setattr(connection, "time", self)

    def monotonic(self):
        return time.monotonic() + self.ahead

    def leap(self, seconds):
        self.ahead += seconds

    def wait_for_look(self):
        """Wait until the transfer has looked at all that was before this call."""
        with self.looked:
            seen = self.looks
            assert self.looked.wait_for(lambda: self.looks >= seen + 2, 60)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(transfer, "_JOIN", 0.05)
    return Clock(monkeypatch)


class Held(Scripted):
    """The header of answer ``held`` comes when ``late`` is set."""

    def __init__(self, *steps, held=0, **fields):
        super().__init__(*steps, **fields)
        self.held, self.late, self.is_held, self.thread = held, threading.Event(), threading.Event(), None
        self.at_header = lambda: None

    @contextmanager
    def open(self, start, end, known):
        with super().open(start, end, known) as body:
            if len(self.asked) == self.held + 1 and self.thread is None:
                self.thread = threading.current_thread()
                self.at_header()
                self.is_held.set()
                assert self.late.wait(60)
            yield body

    def let_go(self):
        self.late.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


# The watch for transfers that are too slow


def test_an_attempt_that_begins_anew_counts_from_nothing(run, clock):
    """It is slower than the minimum only beside what the attempt before it had brought."""

    def breaks_off(body, size):
        if body.position >= 900_000:
            raise TransientError("cut")
        return body.take(100_000)

    origin = Scripted(breaks_off, takes_half_a_minute(clock, 500_000), version=WEAK)
    assert run(origin, retries=1) == CONTENT
    assert origin.asked == [(0, None)] * 2


def test_the_pause_between_two_attempts_is_not_held_against_the_second(run, clock, monkeypatch):
    monkeypatch.setattr("befit.files.retry.time.sleep", lambda seconds: clock.leap(60))

    def brings_nothing(body, size):
        clock.leap(40)
        assert body.origin.cancelled.wait(60)
        raise TransientError("cancelled")

    def begins_slowly(body, size):
        if body.position == 0:
            clock.wait_for_look()
        return body.take(size)

    origin = Scripted(brings_nothing, begins_slowly)
    assert run(origin, retries=1) == CONTENT
    assert len(origin.asked) == 2


def takes_half_a_minute(clock, before):
    """The start of an answer of which most takes longer than the watch is for."""

    def read(body, size):
        if body.position == before:
            clock.leap(40)
            clock.wait_for_look()
        return body.take(100_000)

    return read


def test_a_new_beginning_counts_from_nothing(run, clock):
    def changes(body, size):
        if body.position == 500_000:
            clock.leap(40)
            clock.wait_for_look()  # from now on, what comes after 500,000 bytes counts
            raise DisagreementError("changed")
        return body.take(100_000)

    origin = Scripted(changes, takes_half_a_minute(clock, 100_000))
    assert run(origin, retries=0) == CONTENT
    assert origin.asked == [(0, None)] * 2


def test_what_came_long_ago_does_not_count(run, clock):
    def dries_up(body, size):
        if body.position in (500_000, 600_000):
            clock.leap(40)
            clock.wait_for_look()
        if body.position == 600_000:
            clock.leap(40)
            assert body.origin.cancelled.wait(30)
            raise TransientError("cancelled")
        return body.take(100_000)

    with pytest.raises(DownloadError, match="fewer than 1,000 bytes a second"):
        run(Scripted(dries_up), retries=0)


# Answers that come after their connection was stopped


@pytest.mark.parametrize("version", [STRONG, WEAK])
@pytest.mark.parametrize("has_mirror", [False, True])
def test_an_answer_to_an_attempt_that_was_given_up_begins_nothing(run, clock, version, has_mirror):
    def second(body, size):
        if body.position >= 500_000 and not late.late.is_set():
            late.let_go()
        return body.take(50_000)

    late = Held(None, *[] if has_mirror else [second], content=CONTENT[::-1], version=version)
    late.at_header = lambda: clock.leap(40)
    origins = [late, Scripted(second, version=version)] if has_mirror else [late]
    assert run(*origins, retries=0 if has_mirror else 1) == CONTENT[:: 1 if has_mirror else -1]
    assert sum(len(origin.asked) for origin in origins) == 2


@pytest.fixture
def begun(tmp_path):
    """A part of which nothing is there, and the segment of all of it."""
    part = Part(tmp_path / "part", SHA256)
    part.folder.mkdir()
    return part, part.begin("http://h0/x", WEAK, len(CONTENT))


def connected(origin, part, segment, begin=None):
    return Connection(origin, "http://h0/x", part, begin, segment, threading.Event(), is_extra=False)


def test_a_header_that_comes_late_changes_no_version(begun):
    part, segment = begun
    origin = Held(version=STRONG)
    late = connected(origin, part, segment)
    assert origin.is_held.wait(60)
    late.stop()
    origin.let_go()
    assert (part.version, part.is_mixed, late.error) == (WEAK, False, None)
    assert part.received == 0


def test_a_header_that_comes_late_makes_no_plan(begun):
    part, _ = begun
    begun = []
    origin = Held()
    late = connected(origin, part, None, begun.append)
    assert origin.is_held.wait(60)
    late.stop()
    origin.let_go()
    assert begun == []
    assert late.error is None
    assert origin.sent == 0


@pytest.mark.parametrize("fails", [False, True])
def test_a_read_that_ends_after_the_stop_writes_nothing_and_is_no_failure(begun, fails):
    part, segment = begun
    reading, stopped = threading.Event(), threading.Event()

    def read(body, size):
        reading.set()
        assert stopped.wait(60)
        if fails:
            raise TransientError("cancelled")
        return body.take(1000)

    late = connected(Scripted(read, version=WEAK), part, segment)
    assert reading.wait(60)
    late.stop()
    (other,) = [part.plan.claim(len(CONTENT))]
    stopped.set()
    late.join(60)
    assert late.has_ended
    assert late.error is None
    assert part.path.read_bytes() == b""
    assert (part.received, other.position) == (0, 0)


def test_a_failure_before_the_stop_is_told(begun):
    part, segment = begun
    failed = connected(Scripted(TransientError("down")), part, segment)
    failed.join(60)
    failed.stop()
    assert failed.has_ended
    assert str(failed.error) == "down"


def test_a_file_that_is_whole_does_not_wait_for_a_connection_that_was_stopped(run, monkeypatch):
    monkeypatch.setattr(connection, "SMALLEST", 50_000)
    monkeypatch.setattr(connection, "_LARGEST", 50_000)
    monkeypatch.setattr(connection, "CHUNK", 10_000)
    monkeypatch.setattr(transfer.Pace, "look", lambda pace, *_: setattr(pace, "wanted", pace._most))
    stopped = threading.Event()

    def stop_extra(transfer, now):
        for one in transfer._connections:
            if one.is_extra:
                one.stop()
                stopped.set()

    monkeypatch.setattr(transfer.Transfer, "_drop_stalled", stop_extra)

    def first(body, size):
        if body.position >= 20_000:
            assert stopped.wait(60)
        return body.take(size)

    origin = Held(first, held=1)
    try:
        assert run(origin, connections=2, retries=0) == CONTENT
        assert not origin.late.is_set()
    finally:
        origin.let_go()


# Ctrl-C


def test_all_connections_together_have_some_seconds_to_stop(tmp_path, clock, monkeypatch):
    monkeypatch.setattr(transfer, "_JOIN", 5.0)
    given = []

    def join(seconds):
        given.append(seconds)
        clock.leap(seconds)

    stopped = transfer.Transfer(Scripted(), "http://h0/x", None, [], TransferOptions(), description="x")
    stopped._connections = [SimpleNamespace(stop=lambda: None, join=join) for _ in range(8)]
    stopped._stop()
    assert len(given) == 8
    assert sum(given) <= 5.0
    assert stopped._connections == []


def test_a_second_interrupt_leaves_no_thread_that_waits(run, monkeypatch):
    """A thread that reads what will never come would keep the interpreter from ending."""
    stuck, over, followers = threading.Event(), threading.Event(), []

    def interrupt(*_):
        assert stuck.wait(60)
        raise KeyboardInterrupt

    def interrupt_again(connection, seconds):
        raise KeyboardInterrupt

    def read(body, size):
        if body.position:
            stuck.set()
            assert over.wait(60)
        return body.take(100_000)

    def work(file):
        followers.append(threading.current_thread())
        file.read(1)
        return file.read()

    monkeypatch.setattr(transfer.Transfer, "_look", interrupt)
    monkeypatch.setattr(Connection, "join", interrupt_again)
    plans = []
    really = Part.begin
    monkeypatch.setattr(Part, "begin", lambda part, *args: (really(part, *args), plans.append(part.plan))[0])
    with pytest.raises(KeyboardInterrupt):
        run(Scripted(read), work=work)
    over.set()
    for thread in followers:
        thread.join(5)
    alive = [thread for thread in followers if thread.is_alive()]
    for plan in plans:
        plan.abandon()  # else a failure would keep this interpreter from ending
    assert not alive


# Others


def test_no_number_of_retries_is_too_large():
    assert pause(99_999, None) == 60.0


def test_a_file_of_this_machine_that_is_rewritten_meanwhile_is_copied_again(source, cache, monkeypatch):
    url, count = source(CONTENT), []
    path = Path(LocalOrigin(url)._path)
    really = local._LocalBody.read

    def read(body, size):
        count.append(size)
        if len(count) == 5:
            path.write_bytes(CONTENT[::-1])  # as long as before
            os.utime(path, (1, 1))
        return really(body, 10_000)

    monkeypatch.setattr(local._LocalBody, "read", read)
    assert Path(get_file("x.bin", url, cache_dir=cache)).read_bytes() == CONTENT[::-1]


def test_a_file_that_cannot_be_moved_to_its_place_leaves_nothing(source, cache, files_in, monkeypatch):
    really = os.replace

    def replace(path, to):
        if os.fspath(to).endswith("x.bin"):
            raise PermissionError(errno.EACCES, "somebody reads it", str(to))
        really(path, to)

    monkeypatch.setattr(obtain.os, "replace", replace)
    with pytest.raises(PermissionError):
        get_file("x.bin", source(CONTENT), cache_dir=cache)
    assert {name for name in files_in(cache) if not name.endswith("datasets")} == set()
