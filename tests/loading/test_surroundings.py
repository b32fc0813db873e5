"""What is open around a loader reaches its workers: custom objects, on every engine, epoch by epoch."""

from __future__ import annotations

import numpy as np
import pytest

from befit import CustomObjectScope, Loader, Sequence, get_custom_objects
from befit._internal.carried import surroundings
from befit.errors import LoaderError
from befit.loading import processes


class Names(Sequence):
    """Batches are what a name stands for."""

    def __len__(self):
        return 3

    def __getitem__(self, idx):
        found = get_custom_objects().get("thing")
        return found() if callable(found) else found


class OfThisModule:
    """A class that a worker cannot import."""

    def __call__(self):
        return "of this module"


def test_workers_see_the_scope_of_the_epoch(make_loader):
    """Opened, changed and left between epochs, with workers that stay."""
    loader = make_loader(Names())
    assert list(loader) == [None] * 3
    with CustomObjectScope({"thing": 1}):
        assert list(loader) == [1] * 3
        with CustomObjectScope({"thing": 2, "other": 5}):
            assert list(loader) == [2] * 3
        with CustomObjectScope({"other": 5}):
            assert list(loader) == [1] * 3, "of the outer one"
        get_custom_objects()["thing"] = 3
        assert list(loader) == [3] * 3
    assert list(loader) == [None] * 3


@pytest.mark.parametrize("thing", [lambda: "a lambda", OfThisModule(), OfThisModule().__call__])
def test_objects_of_a_script_travel(make_loader, thing):
    with CustomObjectScope({"thing": thing}):
        assert list(make_loader(Names())) == [thing()] * 3


def test_a_worker_that_takes_anothers_place_sees_the_scope():
    import os
    import signal

    class Pids(Names):
        def __getitem__(self, idx):
            return os.getpid(), super().__getitem__(idx)

    with CustomObjectScope({"thing": 7}), Loader(Pids(), workers=1, engine="processes") as loader:
        ((pid, _), *_) = list(loader)
        os.kill(pid, signal.SIGKILL)
        assert [value for _, value in loader] == [7] * 3


def test_keras_finds_the_names_in_a_worker(make_loader, engine):
    """Not only befit does."""

    class Regularized(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            import keras

            return type(keras.regularizers.get("half")).__name__

    class Half:
        def __call__(self, x):
            return 0.5 * x

        def get_config(self):
            return {}

    if engine == "processes":
        import keras  # noqa: F401 - the worker imports it, too, as the scope is entered before the work
    with CustomObjectScope({"half": Half()}):
        assert list(make_loader(Regularized())) == ["Half"] * 2


def test_what_a_block_hides_is_hidden_where_it_is_carried_to():
    assert surroundings() == [], "nothing is open"
    get_custom_objects()["thing"] = "of the process"
    try:
        with CustomObjectScope():
            get_custom_objects().clear()
            (carried,) = surroundings()
        with carried:
            assert "thing" not in get_custom_objects()
        assert "thing" in get_custom_objects()
    finally:
        del get_custom_objects()["thing"]


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_worker_processes_see_the_scope_however_they_start(start_method):
    with (
        CustomObjectScope({"thing": OfThisModule()}),
        Loader(Names(), workers=1, engine="processes", start_method=start_method) as loader,
    ):
        assert list(loader) == ["of this module"] * 3
        with CustomObjectScope({"thing": 2}):
            assert list(loader) == [2] * 3, "an epoch later"


def test_an_object_that_cannot_travel_is_an_error_before_a_worker_starts(monkeypatch):
    import threading

    started = []
    monkeypatch.setattr(processes, "WorkerProcess", lambda *_args, **_settings: started.append(1))
    with (
        CustomObjectScope({"thing": threading.Lock()}),
        Loader(Names(), workers=1, engine="processes") as loader,
        pytest.raises(LoaderError, match="open around this loader cannot be sent to worker processes"),
    ):
        list(loader)
    assert started == []


def test_threads_work_under_the_settings_of_the_consumer(make_loader, engine):
    """Such as NumPy's errstate; a process has settings of its own."""
    if engine == "processes":
        pytest.skip("a process has settings of its own")

    class Dividing(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, idx):
            return float(np.float64(1) / np.float64(0))

    with np.errstate(divide="ignore"):
        assert list(make_loader(Dividing())) == [float("inf")] * 3
