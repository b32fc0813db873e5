"""When an epoch begins and ends, on every engine."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit import Loader, Sequence
from befit.errors import LoaderError

IN_PROCESS = pytest.mark.parametrize("engine", ["inline", "threads"])  # the scheduler is the same for all


def indices(epoch):
    return [int(batch[0]) for batch in epoch]


def test_every_epoch_is_exact(make_loader, numbered):
    """Order, multiset, on_epoch_end and what it changes, over several epochs."""
    source = numbered(9)
    loader = make_loader(source)
    for epoch in range(3):
        assert [batch.tolist() for batch in loader] == [[index, epoch] for index in range(9)]
        assert source.epoch == epoch + 1


def test_order_holds_when_batches_take_different_times(make_loader):
    """Early batches are the slow ones, so they are ready last."""

    class Jitter(Sequence):
        def __len__(self):
            return 12

        def __getitem__(self, idx):
            time.sleep(0.02 if idx % 3 == 0 else 0)
            return idx

    assert list(make_loader(Jitter())) == list(range(12))


def test_on_epoch_end_comes_after_the_last_batch_and_never_before_the_first(make_loader, numbered):
    source = numbered(4)
    epoch = iter(make_loader(source))
    assert source.epoch == 0
    for _ in range(4):
        next(epoch)
        assert source.epoch == 0, "the consumer still works on its batch"
    with pytest.raises(StopIteration):
        next(epoch)
    assert source.epoch == 1
    with pytest.raises(StopIteration):
        next(epoch)
    assert source.epoch == 1


@IN_PROCESS
def test_on_epoch_end_without_asking_for_the_end(make_loader, numbered):
    """A consumer that takes exactly len batches and leaves has completed the epoch."""
    source = numbered(4)
    loader = make_loader(source)
    for _, _ in zip(range(4), loader, strict=False):
        pass
    assert source.epoch == 1


@IN_PROCESS
def test_a_complete_epoch_ends_when_the_next_begins(make_loader, numbered):
    """Also when the old iterator is still referred to."""
    source = numbered(3)
    loader = make_loader(source)
    old = iter(loader)
    for _ in range(3):
        next(old)
    assert [batch[1] for batch in loader] == [1, 1, 1]
    assert source.epoch == 2
    assert list(old) == []


@IN_PROCESS
def test_a_complete_epoch_ends_with_close(make_loader, numbered):
    source = numbered(1)
    loader = make_loader(source)
    epoch = iter(loader)
    next(epoch)
    loader.close()
    assert source.epoch == 1


def test_break_then_iterate_is_a_complete_epoch(make_loader, numbered):
    """Nothing of the abandoned epoch is left over, and it counts as none."""
    source = numbered(8)
    loader = make_loader(source)
    for stop in (0, 3, 7):
        for batch in loader:
            if batch[0] == stop:
                break
        assert source.epoch == (0 if stop < 7 else 1)
    assert indices(loader) == list(range(8))
    assert indices(loader) == list(range(8))
    assert source.epoch == 3


@IN_PROCESS
def test_an_exception_in_the_loop_leaves_the_loader_usable(make_loader, numbered):
    loader = make_loader(numbered(5))
    with pytest.raises(ZeroDivisionError):
        [1 / (2 - int(batch[0])) for batch in loader]
    assert indices(loader) == list(range(5))


@IN_PROCESS
def test_an_older_iterator_says_that_it_was_ended(make_loader, numbered):
    loader = make_loader(numbered(4))
    old = iter(loader)
    next(old)
    assert indices(loader) == [0, 1, 2, 3]
    with pytest.raises(LoaderError, match="ended after 1 of 4 batches"):
        next(old)


@IN_PROCESS
def test_an_iterator_that_was_never_used_is_no_epoch(make_loader, numbered):
    source = numbered(2)
    loader = make_loader(source, shuffle=True, seed=0)
    iter(loader)
    iter(loader).close()
    oracle = Loader(numbered(2), shuffle=True, seed=0)
    assert [indices(loader) for _ in range(4)] == [indices(oracle) for _ in range(4)]


def test_length_may_change_between_epochs(make_loader):
    class Growing(Sequence):
        length = 2

        def __len__(self):
            return self.length

        def __getitem__(self, idx):
            assert idx < self.length
            return idx

        def on_epoch_end(self):
            self.length = {2: 5, 5: 0, 0: 3, 3: 2}[self.length]

    loader = make_loader(Growing())
    assert [(len(loader), list(loader)) for _ in range(4)] == [
        (2, [0, 1]),
        (5, [0, 1, 2, 3, 4]),
        (0, []),
        (3, [0, 1, 2]),
    ]


def test_what_getitem_made_of_the_data_is_made_again_when_the_data_changes(make_loader):
    """A table that is made when it is first needed, and thrown away by on_epoch_end."""

    class Tables(Sequence):
        def __init__(self):
            self.x, self.table = 1, None

        def __len__(self):
            return 4

        def __getitem__(self, idx):
            if self.table is None:
                self.table = [self.x * 10 + number for number in range(4)]
            return self.table[idx]

        def on_epoch_end(self):
            self.x += 1
            self.table = None

    loader = make_loader(Tables())
    for x in (1, 2, 3):
        assert list(loader) == [10 * x, 10 * x + 1, 10 * x + 2, 10 * x + 3]


def test_what_a_script_changes_in_its_class_is_seen(make_loader):
    class Scaled(Sequence):
        factor = 1

        def __len__(self):
            return 3

        def __getitem__(self, idx):
            return idx * self.factor

        def on_epoch_end(self):
            Scaled.factor += 1

    loader = make_loader(Scaled())
    assert [list(loader) for _ in range(3)] == [[0, 1, 2], [0, 2, 4], [0, 3, 6]]


def test_an_epoch_that_could_not_begin_leaves_nothing_half_told(make_loader, engine):
    """Ctrl-C while the changes are on their way: the next epoch sees them all."""

    class Interrupting(list):
        armed = False

        def __reduce_ex__(self, protocol):
            if self.armed:
                raise KeyboardInterrupt
            return super().__reduce_ex__(protocol)

    class Source(Sequence):
        def __init__(self):
            self.first, self.second = 0, Interrupting()

        def __len__(self):
            return 6

        def __getitem__(self, idx):
            return self.first

    source = Source()
    loader = make_loader(source)
    assert set(loader) == {0}
    source.first, source.second.armed = 1, True
    if engine == "processes":
        with pytest.raises(KeyboardInterrupt):
            list(loader)
    source.second.armed = False
    assert set(loader) == {1}


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_closing_from_another_thread_wakes_the_consumer(make_loader, engine):
    """A watchdog that closes a loader does not leave its loop waiting for ever."""
    release, first, raised = threading.Event(), threading.Event(), []

    class Waiting(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, idx):
            if idx:
                getattr(self, "wait", time.sleep)(3600)
            return idx

    source = Waiting()
    if engine == "threads":
        source.wait = release.wait
    loader = make_loader(source)

    def consume():
        try:
            for _ in loader:
                first.set()
        except LoaderError as error:
            raised.append(str(error))

    thread = threading.Thread(target=consume)
    thread.start()
    assert first.wait(60)
    loader.close()
    thread.join(60)
    release.set()
    assert raised == ["the loader was closed while it was waited for, by another thread"] or (
        raised and "was ended after 1 of 3 batches" in raised[0]
    )


def test_two_loaders_on_one_sequence(make_loader, numbered):
    """They run side by side, each exact."""
    source = numbered(5)
    source.on_epoch_end = lambda: None
    one, two = make_loader(source), make_loader(source, shuffle=True, seed=1)
    pairs = list(zip(one, two, strict=True))
    assert indices(first for first, second in pairs) == list(range(5))
    assert sorted(indices(second for first, second in pairs)) == list(range(5))


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(0, 12),
    workers=st.integers(0, 3),
    prefetch=st.integers(1, 5),
    stops=st.lists(st.integers(0, 12), max_size=6),
)
def test_any_sequence_of_breaks_leaves_exact_epochs(length, workers, prefetch, stops):
    """Law: against a list as model, whatever was abandoned before."""

    class Model(Sequence):
        ended = 0

        def __len__(self):
            return length

        def __getitem__(self, idx):
            return idx, self.ended

        def on_epoch_end(self):
            self.ended += 1

    source = Model()
    with Loader(source, workers=workers, prefetch=prefetch) as loader:
        complete = 0
        for stop in stops:
            taken = list(itertools.islice(loader, stop))
            assert taken == [(index, complete) for index in range(min(stop, length))]
            complete += stop >= length and stop > 0
            assert source.ended == complete
        assert list(loader) == [(index, complete) for index in range(length)]


@IN_PROCESS
def test_an_error_in_on_epoch_end_is_raised_once(make_loader):
    class Bad(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            return idx

        def on_epoch_end(self):
            raise OSError("disk full")

    loader = make_loader(Bad())
    with pytest.raises(OSError, match="disk full"):
        list(loader)
    epoch = iter(loader)
    assert [next(epoch), next(epoch)] == [0, 1]
    with pytest.raises(OSError, match="disk full"):
        loader.close()
