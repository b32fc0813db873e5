"""A state machine against a list as model: iterate, leave, kill, change, resume, run two loaders at once."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from befit import Loader, Sequence

SMALL, LARGE = 4, 20_000  # numbers in a batch: through the socket, through a slot


class Source(Sequence):
    """Batches say which they are, in which version of the source; some are large."""

    def __init__(self, deaths: str) -> None:
        self.length = 5
        self.version = 0
        self.ended = 0
        self.deaths = Path(deaths)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, idx: int, /) -> Any:
        fatal = self.deaths / str(idx)
        if fatal.exists() and os.environ.get("PYTEST_CURRENT_TEST") is None:
            fatal.unlink()  # so this batch kills one worker only
            os.kill(os.getpid(), signal.SIGKILL)
        return idx, self.version, np.full(LARGE if idx % 2 else SMALL, idx)

    def on_epoch_end(self) -> None:
        self.ended += 1
        self.version += 1


class LoaderMachine(RuleBasedStateMachine):
    """One loader with an epoch that may be open, and what it should deliver next."""

    engine, workers = "threads", 2

    @initialize(shuffle=st.booleans(), prefetch=st.integers(1, 4))
    def begin(self, shuffle: bool, prefetch: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="befit-deaths-")
        self.source = Source(self.folder.name)
        self.shuffle, self.prefetch = shuffle, prefetch
        self.loader = self.make(self.source)
        self.epoch: Iterator[Any] | None = None
        self.expected: list[tuple[int, int]] = []  # the rest of the open epoch
        self.kept: list[tuple[int, np.ndarray]] = []
        self.number = self.ended = 0
        self.delivered = 0
        self.skip = 0  # batches of the next epoch that were used before a resumption
        self.start = 0  # batches of the open epoch that were
        self.cut_off: tuple[int, int] | None = None  # epoch and position, if the last epoch was left

    def make(self, source: Source) -> Loader:
        return Loader(
            source,
            workers=self.workers,
            engine=self.engine,  # type: ignore[arg-type]
            prefetch=self.prefetch,
            shuffle=self.shuffle,
            seed=7,
            timeout=60,
        )

    def order(self, number: int) -> list[int]:
        """The order of an epoch, from a loader that has only that to do."""
        if not self.shuffle:
            return list(range(self.source.length))
        oracle = Loader(list(range(self.source.length)), shuffle=True, seed=7)
        oracle._scheduler.go_to(number, 0)
        return list(oracle)

    @precondition(lambda self: self.epoch is None)
    @rule()
    def open_epoch(self) -> None:
        self.epoch = iter(self.loader)
        self.expected = [(index, self.source.version) for index in self.order(self.number)][self.skip :]
        self.delivered, self.start = 0, self.skip

    @precondition(lambda self: self.epoch is not None)
    @rule(count=st.integers(1, 9), keep=st.booleans())
    def take(self, count: int, keep: bool) -> None:
        assert self.epoch is not None
        for _ in range(count):
            if not self.expected:
                assert next(self.epoch, None) is None
                self.over()
                return
            index, version, values = next(self.epoch)
            assert (index, version) == self.expected.pop(0)
            assert (values == index).all()
            self.delivered += 1
            self.skip, self.cut_off = 0, None
            if keep:
                self.kept.append((index, values))

    def over(self) -> None:
        self.epoch, self.skip, self.cut_off = None, 0, None
        self.number += 1
        self.ended += 1

    @precondition(lambda self: self.epoch is not None)
    @rule()
    def leave(self) -> None:
        """Drop the iterator: complete if all was delivered, else no epoch at all, or one that was cut off."""
        complete, self.epoch = not self.expected and bool(self.delivered), None
        if complete:
            self.over()
        elif self.delivered:
            self.cut_off = self.number, self.start + self.delivered
            self.number += 1

    @precondition(lambda self: self.epoch is None)
    @rule(length=st.integers(0, 9))
    def change_length(self, length: int) -> None:
        self.source.length = length
        self.skip = min(self.skip, length)
        if self.loader._scheduler._resume_at > length:
            self.loader._scheduler.go_to(self.number, length)

    @precondition(lambda self: self.epoch is None)
    @rule()
    def change_state(self) -> None:
        self.source.version += 10

    @rule()
    def resume_in_another_loader(self) -> None:
        state = self.loader.state_dict()
        self.loader.close()
        if self.epoch is not None and self.delivered and not self.expected:
            self.ended += 1  # close() completed it
        self.number, self.skip = self.place()
        self.epoch = self.cut_off = None
        self.loader = self.make(self.source)
        self.loader.load_state_dict(state)

    @precondition(lambda self: self.epoch is None or self.source.length > 1)
    @rule()
    def second_loader(self) -> None:
        """Another loader on the same source, beside this one, which may be in the middle of an epoch."""
        version = self.source.version
        with self.make(self.source) as other:
            first = next(iter(other), None)
            assert first is None or first[1] == version
        if self.source.length < 2:
            self.ended += 1  # that was all of its epoch

    def place(self) -> tuple[int, int]:
        if self.epoch is not None and self.delivered:
            return self.number, self.start + self.delivered
        if self.cut_off is not None:
            return self.cut_off[0], min(self.cut_off[1], self.source.length)
        return self.number, self.skip

    @invariant()
    def the_state_says_how_far_it_is(self) -> None:
        if hasattr(self, "loader"):
            state = self.loader.state_dict()
            assert (state["epoch"], state["position"]) == self.place()

    @invariant()
    def on_epoch_end_was_called_once_an_epoch(self) -> None:
        if hasattr(self, "source"):
            assert self.source.ended == self.ended

    @invariant()
    def what_was_kept_is_as_it_was(self) -> None:
        for index, values in getattr(self, "kept", []):
            assert (values == index).all()

    def teardown(self) -> None:
        if hasattr(self, "loader"):
            self.epoch = None
            self.loader.close()
            self.folder.cleanup()


class ProcessMachine(LoaderMachine):
    """The same on processes, which die now and then."""

    engine = "processes"

    @rule(index=st.integers(0, 8))
    def let_a_batch_kill_its_worker(self, index: int) -> None:
        (self.source.deaths / str(index)).touch()

    @rule(number=st.integers(0, 1))
    def kill_a_worker(self, number: int) -> None:
        for worker in self.loader._scheduler.engine._workers[number : number + 1]:  # type: ignore[attr-defined]
            os.kill(worker.pid, signal.SIGKILL)


class InlineMachine(LoaderMachine):
    """The same without workers."""

    engine, workers = "inline", 0


_CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much]
TestThreads = LoaderMachine.TestCase
TestThreads.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestInline = InlineMachine.TestCase
TestInline.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestProcesses = ProcessMachine.TestCase
TestProcesses.settings = settings(
    max_examples=6, stateful_step_count=25, deadline=None, suppress_health_check=_CHECKS
)
