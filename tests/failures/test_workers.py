"""Workers that die or hang: no batch is lost, none is repeated, and nobody waits for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from befit import Loader, Sequence
from befit.errors import WorkerDiedError, WorkerTimeoutError
from befit.loading import worker_process
from befit.loading.processes import ProcessEngine
from befit.typing import LoadTask

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen


class Deadly(Sequence):
    """Kills its worker at some batches: the first time only, or each time."""

    def __init__(self, folder: Path, kill: str, at: list[int], *, always: bool = False) -> None:
        self.folder, self.kill, self.at, self.always = folder, kill, at, always
        self.ended = 0

    def __len__(self) -> int:
        return 12

    def __getitem__(self, idx: int) -> int:
        if idx in self.at:
            mark = self.folder / str(idx)
            if self.always or not mark.exists():
                mark.touch()
                if self.kill == "exit":
                    os._exit(7)
                os.kill(os.getpid(), getattr(signal, self.kill))
        return idx

    def on_epoch_end(self) -> None:
        self.ended += 1


def collect(loader: Loader, got: list[int]) -> None:
    """Append what the loader delivers, as far as it comes."""
    for batch in loader:
        got.append(batch)


@pytest.mark.parametrize("kill", ["SIGKILL", "SIGSEGV", "exit"])
def test_batches_of_a_dead_worker_are_computed_by_another(processes, tmp_path, kill):
    """Every batch once, in order, though both workers die and one of them twice."""
    source = Deadly(tmp_path, kill, [0, 1, 7])
    loader = processes(source)
    assert list(loader) == list(range(12))
    assert list(loader) == list(range(12))
    assert source.ended == 2


@pytest.mark.parametrize(
    ("kill", "words"), [("SIGKILL", "was killed by SIGKILL"), ("exit", "ended itself with exit code 7")]
)
def test_a_batch_that_kills_twice_is_named(processes, tmp_path, kill, words):
    """After the batches before it; the loader is usable afterwards, and the epoch was none."""
    source = Deadly(tmp_path, kill, [5], always=True)
    loader = processes(source)
    got: list[int] = []
    with pytest.raises(WorkerDiedError, match=rf"batch index 5 killed two workers.*{words}") as caught:
        collect(loader, got)
    assert got == [0, 1, 2, 3, 4]
    assert "batch index 5 in epoch 0" in caught.value.__notes__[0]
    assert source.ended == 0
    source.at = []
    assert list(loader) == list(range(12))


def test_workers_killed_from_outside_are_replaced(processes, numbered_pids):
    """Between two epochs, and in the middle of one."""
    loader = processes(numbered_pids())
    first = set(loader)
    for pid in {pid for _, pid in first}:
        os.kill(pid, signal.SIGKILL)
    assert [index for index, _ in loader] == list(range(8))
    for position, (index, pid) in enumerate(loader):
        assert index == position
        if position == 2:
            os.kill(pid, signal.SIGKILL)
    assert position == 7


def test_a_worker_killed_while_it_sends_a_large_batch(processes, children):
    """Half a message is thrown away, and the batch computed again."""

    class Large(Sequence):
        def __len__(self):
            return 6

        def __getitem__(self, idx):
            return os.getpid(), np.full(4_000_000, idx, np.int32)

    loader = processes(Large(), prefetch=2)
    seen = []
    for position, (pid, batch) in enumerate(loader):
        assert batch[0] == batch[-1] == position
        seen.append(pid)
        if position == 1:  # by now both workers stand before a full socket
            for worker in children():
                os.kill(worker, signal.SIGKILL)
    assert position == 5
    assert len(set(seen)) > 2


def test_a_worker_that_closes_its_own_descriptors_counts_as_dead(processes, tmp_path):
    """It lives on, but nobody will hear from it again."""

    class Closing(Deadly):
        def __getitem__(self, idx):
            mark = self.folder / "closed"
            if idx == 3 and not mark.exists():
                mark.touch()
                os.closerange(3, 256)
            return idx

    assert list(processes(Closing(tmp_path, "", []))) == list(range(12))


def test_what_a_worker_sent_before_it_died_is_not_computed_again(tmp_path):
    class Logging(Deadly):
        def __getitem__(self, idx):
            with open(self.folder / "log", "a") as file:
                file.write(f"{idx} ")
            return super().__getitem__(idx)

    engine = ProcessEngine(1, tasks_ahead=9)
    try:
        engine.start(Logging(tmp_path, "SIGKILL", [2]))
        for number in range(5):
            engine.submit(LoadTask(number, number))
        (worker,) = engine._workers
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        engine.submit(LoadTask(5, 5))  # finds the socket closed, with answers in it
        results = {result.ticket: result for result in (engine.next_ready(DEADLINE) for _ in range(6))}
    finally:
        engine.close()
    assert [result.batch for _, result in sorted(results.items())] == [0, 1, None, 3, 4, 5]
    assert isinstance(results[2].error, WorkerDiedError)
    assert (tmp_path / "log").read_text() == "0 1 2 3 4 5 "


def test_a_worker_that_leaves_a_child_behind_is_missed(processes, tmp_path):
    """The child keeps the worker's socket open, so that says nothing."""

    class Leaving(Deadly):
        def __getitem__(self, idx):
            mark = self.folder / "child"
            if idx == 3 and not mark.exists():
                child = os.fork()
                if not child:
                    signal.pause()
                mark.write_text(str(child))
                os.kill(os.getpid(), signal.SIGKILL)
            return idx

    try:
        assert list(processes(Leaving(tmp_path, "", []))) == list(range(12))
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_hung_batch_is_named_in_time(engine, children):
    """The loader is usable afterwards; a hung process is ended, a hung thread abandoned."""

    class Hanging(Sequence):
        hang = False

        def __len__(self):
            return 6

        def __getitem__(self, idx):
            if self.hang and idx == 2:
                time.sleep(3600 if engine == "processes" else 10)
            return idx

    before = children()
    source = Hanging()
    got: list[int] = []
    with Loader(source, workers=2, engine=engine, timeout=DEADLINE) as loader:
        assert list(loader) == list(range(6))
        source.hang = True
        loader._scheduler.timeout = 2  # now that the workers are there
        with pytest.raises(WorkerTimeoutError, match=r"batch index 2 did not come within 2 s") as caught:
            collect(loader, got)
        assert isinstance(caught.value, TimeoutError)
        assert got == [0, 1]
        assert children() == before
        source.hang = False
        loader._scheduler.timeout = DEADLINE
        assert list(loader) == list(range(6))


def test_a_hung_thread_ends_when_it_wakes_up():
    """Its loader is closed and in use again by then."""
    release = threading.Event()

    class Hanging(Sequence):
        hang = True

        def __len__(self):
            return 2

        def __getitem__(self, idx):
            if self.hang and idx == 1:
                release.wait(DEADLINE)
            return idx

    before = set(threading.enumerate())
    source = Hanging()
    with Loader(source, workers=2, timeout=0.5) as loader:
        with pytest.raises(WorkerTimeoutError):
            list(loader)
        (hung,) = set(threading.enumerate()) - before
        source.hang = False
        assert list(loader) == [0, 1]
    loader.close()
    release.set()
    hung.join(DEADLINE)
    assert not hung.is_alive()


def test_an_error_of_that_name_from_getitem_is_an_error_like_any_other(processes):
    """A loader inside of __getitem__ may have lost a worker; this one has not."""

    class Nested(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, idx):
            raise WorkerDiedError("somebody else's")

    for loader in (processes(Nested()), Loader(Nested(), workers=1), Loader(Nested())):
        with pytest.raises(WorkerDiedError) as caught:
            list(loader)
        assert str(caught.value) == "somebody else's"


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_time_limit_that_no_clock_has(engine):
    with Loader([1, 2], workers=1, engine=engine, timeout=float("inf")) as loader:
        assert list(loader) == [1, 2]


def test_what_is_left_of_an_epoch_is_not_begun(processes, tmp_path, monkeypatch):
    """A worker learns at once that nobody wants the tasks that it holds."""
    begun, gate, log = (tmp_path / name for name in ("begun", "gate", "log"))
    os.mkfifo(begun)
    os.mkfifo(gate)

    class Logging(Sequence):
        wait = True

        def __len__(self):
            return 12

        def __getitem__(self, idx):
            with open(log, "a") as file:
                file.write(f"{idx} ")
            if idx == 1 and self.wait:
                begun.write_bytes(b"")
                gate.read_bytes()
            return idx

    def abandon(worker):
        real(worker)
        gate.write_bytes(b"")

    real = worker_process.WorkerProcess.abandon
    monkeypatch.setattr(worker_process.WorkerProcess, "abandon", abandon)
    source = Logging()
    loader = processes(source, workers=1, prefetch=8)
    for _ in loader:
        begun.read_bytes()
        break
    source.wait = False
    assert list(loader) == list(range(12))
    assert log.read_text().split() == ["0", "1", *map(str, range(12))]


def test_nested_processes_in_getitem(processes):
    """Workers are no daemons: they may have children of their own."""

    class Nested(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            done = subprocess.run([sys.executable, "-c", f"print({idx})"], capture_output=True, check=True)
            return int(done.stdout)

    assert list(processes(Nested())) == [0, 1]
