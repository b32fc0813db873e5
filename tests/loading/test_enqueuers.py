"""The enqueuers of Keras 2 over sequences: old loops, exact epochs, ends and errors; and what both share."""

from __future__ import annotations

import gc
import threading

import pytest

from befit import Sequence
from befit.errors import ArgumentError, LoaderError, UnsupportedObjectError
from befit.loading import GeneratorEnqueuer, OrderedEnqueuer, SequenceEnqueuer

MODES = {"inline": (0, False), "threads": (2, False), "processes": (2, True)}
TIMEOUT = 30  # seconds after which a wait is a failure


@pytest.fixture(params=list(MODES))
def mode(request):
    """Workers and use_multiprocessing."""
    return MODES[request.param]


@pytest.fixture
def ordered(mode):
    """Make an enqueuer over a sequence and start it; it is stopped after the test."""
    made = []

    def make(sequence, *, max_queue_size=10, **settings):
        workers, processes = mode
        enqueuer = OrderedEnqueuer(sequence, use_multiprocessing=processes, **settings)
        enqueuer.start(workers=workers, max_queue_size=max_queue_size)
        made.append(enqueuer)
        return enqueuer

    yield make
    for enqueuer in made:
        enqueuer.stop()


def take(batches, count):
    return [next(batches) for _ in range(count)]


def threads_named(start):
    gc.collect()  # loaders of other tests that nobody has closed
    return [thread for thread in threading.enumerate() if thread.name.startswith(start)]


class TestOrdered:
    def test_epochs_follow_one_another_and_each_is_exact(self, ordered, numbered):
        source = numbered(4)
        batches = ordered(source).get()
        assert [batch.tolist() for batch in take(batches, 12)] == [
            [index, epoch] for epoch in range(3) for index in range(4)
        ]

    def test_on_epoch_end_is_called_once_an_epoch(self, ordered, numbered):
        """Not with the last batch, which may still be in use, but when more is asked for."""
        source = numbered(3)
        batches = ordered(source).get()
        take(batches, 3)
        assert source.epoch == 0
        take(batches, 1)
        assert source.epoch == 1
        take(batches, 2)
        assert source.epoch == 1

    def test_shuffle_permutes_each_epoch(self, ordered, numbered):
        batches = ordered(numbered(40), shuffle=True).get()
        epochs = [[int(batch[0]) for batch in take(batches, 40)] for _ in range(2)]
        assert [sorted(epoch) for epoch in epochs] == [list(range(40))] * 2
        assert epochs[0] != epochs[1]
        assert epochs[0] != sorted(epochs[0])

    def test_an_error_arrives_with_its_type_and_stops(self, ordered):
        class Broken(Sequence):
            def __len__(self):
                return 3

            def __getitem__(self, idx):
                if idx == 1:
                    raise KeyError("no such picture")
                return idx

        enqueuer = ordered(Broken())
        batches = enqueuer.get()
        assert next(batches) == 0
        with pytest.raises(KeyError, match="no such picture"):
            next(batches)
        assert not enqueuer.is_running()
        assert threads_named("befit-loader") == []

    def test_stop_and_start_begins_an_epoch_anew(self, ordered, mode, numbered):
        enqueuer = ordered(numbered(3))
        assert enqueuer.is_running()
        batches = enqueuer.get()
        take(batches, 2)
        enqueuer.stop()
        assert not enqueuer.is_running()
        assert list(batches) == []
        enqueuer.start(workers=mode[0])
        assert [batch.tolist() for batch in take(enqueuer.get(), 3)] == [[0, 0], [1, 0], [2, 0]]

    def test_batches_that_are_none_are_skipped(self, ordered):
        batches = ordered([0, None, 2]).get()
        assert take(batches, 4) == [0, 2, 0, 2]

    def test_generators_share_the_batches(self, ordered, numbered):
        enqueuer = ordered(numbered(4))
        one, two = enqueuer.get(), enqueuer.get()
        assert [int(next(batches)[0]) for batches in (one, two, two, one)] == [0, 1, 2, 3]

    def test_a_sequence_without_batches_is_no_endless_loop(self, ordered):
        with pytest.raises(LoaderError, match="has no batches"):
            next(ordered([]).get())


def test_the_queue_is_bounded():
    """One batch in use and ``max_queue_size`` ahead of it are asked for, never more."""
    asked = threading.Semaphore(0)
    loaded = []

    class Counting(Sequence):
        def __len__(self):
            return 100

        def __getitem__(self, idx):
            loaded.append(idx)
            asked.release()
            return idx

    enqueuer = OrderedEnqueuer(Counting())
    enqueuer.start(workers=2, max_queue_size=6)
    assert next(enqueuer.get()) == 0
    for _ in range(7):
        assert asked.acquire(timeout=TIMEOUT)
    enqueuer.stop()  # joins the threads: whatever they would do, they have done
    assert sorted(loaded) == list(range(7))


def test_stop_waits_for_a_consumer_in_another_thread():
    entered, leave = threading.Event(), threading.Event()

    class Slow(Sequence):
        def __len__(self):
            return 9

        def __getitem__(self, idx):
            entered.set()
            leave.wait(TIMEOUT)
            return idx

    enqueuer = OrderedEnqueuer(Slow())
    enqueuer.start(workers=1)
    got = []
    consumer = threading.Thread(target=lambda: got.extend(enqueuer.get()))
    consumer.start()
    assert entered.wait(TIMEOUT)
    enqueuer.stop(timeout=0.01)  # comes back although the batch does not come
    assert not enqueuer.is_running()
    leave.set()
    consumer.join(TIMEOUT)
    assert not consumer.is_alive()
    assert got == [0]
    assert threads_named("befit-loader") == []  # the consumer, the last one out, ended them


def test_no_workers_are_no_processes(numbered):
    enqueuer = OrderedEnqueuer(numbered(2), use_multiprocessing=True)
    enqueuer.start(workers=0)
    assert next(enqueuer.get()).tolist() == [0, 0]
    enqueuer.stop()


def test_stop_inside_on_epoch_end():
    class Once(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            return idx

        def on_epoch_end(self):
            enqueuer.stop()

    enqueuer = OrderedEnqueuer(Once())
    enqueuer.start(workers=1)
    batches = enqueuer.get()
    assert take(batches, 2) == [0, 1]
    assert next(batches, "nothing") in (0, "nothing")
    assert not enqueuer.is_running()
    assert list(batches) == []


@pytest.fixture(params=["ordered", "generator"])
def either(request):
    return OrderedEnqueuer([1, 2]) if request.param == "ordered" else GeneratorEnqueuer(iter([1, 2]))


class TestBoth:
    def test_get_before_start(self, either):
        with pytest.raises(LoaderError, match="call start"):
            next(either.get())

    def test_start_twice(self, either):
        either.start()
        with pytest.raises(LoaderError, match="call stop"):
            either.start()
        either.stop()
        either.stop()

    @pytest.mark.parametrize("settings", [{"workers": -1}, {"max_queue_size": 0}])
    def test_numbers_out_of_range(self, either, settings):
        with pytest.raises(ArgumentError, match="write a whole number"):
            either.start(**settings)
        assert not either.is_running()

    def test_both_have_the_base_of_keras_2(self, either):
        assert isinstance(either, SequenceEnqueuer)


def test_a_number_is_no_sequence():
    with pytest.raises(UnsupportedObjectError, match="no source of batches"):
        OrderedEnqueuer(3)
