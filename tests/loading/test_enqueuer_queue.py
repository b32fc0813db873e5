"""The queue of the enqueuers, as loops for Keras 2 use it: each batch once, in order, and loops that end."""

from __future__ import annotations

import itertools
import queue
import threading
import time

import numpy as np
import pytest

from befit import Sequence
from befit.errors import ArgumentError, LoaderError
from befit.loading import GeneratorEnqueuer, OrderedEnqueuer

MODES = {"inline": (0, False), "threads": (2, False), "processes": (2, True)}
TIMEOUT = 30  # seconds after which a wait is a failure


@pytest.fixture
def running():
    """Start enqueuers; they are stopped after the test."""
    made = []

    def make(enqueuer, **settings):
        made.append(enqueuer)
        enqueuer.start(**settings)
        return enqueuer

    yield make
    for enqueuer in made:
        enqueuer.stop()


def polled(enqueuer, count=None):
    """Return the items that Keras 2's own loop takes: ``fit_generator`` had it so."""
    items = []
    while enqueuer.is_running() and len(items) != count:
        if not enqueuer.queue.empty():
            items.append(enqueuer.queue.get())
        else:
            time.sleep(0.001)
    return items


class TestGenerator:
    @pytest.mark.parametrize("workers", [0, 1, 4])
    def test_a_polling_loop_gets_each_item_once_in_order_and_ends(self, running, workers):
        enqueuer = running(GeneratorEnqueuer(iter(range(50))), workers=workers, max_queue_size=3)
        assert polled(enqueuer) == list(range(50))
        assert not enqueuer.is_running()

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_loop_over_an_empty_generator_ends(self, running, workers):
        assert polled(running(GeneratorEnqueuer(iter(())), workers=workers)) == []

    @pytest.mark.parametrize("workers", [0, 1])
    def test_queue_and_generator_share_the_items(self, running, workers):
        enqueuer = running(GeneratorEnqueuer(iter(range(6))), workers=workers)
        batches = enqueuer.get()
        assert [next(batches), enqueuer.queue.get(), next(batches), enqueuer.queue.get()] == [0, 1, 2, 3]
        assert list(batches) == [4, 5]

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_item_is_what_the_generator_yielded(self, running, workers):
        item = (np.zeros((2, 3)), np.ones(2))
        enqueuer = running(GeneratorEnqueuer(iter([item, None])), workers=workers)
        assert enqueuer.queue.get() is item
        assert enqueuer.queue.get() is None

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_error_is_raised_after_the_items_before_it(self, running, workers):
        def broken():
            yield 0
            raise KeyError("no such picture")

        enqueuer = running(GeneratorEnqueuer(broken()), workers=workers)
        assert polled(enqueuer, 1) == [0]
        with pytest.raises(KeyError, match="no such picture"):
            polled(enqueuer)
        assert not enqueuer.is_running()
        assert enqueuer.queue.empty()

    def test_a_look_waits_for_nothing(self, running):
        leave = threading.Event()

        def items():
            yield 0
            assert leave.wait(TIMEOUT)
            yield 1

        enqueuer = running(GeneratorEnqueuer(items()))
        assert enqueuer.queue.get(timeout=TIMEOUT) == 0
        assert enqueuer.queue.empty()
        assert enqueuer.queue.qsize() == 0
        with pytest.raises(queue.Empty):
            enqueuer.queue.get(block=False)
        with pytest.raises(queue.Empty):
            enqueuer.queue.get_nowait()
        with pytest.raises(queue.Empty, match=r"within 0\.01 s"):
            enqueuer.queue.get(timeout=0.01)
        assert enqueuer.is_running()
        leave.set()
        assert enqueuer.queue.get(True, TIMEOUT) == 1

    def test_the_size_is_bounded(self, running):
        made = []
        enqueuer = running(GeneratorEnqueuer(made.append(n) or n for n in range(9)), max_queue_size=2)
        while enqueuer.queue.qsize() < 2:
            time.sleep(0.001)
        assert enqueuer.queue.full()
        assert made == [0, 1]
        assert enqueuer.queue.get() == 0

    def test_nothing_comes_before_start_and_after_stop(self):
        made = []
        enqueuer = GeneratorEnqueuer(made.append(n) for n in range(3))
        for _ in range(2):
            assert enqueuer.queue.empty()
            assert enqueuer.queue.qsize() == 0
            assert not enqueuer.queue.full()
            with pytest.raises(queue.Empty, match="does not run"):
                enqueuer.queue.get()
            enqueuer.start(workers=0)
            enqueuer.stop()
        assert made == []

    def test_stop_sends_a_consumer_away_who_waits(self, running):
        leave = threading.Event()

        def items():
            leave.wait(TIMEOUT)
            yield 0

        enqueuer = running(GeneratorEnqueuer(items()))
        got = []

        def consume():
            try:
                got.append(enqueuer.queue.get())
            except queue.Empty as error:
                got.append(error)

        consumer = threading.Thread(target=consume)
        consumer.start()
        enqueuer.stop(timeout=0.01)
        consumer.join(TIMEOUT)
        leave.set()
        assert isinstance(got[0], queue.Empty)


class TestOrdered:
    @pytest.fixture(params=list(MODES))
    def ordered(self, request, running):
        workers, processes = MODES[request.param]
        return lambda sequence: running(
            OrderedEnqueuer(sequence, use_multiprocessing=processes), workers=workers, max_queue_size=3
        )

    def test_a_polling_loop_gets_exact_epochs(self, ordered, numbered):
        source = numbered(4)
        results = polled(ordered(source), 8)
        assert [result.get().tolist() for result in results] == [
            [index, epoch] for epoch in range(2) for index in range(4)
        ]
        assert source.epoch == 1

    def test_queue_and_generator_share_the_batches(self, ordered, numbered):
        enqueuer = ordered(numbered(6))
        batches = enqueuer.get()
        got = [next(batches), enqueuer.queue.get().get(), next(batches), enqueuer.queue.get().get(timeout=30)]
        assert [int(batch[0]) for batch in got] == [0, 1, 2, 3]

    def test_results_are_those_of_their_place_whoever_asks_first(self, ordered, numbered):
        enqueuer = ordered(numbered(6))
        first, second = enqueuer.queue.get(), enqueuer.queue.get_nowait()
        assert int(next(enqueuer.get())[0]) == 2
        assert [int(result.get()[0]) for result in (second, first, second)] == [1, 0, 1]

    def test_an_error_is_raised_by_its_result(self, ordered):
        enqueuer = ordered(Broken())
        first, second, third = (enqueuer.queue.get() for _ in range(3))
        assert first.get() == 0
        with pytest.raises(KeyError, match="no such picture"):
            second.get()
        assert not enqueuer.is_running()
        with pytest.raises(LoaderError, match="before this batch was loaded"):
            third.get()
        assert first.get() == 0


class Broken(Sequence):
    def __len__(self):
        return 3

    def __getitem__(self, idx):
        if idx == 1:
            raise KeyError("no such picture")
        return idx


def test_a_result_can_be_unpacked_like_its_batch(running):
    enqueuer = running(OrderedEnqueuer([("x", "y"), ("v", "w")]))
    x, y = enqueuer.queue.get()
    result = enqueuer.queue.get()
    assert (x, y, len(result), result[0], result[-1]) == ("x", "y", 2, "v", "w")


def test_a_result_does_not_wait_for_its_batch(running):
    leave = threading.Event()

    class Slow(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            assert leave.wait(TIMEOUT)
            return idx

    enqueuer = running(OrderedEnqueuer(Slow()), workers=2, max_queue_size=5)
    assert not enqueuer.queue.empty()
    assert enqueuer.queue.full()
    assert enqueuer.queue.qsize() == 5
    result = enqueuer.queue.get(block=False)
    enqueuer.queue.task_done()
    leave.set()
    assert result.get() == 0


def test_a_result_of_an_earlier_run_takes_nothing_of_the_next(running):
    enqueuer = running(OrderedEnqueuer(["a", "b"]))
    old = enqueuer.queue.get()
    enqueuer.stop()
    assert enqueuer.queue.empty()
    assert enqueuer.queue.qsize() == 0
    with pytest.raises(queue.Empty, match="call start"):
        enqueuer.queue.get()
    enqueuer.start()
    with pytest.raises(LoaderError, match="call get"):
        old.get()
    assert [enqueuer.queue.get().get() for _ in range(3)] == ["a", "b", "a"]


def test_consumers_in_several_threads_share_the_results(running, numbered):
    enqueuer = running(OrderedEnqueuer(numbered(100)), workers=2)
    got = [[] for _ in range(3)]

    def consume(to):
        for _ in range(30):
            to.append(int(enqueuer.queue.get().get()[0]))

    consumers = [threading.Thread(target=consume, args=(to,)) for to in got]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join(TIMEOUT)
        assert not consumer.is_alive()
    assert sorted(itertools.chain(*got)) == list(range(90))
    assert all(part == sorted(part) for part in got)


@pytest.mark.parametrize("enqueuer", [OrderedEnqueuer([1]), GeneratorEnqueuer(iter([1]))])
def test_a_negative_timeout_is_refused(running, enqueuer):
    with pytest.raises(ArgumentError, match="seconds from 0 on"):
        running(enqueuer).queue.get(timeout=-1)
