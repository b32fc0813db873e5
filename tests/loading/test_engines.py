"""Every engine satisfies the contract of engines."""

from __future__ import annotations

import numpy as np
import pytest

from befit import Loader, Sequence
from befit.loading import processes
from befit.loading.inline import InlineEngine
from befit.loading.processes import ProcessEngine
from befit.loading.threads import ThreadEngine
from befit.loading.worker_process import WorkerProcess
from befit.testing.load_engine import LoadEngineContract


class TestInlineEngine(LoadEngineContract):
    """Batches computed by the caller."""

    @pytest.fixture
    def engine(self):
        engine = InlineEngine()
        yield engine
        engine.close()


class TestThreadEngine(LoadEngineContract):
    """Threads share the global generators with everybody, so they do not seed them."""

    shared_generators = False

    @pytest.fixture
    def engine(self):
        engine = ThreadEngine(2)
        yield engine
        engine.close()


class TestProcessEngine(LoadEngineContract):
    """Clean interpreters."""

    @pytest.fixture
    def engine(self):
        engine = ProcessEngine(2, tasks_ahead=3)
        yield engine
        engine.close()


@pytest.mark.parametrize(
    ("hurry", "quick", "size", "stretch", "together"),
    [(60, 60, 1, 8, 2), (0, 60, 1, 1, 1), (60, 0, 1, 1, 1), (60, 60, 100_000, 1, 1)],
    ids=["quick", "slow consumer", "slow batches", "large batches"],
)
def test_more_is_ahead_while_messages_are_the_work(monkeypatch, hurry, quick, size, stretch, together):
    """Of batches that are small and quick, for a consumer that is; and several tasks are in a message."""

    class Zeros(Sequence):
        def __len__(self):
            return 100

        def __getitem__(self, idx):
            return np.zeros(size)

    def give(worker, tasks, through_socket):
        given.append(len(tasks))
        real(worker, tasks, through_socket)

    given, real = [], WorkerProcess.give
    monkeypatch.setattr(WorkerProcess, "give", give)
    monkeypatch.setattr(processes, "_HURRY", hurry)
    monkeypatch.setattr(processes, "_QUICK", quick)
    with Loader(Zeros(), workers=1, engine="processes", prefetch=2) as loader:
        seen = [loader._scheduler.engine.stretch for _ in loader]
    assert (max(seen), max(given)) == (stretch, together)
