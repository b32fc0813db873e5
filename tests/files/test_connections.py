"""Several connections of one transfer, and the ends that a transfer can come to."""

import errno
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from befit.errors import DownloadError
from befit.files import connection, transfer
from befit.files.options import TransferOptions
from befit.files.origin import DisagreementError, Version
from befit.files.part import Part
from befit.files.retry import TransientError

sys.path.append(str(Path(__file__).parent))
from scripted_origin import CONTENT, STRONG, Scripted, ScriptedBody, run_fixture, target_fixture  # noqa: F401

WEAK = Version(len(CONTENT))


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(connection, "SMALLEST", 50_000)
    monkeypatch.setattr(connection, "_LARGEST", 50_000)
    monkeypatch.setattr(connection, "CHUNK", 10_000)
    monkeypatch.setattr(transfer.Pace, "look", lambda pace, *_: setattr(pace, "wanted", pace._most))


def test_several_connections_bring_every_byte_once(run, small_segments):
    gate = threading.Barrier(4, timeout=60)
    others = iter(range(3))

    class Together(Scripted):
        def open(self, start, end, known):
            if start and next(others, None) is not None:
                gate.wait()
            return super().open(start, end, known)

    first = threading.Event()

    def slowly(body, size):
        """The first connection, which waits for the others to begin."""
        if body.position >= 20_000 and not first.is_set():
            gate.wait()
            first.set()
        return body.take(size)

    origin = Together(slowly)
    assert run(origin, connections=4) == CONTENT
    assert len(origin.asked) >= 4
    assert origin.sent == len(CONTENT)


def test_a_connection_that_the_server_refuses_is_not_missed(run, small_segments, pauses):
    begun = threading.Event()

    class OneAtATime(Scripted):
        busy = threading.Lock()

        @contextmanager
        def open(self, start, end, known):
            if not self.busy.acquire(blocking=False):
                begun.set()
                raise TransientError("429 Too Many Requests", 60.0)
            try:
                with super().open(start, end, known) as body:
                    yield body
            finally:
                self.busy.release()

    origin = OneAtATime(slow_until(begun))
    assert run(origin, connections=2, retries=0) == CONTENT
    assert origin.sent == len(CONTENT)
    assert pauses == []


def test_a_connection_that_stalls_loses_its_bytes_to_the_others(run, small_segments, monkeypatch):
    monkeypatch.setattr(transfer, "_STALLED_AFTER", 0.05)

    def waits(body, size):
        return slow_until(body.origin.cancelled)(body, size)

    def stalls(body, size):
        assert body.origin.cancelled.wait(60)
        raise TransientError("cancelled")

    origin = Scripted(waits, stalls)
    assert run(origin, connections=2, retries=0) == CONTENT
    assert origin.cancelled.is_set()


@pytest.mark.parametrize("version", [WEAK, STRONG])
def test_what_cannot_be_had_in_parts_comes_by_one_connection(run, small_segments, monkeypatch, version):
    monkeypatch.setattr(ScriptedBody, "has_ranges", version is WEAK)
    looked, really = threading.Semaphore(0), transfer.Transfer._look

    def look(transfer):
        really(transfer)
        looked.release()

    def read(body, size):
        if body.position == 20_000:
            while looked.acquire(blocking=False):
                pass
            for _ in range(3):
                assert looked.acquire(timeout=60)
        return body.take(size)

    monkeypatch.setattr(transfer.Transfer, "_look", look)
    origin = Scripted(read, version=version)
    assert run(origin, connections=4) == CONTENT
    assert origin.asked == [(0, None)]


def test_a_connection_reads_on_as_far_as_its_answer_goes(run, small_segments):
    """An answer that is shorter than what was asked for is no failure."""

    class Short(Scripted):
        @contextmanager
        def open(self, start, end, known):
            with super().open(start, end, known) as body:
                body.end = min(start + 120_000, len(CONTENT))
                yield body

    origin = Short(lambda body, size: body.take(min(size, body.end - body.position)))
    assert run(origin, connections=1, retries=0) == CONTENT
    assert [start for start, _ in origin.asked] == list(range(0, len(CONTENT), 120_000))


@pytest.mark.parametrize("more", [0, 1])
def test_a_connection_says_whether_its_answer_goes_on(tmp_path, more):
    part = Part(tmp_path, None)
    segment = part.begin("u", STRONG, 50_000)
    segment.reads_on = None
    said = []

    class Ending(Scripted):
        @contextmanager
        def open(self, start, end, known):
            with super().open(start, end, known) as body:
                body.end = end + more
                yield body

    def read(body, size):
        said.append(segment.reads_on)
        raise TransientError("cut")

    one = connection.Connection(Ending(read), "u", part, None, segment, threading.Event(), is_extra=False)
    one.join(60)
    assert said == [bool(more)]


def test_bytes_that_the_disk_takes_in_pieces_are_all_written(tmp_path):
    part, taken = Part(tmp_path, None), []
    segment = part.begin("u", STRONG, 50_000)
    down = Scripted(TransientError("down"))
    one = connection.Connection(down, "u", part, None, segment, threading.Event(), is_extra=False)
    one.join(60)
    before, one.last_byte = one.last_byte, 0.0

    def write(data):
        taken.append(bytes(data[:3]))
        return len(taken[-1])

    one._write(b"0123456789", segment, SimpleNamespace(write=write))
    assert b"".join(taken) == b"0123456789"
    assert one.last_byte >= before


def slow_until(event):
    def read(body, size):
        if body.position >= 20_000:
            assert event.wait(60)
        return body.take(size)

    return read


# Ends


def test_a_server_that_drips_is_given_up(run, monkeypatch):
    monkeypatch.setattr(transfer, "_SLOW_FOR", 0.1)

    def drips(body, size):
        if body.origin.cancelled.wait(0.02):
            raise TransientError("cancelled")
        return body.take(1)

    origin = Scripted(drips)
    with pytest.raises(DownloadError, match="fewer than 1,000 bytes a second"):
        run(origin, retries=0, read_timeout=0.01)
    assert origin.cancelled.is_set()


def test_a_disk_that_is_too_small_is_said_before_anything_comes(run, monkeypatch, target):
    monkeypatch.setattr("befit.files.part.free_bytes", lambda folder: 1000)
    with pytest.raises(OSError, match="1,004,000 bytes are to come and 1,000 are free") as caught:
        run(Scripted())
    assert caught.value.errno == errno.ENOSPC
    assert list(target.parent.iterdir()) == []


def test_no_thread_outlives_a_transfer(run):
    before = threading.enumerate()
    run(Scripted(100_000))
    with pytest.raises(DownloadError):
        run(Scripted(100_000, *[TransientError("down")] * 3))
    later = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in later if thread.name.startswith("befit")]


# What a transfer makes of several connections


class Noted:
    """A connection as a transfer sees it."""

    latency = 0.0

    def __init__(self, error=None, *, has_ended=True, is_extra=False, last_byte=0.0):
        self.error, self.has_ended, self.is_extra, self.last_byte = error, has_ended, is_extra, last_byte
        self.is_stopped = False

    def join(self, seconds):
        pass

    def stop(self):
        self.is_stopped = True


BRINGS = Noted(has_ended=False)
DOWN = TransientError("down")


@pytest.fixture
def collect(monkeypatch):
    """``collect(connections)``: the failure that counts as one of the attempt, and how many to go on with."""

    def call(*connections):
        part, failures = SimpleNamespace(is_mixed=False), []
        one = transfer.Transfer(Scripted(), "u", part, [], TransferOptions(), description="x")
        one._connections, one._pace.wanted = list(connections), 8
        monkeypatch.setattr(one, "_failed", failures.append)
        one._collect()
        assert one._connections == [each for each in connections if not each.has_ended]
        assert part.is_mixed == any(each.error is not None for each in connections)
        return failures, one._pace.wanted

    return call


def test_a_failure_beside_others_that_bring_bytes_only_makes_them_fewer(collect):
    assert collect(BRINGS, Noted(DOWN)) == ([], 1)
    assert collect(BRINGS, Noted(DOWN, is_extra=True), BRINGS) == ([], 2)
    assert collect(Noted(), Noted(DOWN)) == ([], 1)


def test_extra_connections_may_all_fail(collect):
    assert collect(Noted(DOWN, is_extra=True)) == ([], 1)


def test_the_last_failure_is_one_of_the_attempt(collect):
    assert collect(Noted(DOWN)) == ([DOWN], 8)
    assert collect(Noted(DOWN, is_extra=True), Noted(DOWN)) == ([DOWN], 8)
    assert collect(Noted(), BRINGS) == ([], 8)


@pytest.mark.parametrize("error", [DownloadError("gone"), DisagreementError("changed")])
def test_of_several_failures_that_counts_which_does_not_pass(collect, error):
    assert collect(Noted(DOWN), Noted(error), Noted(DOWN)) == ([error], 8)


def test_a_file_that_cannot_be_written_ends_the_transfer_whatever_others_do(collect):
    with pytest.raises(OSError, match="full"):
        collect(BRINGS, Noted(OSError("full")))


@pytest.mark.parametrize(("latency", "patience"), [(0.1, 5.0), (1.0, 10.0)])
def test_who_brings_nothing_for_long_loses_its_bytes_if_there_are_others(latency, patience):
    one = transfer.Transfer(Scripted(), "u", None, [], TransferOptions(), description="x")
    one._latency = latency
    late, soon = Noted(last_byte=100.0 - patience - 0.1), Noted(last_byte=100.0 - patience + 0.1)
    one._connections = [late]
    one._drop_stalled(100.0)
    assert not late.is_stopped
    one._connections = [late, soon]
    one._drop_stalled(100.0)
    assert (late.is_stopped, soon.is_stopped) == (True, False)
