"""What workers are told of the source."""

from __future__ import annotations

import threading

import cloudpickle
import numpy as np
import pytest

from befit.errors import LoaderError
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


def worker_after(source, *news):
    """Apply what was sent, as a worker does."""
    for pickled in news:
        cloudpickle.loads(pickled).apply(source)
    return source


def test_nothing_changed_nothing_sent():
    known, source = KnownState(), Plain()
    known.whole(source)
    assert known.changes(source) == (None, None)


def test_only_changed_attributes_travel():
    known, source = KnownState(), Plain()
    worker = cloudpickle.loads(known.whole(source))
    source.order[0] = 9  # in place, and seen through two attributes
    source.epoch = 1
    del source.large
    changes, whole = known.changes(source)
    assert whole is None
    assert len(changes) < 1000
    worker_after(worker, changes)
    assert vars(worker) == {"order": [9, 1, 2], "view": {"order": [9, 1, 2]}, "epoch": 1}
    assert worker.view["order"] is worker.order, "what changed attributes share stays shared"
    assert known.changes(source) == (None, None)


def test_a_change_inside_a_large_array_is_seen():
    known, source = KnownState(), Plain()
    worker = cloudpickle.loads(known.whole(source))
    source.large[77_777] = 1
    changes, _ = known.changes(source)
    worker_after(worker, changes)
    assert worker.large[77_777] == 1


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
