"""The enqueuer of Keras 2 over a generator: each item once, a bounded queue, ends, restarts and errors."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest

from befit.errors import UnsupportedObjectError
from befit.loading import GeneratorEnqueuer

TIMEOUT = 30  # seconds after which a wait is a failure


@pytest.fixture
def reading():
    """Make an enqueuer over a generator; it is stopped after the test."""
    made = []

    def make(generator, **settings):
        made.append(GeneratorEnqueuer(generator, **settings))
        return made[-1]

    yield make
    for enqueuer in made:
        enqueuer.stop()


def take(batches, count):
    return [next(batches) for _ in range(count)]


def threads_named(start):
    return [thread for thread in threading.enumerate() if thread.name.startswith(start)]


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_each_item_comes_once_in_order(reading, workers):
    enqueuer = reading(np.array([number]) for number in range(50))
    enqueuer.start(workers=workers, max_queue_size=3)
    assert [int(item[0]) for item in enqueuer.get()] == list(range(50))
    assert not enqueuer.is_running()


@pytest.mark.parametrize("workers", [0, 2])
def test_consumers_in_several_threads_share_the_items(reading, workers):
    enqueuer = reading(iter(range(200)))
    enqueuer.start(workers=workers, max_queue_size=2)
    got = [[] for _ in range(3)]
    consumers = [threading.Thread(target=lambda to=to: to.extend(enqueuer.get())) for to in got]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join(TIMEOUT)
        assert not consumer.is_alive()
    assert sorted(itertools.chain(*got)) == list(range(200))
    assert all(part == sorted(part) for part in got)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_after_the_items_before_it(reading, workers):
    def broken():
        yield from range(3)
        raise KeyError("no such picture")

    enqueuer = reading(broken())
    enqueuer.start(workers=workers)
    batches = enqueuer.get()
    assert take(batches, 3) == [0, 1, 2]
    with pytest.raises(KeyError, match="no such picture"):
        next(batches)
    assert not enqueuer.is_running()


def test_the_queue_is_bounded(reading):
    made = []
    full = threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            if number == 3:
                full.set()
            yield number

    enqueuer = reading(items())
    enqueuer.start(max_queue_size=3)
    assert next(enqueuer.get()) == 0
    assert full.wait(TIMEOUT)
    enqueuer.stop()
    assert made == [0, 1, 2, 3]


def test_stop_ends_the_thread_of_a_full_queue(reading):
    full = threading.Event()

    def items():
        yield 0
        full.set()
        while True:
            yield 1

    enqueuer = reading(items())
    enqueuer.start(max_queue_size=1)
    batches = enqueuer.get()
    assert next(batches) == 0
    assert full.wait(TIMEOUT)
    enqueuer.stop()
    assert threads_named("befit-enqueuer") == []
    assert list(batches) == []


@pytest.mark.parametrize("workers", [(1, 1), (1, 0), (0, 1)])
def test_a_restart_loses_nothing(reading, workers):
    """What was read ahead comes first."""
    enqueuer = reading(iter(range(30)))
    got = []
    for count in workers:
        enqueuer.start(workers=count, max_queue_size=5)
        got += take(enqueuer.get(), 7)
        enqueuer.stop()
    assert got == list(range(14))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_restart_waits_for_the_thread_that_a_timeout_left_behind(reading, workers):
    """A generator that runs in one thread must not be called from another one."""
    entered, leave = threading.Event(), threading.Event()

    def items():
        yield 0
        entered.set()
        assert leave.wait(TIMEOUT)
        yield from range(1, 5)

    enqueuer = reading(items())
    enqueuer.start(max_queue_size=1)
    assert next(enqueuer.get()) == 0
    assert entered.wait(TIMEOUT)
    enqueuer.stop(timeout=0.01)
    enqueuer.start(workers=workers, max_queue_size=1)
    leave.set()
    assert list(enqueuer.get()) == [1, 2, 3, 4]


def test_a_consumer_waits_for_another_one_that_makes_an_item(reading):
    entered, leave = threading.Event(), threading.Event()

    def items():
        entered.set()
        assert leave.wait(TIMEOUT)
        yield from range(2)

    enqueuer = reading(items())
    enqueuer.start(workers=0)
    got = []
    first, second = (threading.Thread(target=lambda: got.append(next(enqueuer.get()))) for _ in range(2))
    first.start()
    assert entered.wait(TIMEOUT)
    second.start()
    second.join(0.1)  # it would be done at once if it called the generator
    leave.set()
    for consumer in (first, second):
        consumer.join(TIMEOUT)
        assert not consumer.is_alive()
    assert sorted(got) == [0, 1]


def test_a_dropped_enqueuer_ends_its_thread():
    full = threading.Event()

    def items():
        yield 0
        full.set()
        yield from iter(int, 1)

    enqueuer = GeneratorEnqueuer(items())
    enqueuer.start(max_queue_size=1)
    assert next(enqueuer.get()) == 0
    assert full.wait(TIMEOUT)
    (thread,) = threads_named("befit-enqueuer")
    gone = weakref.ref(enqueuer)
    del enqueuer
    gc.collect()
    assert gone() is None
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_stop_inside_the_generator(reading):
    returned = threading.Event()

    def items():
        yield 0
        enqueuer.stop()
        returned.set()
        yield 1

    enqueuer = reading(items())
    enqueuer.start()
    assert list(enqueuer.get()) in ([0], [])
    assert not enqueuer.is_running()
    assert returned.wait(TIMEOUT)


def test_the_generator_sees_the_callers_context(reading):
    """A ``custom_object_scope`` that is open at ``start`` holds in the thread."""
    from befit import custom_object_scope, get_custom_objects

    def items():
        yield "Mine" in get_custom_objects()

    enqueuer = reading(items())
    with custom_object_scope({"Mine": object}):
        enqueuer.start()
        assert list(enqueuer.get()) == [True]


def test_items_that_are_none_are_skipped(reading):
    enqueuer = reading(iter([0, None, 2]))
    enqueuer.start()
    assert list(enqueuer.get()) == [0, 2]


def test_processes_are_not_used():
    with pytest.warns(UserWarning, match="would repeat every item"):
        enqueuer = GeneratorEnqueuer(iter(range(5)), use_multiprocessing=True, wait_time=1.0, random_seed=3)
    enqueuer.start(workers=3)
    assert list(enqueuer.get()) == list(range(5))


def test_a_list_is_no_generator():
    with pytest.raises(UnsupportedObjectError, match=r"write iter\(\.\.\.\)"):
        GeneratorEnqueuer([1, 2])
