"""What workers are told of the source."""

from __future__ import annotations

import threading

import cloudpickle
import numpy as np
import pytest

from befit.errors import LoaderError
from befit.loading.source_copy import SourceCopy
from befit.loading.state import KnownState


class Plain:
    def __init__(self):
        self.large = np.zeros(100_000)
        self.order = [0, 1, 2]
        self.view = {"order": self.order}

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return index


class Slotted(Plain):
    __slots__ = ("extra",)

    def __init__(self):
        super().__init__()
        self.extra = 1


class Custom(Plain):
    def __getstate__(self):
        return {"order": self.order, "made_by": "getstate"}

    def __setstate__(self, state):
        self.__dict__.update(state)


def copy_of(known, source):
    """Return what a worker has that was sent the source."""
    copy = SourceCopy()
    copy.take(known.whole(source))
    return copy


def test_nothing_changed_nothing_sent():
    known, source = KnownState(), Plain()
    known.whole(source)
    assert known.changes(source) == (None, None)


def test_only_changed_attributes_travel():
    known, source = KnownState(), Plain()
    copy = copy_of(known, source)
    source.order[0] = 9  # in place, and seen through two attributes
    source.epoch = 1
    del source.large
    changes, whole = known.changes(source)
    assert whole is None
    assert len(changes) < 1000
    copy.take(changes)
    worker = copy.source
    assert vars(worker) == {"order": [9, 1, 2], "view": {"order": [9, 1, 2]}, "epoch": 1}
    assert worker.view["order"] is worker.order, "what changed attributes share stays shared"
    assert known.changes(source) == (None, None)


def test_a_change_inside_a_large_array_is_seen():
    known, source = KnownState(), Plain()
    copy = copy_of(known, source)
    source.large[77_777] = 1
    changes, _ = known.changes(source)
    copy.take(changes)
    assert copy.source.large[77_777] == 1


class Handle:
    """Something with an inside of its own, like an open file."""

    def __init__(self):
        self.cache = {}

    def __getstate__(self):
        return {"cache": {}}


def test_a_change_undoes_what_the_worker_made_of_the_state_before():
    """Tables and caches of changed data may be wrong; a handle that did not change keeps what it holds."""
    known, source = KnownState(), Plain()
    source.table, source.cache, source.handle = None, {}, Handle()
    copy = copy_of(known, source)

    def work():
        worker = copy.source
        worker.table = "made"
        worker.cache["x"] = 1
        worker.order.append(7)
        worker.large[0] = 5
        worker.extra = "made"
        worker.handle.cache["file"] = "open"

    work()
    assert known.changes(source) == (None, None)
    assert copy.source.table == "made", "nothing has changed, so it is right"
    for epoch in (1, 2, 3):
        source.epoch = epoch
        copy.take(known.changes(source)[0])
        worker = copy.source
        assert (worker.table, worker.cache, worker.order, worker.large[0]) == (None, {}, [0, 1, 2], 0)
        assert not hasattr(worker, "extra")
        assert worker.handle.cache == {"file": "open"}
        assert worker.epoch == epoch
        work()


def test_a_tensor_that_a_worker_has_written_to_is_restored_as_an_array_is():
    import torch

    known, source = KnownState(), Plain()
    source.tensor = torch.zeros(3)
    copy = copy_of(known, source)
    copy.source.tensor += 1
    source.epoch = 1
    copy.take(known.changes(source)[0])
    assert copy.source.tensor.tolist() == [0, 0, 0]


def test_changes_of_many_epochs_do_not_add_up():
    """A worker keeps the last news of each attribute, and no more."""
    known, source = KnownState(), Plain()
    copy = copy_of(known, source)
    for epoch in range(50):
        source.epoch = epoch
        source.order = [epoch]
        if epoch == 20:
            del source.large
        copy.take(known.changes(source)[0])
        assert (copy.source.epoch, copy.source.order) == (epoch, [epoch])
    assert not hasattr(copy.source, "large")
    assert len(copy._news) == 2


def test_a_class_attribute_of_a_script_travels():
    """The class goes by value, and again when it has changed; an importable one is what is imported."""

    class Local(Plain):
        factor = 1

    known, source = KnownState(), Local()
    known.whole(source)
    assert known.changes(source) == (None, None)
    Local.factor = 2
    assert known.changes(source)[1] is not None
    assert known.changes(source) == (None, None)


def test_what_changes_in_the_middle_of_an_epoch_is_told_at_the_next():
    """A worker that took another's place has seen it, the others have not."""
    known, source = KnownState(), Plain()
    source.flag = 0
    old = copy_of(known, source)
    source.flag = 1
    new = SourceCopy()
    new.take(known.copy(source))
    source.flag = 0
    changes, _ = known.changes(source)
    for copy in (old, new):
        copy.take(changes)
        assert copy.source.flag == 0


def test_a_source_whose_reduction_is_short():
    """Two parts are enough for pickle."""

    class Short(Plain):
        def __reduce__(self):
            return Short, ()

    known, source = KnownState(), Short()
    known.whole(source)
    source.anything = 1
    assert known.changes(source) == (None, None), "it says itself that this does not matter"


@pytest.mark.parametrize("kind", [Slotted, Custom, list])
def test_a_source_with_its_own_pickling_travels_whole(kind):
    known = KnownState()
    source = [1, 2] if kind is list else kind()
    known.whole(source)
    assert known.changes(source) == (None, None)
    if kind is list:
        source.append(3)
    else:
        source.order.append(3)
    changes, whole = known.changes(source)
    assert changes is None
    copy = cloudpickle.loads(whole)
    assert list(copy) == [1, 2, 3] if kind is list else copy.order == [0, 1, 2, 3]


def test_the_attribute_that_cannot_travel_is_named():
    source = Plain()
    source.lock = threading.Lock()
    with pytest.raises(
        LoaderError, match=r"attribute 'lock' of Plain cannot be sent to worker processes: TypeErr"
    ):
        KnownState().whole(source)


def test_an_attribute_that_becomes_unpicklable_is_named_and_can_be_mended():
    known, source = KnownState(), Plain()
    known.whole(source)
    source.log = threading.Lock()
    with pytest.raises(LoaderError, match="attribute 'log'"):
        known.changes(source)
    source.log = "text"
    changes, _ = known.changes(source)
    assert cloudpickle.loads(changes).changed == {"log": "text"}


def test_a_source_that_refuses_pickling_is_named():
    class Refusing(Plain):
        def __reduce_ex__(self, protocol):
            raise TypeError("not me")

    with pytest.raises(LoaderError, match="Refusing cannot be sent to worker processes: TypeError: not me"):
        KnownState().whole(Refusing())


def test_modules_are_pickled_by_reference_again_afterwards():
    """This test module cannot be imported by a worker, so its classes travel whole, and only then."""
    KnownState().whole(Plain())
    assert Plain.__module__ not in cloudpickle.list_registry_pickle_by_value()
