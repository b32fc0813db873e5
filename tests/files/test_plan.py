"""The bookkeeping of a transfer: every byte is brought by exactly one connection, whatever they do."""

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from befit.files.plan import Plan, PlanAbandonedError

LEAST = 4


class Connections(RuleBasedStateMachine):
    """Connections that take, share, give back and finish bytes, beside a list of which bytes are written."""

    @initialize(total=st.integers(0, 200), holes=st.lists(st.integers(0, 200), max_size=6))
    def begin(self, total, holes):
        ends = sorted({min(end, total) for end in holes})
        missing = list(zip(ends[::2], ends[1::2], strict=False)) if holes else None
        self.total = total
        self.plan = Plan(total, missing)
        self.written = [missing is not None] * total
        for start, end in missing or []:
            self.written[start:end] = [False] * (end - start)
        self.segments = []

    @rule(size=st.integers(1, 60), least=st.integers(1, LEAST))
    def claim(self, size, least):
        segment = self.plan.claim(size, least)
        if segment is not None:
            assert segment.position < segment.end <= segment.position + size
            self.segments.append(segment)
        elif not any(segment.reads_on for segment in self.segments):
            assert all(covers(self.segments, byte) for byte in self.missing())

    @rule()
    def split(self):
        segment = self.plan.split(LEAST)
        if segment is not None:
            assert segment.end - segment.position >= LEAST
            self.segments.append(segment)

    @rule(data=st.data(), size=st.integers(1, LEAST))
    def write(self, data, size):
        """At most ``LEAST`` bytes at once: that much a connection may have in its hands at a split."""
        if self.segments:
            segment = data.draw(st.sampled_from(self.segments))
            start, end = segment.position, min(segment.position + size, segment.end)
            assert self.plan.advance(segment, end - start)
            assert not any(self.written[start:end]), "brought twice"
            self.written[start:end] = [True] * (end - start)

    @rule(data=st.data(), size=st.integers(1, 8), reach=st.integers(0, 8))
    def read_on(self, data, size, reach):
        if self.segments:
            segment = data.draw(st.sampled_from(self.segments))
            end = segment.end
            segment.reads_on = True
            if self.plan.extend(segment, size, end + reach):
                assert end < segment.end <= end + min(size, reach)

    @rule(data=st.data())
    def release(self, data):
        if self.segments:
            segment = self.segments.pop(data.draw(st.integers(0, len(self.segments) - 1)))
            self.plan.release(segment)
            self.plan.release(segment)
            assert not self.plan.advance(segment, 1), "it is not the connection's any more"

    def missing(self):
        return [byte for byte, is_written in enumerate(self.written) if not is_written]

    @invariant()
    def agrees(self):
        missing = self.missing()
        assert self.plan.front == (missing[0] if missing else self.total)
        assert self.plan.is_whole == (not missing)
        assert self.plan.remaining == len(missing)
        assert [byte for start, end in self.plan.missing() for byte in range(start, end)] == missing
        for byte in missing:
            assert sum(segment.position <= byte < segment.end for segment in self.segments) <= 1


def covers(segments, byte):
    return any(segment.position <= byte < segment.end for segment in segments)


Connections.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestConnections = Connections.TestCase


def test_a_file_of_unknown_length_is_one_segment_that_ends_where_it_ends():
    plan = Plan(None)
    segment = plan.claim(10)
    assert plan.claim(10) is None
    assert plan.split(1) is None
    plan.advance(segment, 25)
    assert (plan.front, plan.is_whole, plan.remaining) == (25, False, None)
    plan.finish(25)
    assert (plan.front, plan.is_whole, plan.missing()) == (25, True, [])


def test_bytes_behind_an_answer_that_goes_on_are_left_for_it():
    plan = Plan(100)
    first = plan.claim(10)
    first.reads_on = True
    second = plan.claim(20)
    assert (second.position, second.end) == (30, 50)
    assert plan.extend(first, 15, 100)
    assert first.end == 25
    assert plan.extend(first, 15, 100)
    assert first.end == 30
    assert not plan.extend(first, 15, 100), "the next byte is another connection's"


def test_whoever_waits_is_woken_by_the_front_and_by_the_end():
    plan = Plan(100)
    fronts = []

    def follow():
        while (front := plan.wait((fronts[-1] if fronts else 0) + 40)) < 100:
            fronts.append(front)

    thread = threading.Thread(target=follow)
    thread.start()
    segment = plan.claim(100)
    for _ in range(10):
        plan.advance(segment, 10)
    thread.join(30)
    assert not thread.is_alive()
    assert all(later - earlier >= 40 for earlier, later in zip([0, *fronts], fronts, strict=False))


def test_whoever_waits_is_told_when_nothing_more_will_come():
    plan = Plan(100)
    outcome = []

    def follow():
        try:
            plan.wait(1)
        except PlanAbandonedError:
            outcome.append("told")

    thread = threading.Thread(target=follow)
    thread.start()
    plan.abandon()
    thread.join(30)
    assert outcome == ["told"]
    with pytest.raises(PlanAbandonedError):
        plan.wait(0)


def test_the_last_bytes_behind_an_answer_that_goes_on_are_shared_with_it():
    plan = Plan(100)
    first = plan.claim(10)
    first.reads_on = True
    second = plan.claim(200)
    assert (second.position, second.end) == (55, 100)


def test_what_was_taken_back_is_not_made_longer():
    plan = Plan(100)
    segment = plan.claim(10)
    plan.release(segment)
    assert not plan.extend(segment, 10, 100)
    assert segment.end == 10


def test_nothing_is_missing_of_a_file_that_has_ended():
    plan = Plan(None)
    segment = plan.claim(10)
    plan.advance(segment, 25)
    plan.release(segment)
    plan.finish(25)
    assert (plan.is_whole, plan.missing(), plan.remaining) == (True, [], 0)


class Waiting(threading.Condition):
    """Says how many threads have come to wait."""

    def __init__(self):
        super().__init__()
        self.came = threading.Semaphore(0)

    def wait(self, timeout=None):
        self.came.release()
        return super().wait(timeout)


def test_of_two_that_wait_the_nearer_one_is_woken_first():
    plan = Plan(100)
    plan._changed = Waiting()
    segment = plan.claim(100)
    threads = [threading.Thread(target=plan.wait, args=[beyond], daemon=True) for beyond in (10, 90)]
    for thread in threads:
        thread.start()
        assert plan._changed.came.acquire(timeout=30)
    plan.advance(segment, 50)
    threads[0].join(30)
    assert [thread.is_alive() for thread in threads] == [False, True]
    plan.advance(segment, 40)
    threads[1].join(30)
    assert not threads[1].is_alive()


def test_a_whole_file_that_was_given_up_is_not_read():
    plan = Plan(10, [])
    assert plan.wait(10) == 10
    plan.abandon()
    with pytest.raises(PlanAbandonedError):
        plan.wait(10)
