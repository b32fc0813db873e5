"""A generator as a stream of batches: each item once, in order, and none that was not asked for."""

from __future__ import annotations

import contextvars
import gc
import itertools
import threading

import numpy as np
import pytest

from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading import Stream

TIMEOUT = 30  # seconds after which a wait is a failure

with_and_without_a_thread = pytest.mark.parametrize("prefetch", [0, 1, 3, 10])


class Counted:
    """An iterator class: the numbers from 0, which knows how many were taken."""

    def __init__(self, end=None):
        self.taken, self.end = 0, end

    def __next__(self):
        if self.taken == self.end:
            raise StopIteration
        self.taken += 1
        return self.taken - 1


def stream_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("befit-stream-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    for thread in stream_threads():
        thread.join(TIMEOUT)
    assert not stream_threads()


@with_and_without_a_thread
def test_batches_come_once_and_in_order(prefetch):
    assert list(Stream(iter(range(50)), prefetch=prefetch)) == list(range(50))


@with_and_without_a_thread
def test_the_iterator_is_never_asked_for_more_than_was_asked_of_the_stream(prefetch):
    """So parts of a stream and next() on the iterator itself divide its items between them."""
    numbers = Counted()
    stream = Stream(numbers, prefetch=prefetch)
    assert list(stream.take(4)) == [0, 1, 2, 3]
    assert numbers.taken == 4
    assert next(numbers) == 4
    assert list(stream.take(2)) == [5, 6]
    assert not stream_threads()


@with_and_without_a_thread
def test_an_iteration_that_is_left_early_loses_nothing(prefetch):
    stream = Stream(Counted(20), prefetch=prefetch)
    first = list(itertools.islice(stream, 5))
    stream.close()
    assert first + list(stream) == list(range(20))
    assert list(stream) == []


@with_and_without_a_thread
def test_a_new_iteration_goes_on_in_the_place_of_the_old_one(prefetch):
    stream = Stream(Counted(20), prefetch=prefetch)
    old = iter(stream)
    assert next(old) == 0
    new = iter(stream)
    assert next(new) == 1
    assert list(old) == []
    assert list(new) == list(range(2, 20))


@with_and_without_a_thread
def test_a_look_takes_nothing_away(prefetch):
    numbers = Counted(5)
    stream = Stream(numbers, prefetch=prefetch)
    assert stream.peek() == [0]
    assert numbers.taken == 1
    assert stream.peek(3) == [0, 1, 2]
    assert stream.peek(9) == [0, 1, 2, 3, 4]
    assert list(stream) == [0, 1, 2, 3, 4]
    with pytest.raises(ArgumentError, match="Counted has no batches, or none any more"):
        stream.peek()


@with_and_without_a_thread
def test_what_is_put_back_comes_first(prefetch):
    stream = Stream(Counted(6), prefetch=prefetch)
    taken = list(stream.take(3))
    stream.put_back(taken[1:])
    assert list(stream) == [1, 2, 3, 4, 5]


@with_and_without_a_thread
def test_an_error_is_raised_where_its_batch_is_due(prefetch):
    """With its own type, and who raised it; a look at what comes before it does not raise it."""

    def broken():
        yield from range(3)
        raise KeyError("no such picture")

    stream = Stream(broken(), prefetch=prefetch)
    assert stream.peek(9) == [0, 1, 2]
    batches = iter(stream)
    assert [next(batches) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="no such picture") as caught:
        next(batches)
    assert caught.value.__notes__ == ["raised by generator, which befit.loading.Stream asked for the 4. time"]
    assert list(batches) == list(stream) == []


@with_and_without_a_thread
def test_an_error_at_once_is_raised_by_a_look(prefetch):
    class Broken:
        def __next__(self):
            raise OSError("no file")

    with pytest.raises(OSError, match="no file"):
        Stream(Broken(), prefetch=prefetch).peek()


@with_and_without_a_thread
def test_an_iterator_may_go_on_after_an_error(prefetch):
    class Flaky(Counted):
        def __next__(self):
            number = super().__next__()
            if number == 2:
                raise OSError("busy")
            return number

    stream = Stream(Flaky(5), prefetch=prefetch)
    assert list(stream.take(2)) == [0, 1]
    with pytest.raises(OSError, match="busy"):
        list(stream)
    assert list(stream) == [3, 4]
    assert list(stream) == []


@with_and_without_a_thread
def test_batches_that_are_none_do_not_count(prefetch):
    stream = Stream(iter([None, 0, None, None, 1, 2, None]), prefetch=prefetch)
    assert list(stream.take(2)) == [0, 1]
    assert list(stream) == [2]


def test_it_reads_as_far_ahead_as_it_may():
    numbers = Counted()
    stream = Stream(numbers, prefetch=4)
    assert next(iter(stream)) == 0
    for thread in stream_threads():
        thread.join(TIMEOUT)
    assert 4 <= numbers.taken <= 6  # one was taken out, and perhaps room made before that was known


@with_and_without_a_thread
def test_arrays_that_the_generator_uses_again_are_not_overwritten(prefetch):
    def reusing():
        buffer = np.zeros(2)
        for number in range(6):
            buffer[:] = number
            yield {"x": [buffer]}, (buffer, "name")

    batches = list(Stream(reusing(), prefetch=prefetch))
    assert [x["x"][0].tolist() for x, _ in batches] == [[n, n] for n in range(6)]
    assert [y[0].tolist() for _, y in batches] == [[n, n] for n in range(6)]


def test_no_thread_waits_for_a_consumer_that_does_not_come_back():
    """Even while the iteration, the error, and the stream are all kept."""
    stream = Stream(Counted(), prefetch=2)
    batches = iter(stream)
    next(batches)
    for thread in stream_threads():
        thread.join(TIMEOUT)
    assert not stream_threads()
    assert next(batches) == 1


def test_a_dropped_iteration_stops_reading():
    """After the batch in its hand, though there is room for more."""
    entered, go_on = threading.Event(), threading.Event()

    def slow():
        yield 0
        for number in itertools.count(1):
            entered.set()
            assert go_on.wait(TIMEOUT)
            yield number

    generator = slow()
    stream = Stream(generator)
    batches = iter(stream)
    next(batches)
    assert entered.wait(TIMEOUT)
    del batches
    gc.collect()
    go_on.set()
    for thread in stream_threads():
        thread.join(TIMEOUT)
    assert next(generator) == 2
    assert list(stream.take(1)) == [1]


def test_the_iterator_sees_the_context_of_its_consumer():
    name = contextvars.ContextVar("name", default="none")

    def names():
        while True:
            yield name.get()

    name.set("mine")
    stream = Stream(names())
    assert next(iter(stream)) == "mine"


def test_a_stream_that_is_left_ends_its_thread():
    with Stream(Counted()) as stream:
        assert next(iter(stream)) == 0
    assert not stream_threads()
    assert repr(stream) == "<Stream of Counted, prefetch=10>"


def test_what_is_no_iterator_is_refused():
    with pytest.raises(UnsupportedObjectError, match=r"list is no iterator; write Stream\(iter"):
        Stream([1, 2])
    with pytest.raises(ArgumentError, match="prefetch is -1"):
        Stream(iter([]), prefetch=-1)
