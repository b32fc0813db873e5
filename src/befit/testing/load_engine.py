"""The test kit of ``LoadEngine``: what the scheduler of a ``Loader`` relies on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from befit.loading import batch_rng
from befit.typing import LoadEngine, LoadResult, LoadTask

_PATIENCE = 60.0  # seconds


class Source:
    """A source that shows where it is: batches hold their index and an attribute that epochs change."""

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return {"index": index, "epoch": self.epoch, "array": np.full((3, 2), index, np.float32)}


class Nothing(Source):
    """Every batch is ``None``."""

    def __getitem__(self, index: int) -> None:
        return None


class Failing(Source):
    """Odd batches raise."""

    def __getitem__(self, index: int) -> int:
        if index % 2:
            raise KeyError("odd", index)
        return index


class Random(Source):
    """Batches are random numbers from every generator that a seed promises to decide."""

    shared_generators = True

    def __getitem__(self, index: int) -> Any:
        drawn = [batch_rng().random(), batch_rng().random()]
        return [*drawn, random.random(), np.random.rand()] if self.shared_generators else drawn


class LoadEngineContract:
    """Inherit, and provide a fixture ``engine``: a new engine that was not started.

    Set ``shared_generators = False`` for an engine that cannot seed ``random`` and ``numpy.random``, because
    it shares them with others.
    """

    shared_generators = True

    @pytest.fixture
    def engine(self) -> Iterator[LoadEngine]:
        """Yield the engine under test, and close it."""
        raise NotImplementedError("provide a fixture named engine")

    def run(self, engine: LoadEngine, tasks: list[LoadTask]) -> dict[int, LoadResult]:
        """Submit ``tasks`` and return their results by ticket."""
        for task in tasks:
            engine.submit(task)
        results: dict[int, LoadResult] = {}
        while len(results) < len(tasks):
            result = engine.next_ready(_PATIENCE)
            assert result.ticket not in results, "a task was answered twice"
            results[result.ticket] = result
        return results

    def test_every_task_is_answered_once(self, engine: LoadEngine) -> None:
        """Also a batch that is asked for under two tickets."""
        engine.start(Source())
        tasks = [LoadTask(ticket, ticket % 6) for ticket in range(100, 112)]
        results = self.run(engine, tasks)
        assert sorted(results) == [task.ticket for task in tasks]
        for task in tasks:
            batch = results[task.ticket].batch
            assert batch["index"] == task.batch_index
            np.testing.assert_array_equal(batch["array"], np.full((3, 2), task.batch_index, np.float32))

    def test_a_batch_may_be_none(self, engine: LoadEngine) -> None:
        """``None`` is a batch like any other, and no error."""
        engine.start(Nothing())
        results = self.run(engine, [LoadTask(1, 0), LoadTask(2, 1)])
        assert [(result.batch, result.error) for result in results.values()] == [(None, None)] * 2

    def test_exceptions_are_results(self, engine: LoadEngine) -> None:
        """An exception keeps its type and arguments, and the engine goes on."""
        engine.start(Failing())
        results = self.run(engine, [LoadTask(index, index) for index in range(4)])
        assert [results[index].batch for index in (0, 2)] == [0, 2]
        for index in (1, 3):
            error = results[index].error
            assert type(error) is KeyError
            assert error.args == ("odd", index)

    def test_start_shows_what_changed(self, engine: LoadEngine) -> None:
        """A new epoch sees the source as it is then."""
        source = Source()
        for epoch in range(3):
            source.epoch = epoch
            engine.start(source)
            results = self.run(engine, [LoadTask(10 * epoch + index, index) for index in range(6)])
            assert {result.batch["epoch"] for result in results.values()} == {epoch}

    def test_start_drops_or_answers_abandoned_tasks(self, engine: LoadEngine) -> None:
        """Tasks of an epoch that was left do not stand in the way of the next."""
        source = Source()
        engine.start(source)
        for ticket in range(6):
            engine.submit(LoadTask(ticket, ticket))
        engine.start(source)
        engine.submit(LoadTask(50, 0))
        answered = [engine.next_ready(_PATIENCE).ticket]
        while answered[-1] != 50:
            answered.append(engine.next_ready(_PATIENCE).ticket)
        assert len(set(answered)) == len(answered)

    def test_random_numbers_follow_from_seed_epoch_and_index(self, engine: LoadEngine) -> None:
        """The same task gives the same numbers on any worker; another seed, epoch or index others."""
        source = Random()
        source.shared_generators = self.shared_generators
        engine.start(source)
        seeds = [(1, 0), (1, 1), (2, 0)]
        tasks = [
            LoadTask(100 * turn + 10 * number + index, index, seed)
            for turn in range(2)
            for number, seed in enumerate(seeds)
            for index in range(3)
        ]
        results = self.run(engine, tasks)
        first, second = ([results[task.ticket].batch for task in tasks[half : half + 9]] for half in (0, 9))
        assert first == second
        assert len({tuple(batch) for batch in first}) == 9

    def test_waiting_has_a_limit(self, engine: LoadEngine) -> None:
        """Nothing submitted, nothing ready: the engine says so in time."""
        engine.start(Source())
        with pytest.raises(TimeoutError):
            engine.next_ready(0.05)

    def test_close_is_repeatable_and_not_the_end(self, engine: LoadEngine) -> None:
        """A closed engine can be started again."""
        engine.close()
        engine.start(Source())
        engine.submit(LoadTask(0, 0))
        engine.close()
        engine.close()
        engine.start(Source())
        assert self.run(engine, [LoadTask(7, 3)])[7].batch["index"] == 3
