"""engine='ray': the contract of engines, and that batches and state travel as they should."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from befit import CustomObjectScope, Loader, Sequence, get_custom_objects
from befit.errors import LoaderError
from befit.testing.load_engine import LoadEngineContract
from befit.typing import LoadTask

ray = pytest.importorskip("ray")

from befit.integrations.ray.loading import RayEngine  # noqa: E402 - it imports ray

PATIENCE = 60.0  # seconds


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One Ray for all tests of the module."""
    assert not ray.is_initialized(), "importing this module, or another test, started Ray"
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def engine():
    """An engine of one worker."""
    engine = RayEngine(1, tasks_ahead=3)
    yield engine
    engine.close()


@pytest.fixture
def make_loader():
    """Make loaders with Ray workers; all are closed after the test."""
    loaders = []

    def make(source, workers=2):
        loaders.append(Loader(source, workers=workers, engine="ray", prefetch=3, timeout=PATIENCE))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


def one_batch(engine, index=0, ticket=0):
    engine.submit(LoadTask(ticket, index))
    return engine.next_ready(PATIENCE)


class Base(Sequence):
    length = 12

    def __len__(self):
        return self.length


class Numbered(Base):
    def __getitem__(self, idx):
        return idx


class TestRayEngine(LoadEngineContract):
    """Actors."""

    @pytest.fixture
    def engine(self):
        engine = RayEngine(2, tasks_ahead=3)
        yield engine
        engine.close()


class TestBatches:
    """What arrives is what was asked for."""

    def test_the_order_is_kept_when_durations_differ(self, make_loader):
        class Jitter(Base):
            length = 30

            def __getitem__(self, idx):
                time.sleep(0.001 * (idx * 7 % 13))
                return idx

        loader = make_loader(Jitter())
        assert list(loader) == list(range(30))
        assert list(loader) == list(range(30))

    def test_arrays_are_equal_and_writable_in_any_layout(self, engine):
        class Arrays(Base):
            def __getitem__(self, idx):
                grid = np.arange(24.0).reshape(4, 6) + idx
                days = np.array(["2001-01-01", "NaT"], "datetime64[D]")
                return {
                    "large": np.full(300_000, idx, np.float32),
                    "fortran": np.asfortranarray(grid),
                    "gaps": grid[::2, ::3],
                    "scalar": np.array(7),
                    "empty": np.zeros((0, 3)),
                    "fields": np.array([(1, 2.5)], "i4,f8"),
                    "days": days,
                    "same": [days, days],
                }

        source = Arrays()
        engine.start(source)
        result = one_batch(engine, 5)
        expected = source[5]
        for name, array in result.batch.items():
            np.testing.assert_array_equal(array, expected[name])
        assert 1_200_000 < result.nbytes < 1_210_000
        for name, array in result.batch.items():
            if name != "same":
                assert array.flags.writeable, name
        result.batch["large"] += 1
        assert result.batch["same"][0] is result.batch["same"][1]

    def test_the_arrays_of_the_source_are_writable_in_the_worker(self, engine):
        """What is put into Ray's memory as it is would be read-only there."""

        class InPlace(Base):
            def __init__(self):
                self.room = np.zeros(100_000)

            def __getitem__(self, idx):
                self.room += 1
                return float(self.room.sum())

        engine.start(InPlace())
        assert one_batch(engine).batch == 100_000

    def test_exceptions_arrive_with_type_arguments_and_traceback(self, engine):
        class Special(Exception):
            def __init__(self, code, text):
                super().__init__(f"{code}: {text}")
                self.code = code

        class Locked(Exception):
            def __init__(self, message):
                super().__init__(message)
                self.lock = threading.Lock()

        class Failing(Base):
            def __getitem__(self, idx):
                if idx == 0:
                    raise Special(7, "broken")
                if idx == 1:
                    raise Locked("held")
                if idx == 2:
                    raise SystemExit(3)
                return (number for number in range(3))

        engine.start(Failing())
        special, locked, ended, generator = (one_batch(engine, index, index).error for index in range(4))
        assert (type(special).__name__, special.args, special.code) == ("Special", ("7: broken",), 7)
        assert "in __getitem__" in special.__notes__[0], "the worker's traceback"
        assert type(locked) is LoaderError
        assert "Locked: held (the exception itself cannot be pickled)" in str(locked)
        assert "in __getitem__" in locked.__notes__[0]
        assert (type(ended), ended.code) == (SystemExit, 3)
        assert type(generator) is TypeError
        assert "the batch cannot be sent from a worker process" in "".join(generator.__notes__)

    def test_an_exception_names_its_batch_after_the_batches_before(self, make_loader):
        class Failing(Base):
            def __getitem__(self, idx):
                if idx == 3:
                    raise KeyError("name", 4)
                return idx

        got = []
        with pytest.raises(KeyError) as caught:  # noqa: PT012 - what came before matters
            for batch in make_loader(Failing()):
                got.append(batch)
        assert (got, caught.value.args) == ([0, 1, 2], ("name", 4))
        assert "befit: while loading batch index 3 in epoch 0" in caught.value.__notes__


class TestState:
    """The workers know the source as it is when an epoch begins."""

    def test_only_changes_are_sent(self, make_loader, monkeypatch):
        """And what a worker has made of the state of before is not there any more."""
        from befit.integrations.ray import loading

        class Growing(Base):
            def __init__(self):
                self.epoch, self.old, self.large = 0, "here", bytes(100_000)

            def __getitem__(self, idx):
                self.calls = getattr(self, "calls", 0) + 1
                return self.epoch, getattr(self, "old", "gone"), len(self.large), self.calls

            def on_epoch_end(self):
                self.epoch += 1
                if self.epoch == 2:
                    del self.old

        sent = []
        put = loading._put
        monkeypatch.setattr(loading, "_put", lambda pickled: (sent.append(len(pickled)), put(pickled))[1])
        loader = make_loader(Growing(), workers=1)
        for epoch, old in enumerate(["here", "here", "gone"]):
            assert list(loader) == [(epoch, old, 100_000, call) for call in range(1, 13)]
        assert sent[0] > 100_000
        assert max(sent[1:]) < 2_000

    def test_a_source_that_pickles_itself_is_sent_whole(self, make_loader):
        class Own(Base):
            number = 0

            def __getstate__(self):
                return {"number": self.number}

            def __getitem__(self, idx):
                return self.number

            def on_epoch_end(self):
                self.number += 1

        loader = make_loader(Own())
        assert [set(loader) for _ in range(3)] == [{0}, {1}, {2}]

    def test_an_epoch_that_was_left_does_not_reach_into_the_next(self, make_loader):
        class Current(Base):
            number = 0

            def __getitem__(self, idx):
                return idx, self.number

        source = Current()
        loader = make_loader(source)
        for number in range(3):
            source.number = number
            left = iter(loader)
            assert next(left) == (0, number)
            del left
        source.number = 3
        assert list(loader) == [(index, 3) for index in range(12)]

    def test_an_attribute_that_cannot_travel_is_named_before_anything_starts(self, engine):
        source = Numbered()
        source.lock = threading.Lock()
        with pytest.raises(LoaderError, match=r"attribute 'lock' of Numbered .* use engine='threads'"):
            engine.start(source)
        del source.lock
        engine.start(source)
        assert one_batch(engine).error is None

    def test_a_source_that_cannot_be_rebuilt_says_why(self, make_loader):
        class Rebuilt(Base):
            def __getitem__(self, idx):
                return idx

            def __getstate__(self):
                return {"x": 1}

            def __setstate__(self, state):
                raise ImportError("No module named 'gone'")

        loader = make_loader(Rebuilt())
        for _ in range(2):
            with pytest.raises(
                LoaderError, match=r"cannot rebuild .*Rebuilt: ImportError: No module named 'gone'"
            ) as caught:
                next(iter(loader))
            assert "__setstate__" in "".join(caught.value.__cause__.__notes__)

    def test_modules_are_found_where_the_loader_finds_them(self, make_loader, tmp_path, monkeypatch):
        (tmp_path / "only_here.py").write_text(
            "class Source:\n"
            "    def __len__(self): return 2\n"
            "    def __getitem__(self, index): return index, __name__\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        import only_here

        assert list(make_loader(only_here.Source())) == [(0, "only_here"), (1, "only_here")]

    def test_an_open_scope_is_open_in_the_workers(self, make_loader):
        class Named(Base):
            def __getitem__(self, idx):
                return get_custom_objects().get("half")

        loader = make_loader(Named())
        with CustomObjectScope({"half": 0.5}):
            assert set(loader) == {0.5}
        assert set(loader) == {None}
