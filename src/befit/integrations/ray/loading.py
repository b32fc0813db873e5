"""The engine of Ray: its workers are actors, on any machine of a cluster.

Who owns Ray: nobody here. An engine that starts connects as ``ray.init`` does, to the cluster of
``RAY_ADDRESS``, to one that runs on this machine, or to a new one on this machine. It never disconnects,
because other loaders and the user's own objects may live there by then; Ray ends what it started when the
interpreter ends.

Who owns an actor: the engine that started it. It is ended by ``RayEngine.close``, by the finalizer of an
engine that is dropped, and by Ray when this process ends.
"""

from __future__ import annotations

import logging
import os
import sys
import textwrap
import time
import weakref
from collections import deque
from typing import Any

import numpy as np
import ray

from befit._internal.failure import restore
from befit._internal.pickling import decode
from befit.errors import LoaderError, WorkerDiedError
from befit.integrations.ray.actor import Answer, LoadActor
from befit.loading.state import KnownState, pickled_surroundings
from befit.typing import BatchSource, LoadResult, LoadTask

_LOOK_EVERY = 1.0  # seconds
_START_LIMIT = 300.0  # seconds for the first worker to start; Ray may have to start a machine for it


class _Worker:
    """An actor as the engine sees it."""

    def __init__(self) -> None:
        self.actor = LoadActor.remote()
        self.started = time.monotonic()
        self.place = ""  # where it runs; known once it does
        self.is_ready = False  # whether it said that it has the source of this epoch
        self.held: dict[Any, LoadTask] = {}  # by reference to the answer, in the order given
        self.lost = 0  # how many of these will never be answered
        self.end = ""  # how it ended


class RayEngine:
    """Up to ``workers`` Ray actors; each holds at most ``tasks_ahead`` tasks, answered in the order given.

    Actors that find no place in the cluster are waited for while the others do the work.
    """

    def __init__(self, workers: int, *, tasks_ahead: int) -> None:
        self._count = workers
        self._tasks_ahead = tasks_ahead
        self.stretch = 1
        self._source: BatchSource | None = None
        self._known = KnownState()
        self._around = b""
        self._workers: list[_Worker] = []
        self._expected: dict[Any, _Worker] = {}  # whose answer each reference is, oldest first
        self._waiting: deque[LoadTask] = deque()
        self._results: deque[LoadResult] = deque()
        self._careful = 0  # answers to come before a worker may hold more than one task again
        self._failed_starts = 0  # since a worker last started
        self._finalizer: weakref.finalize[..., RayEngine] | None = None
        self._pid = 0
        self._session: tuple[str, str] | None = None

    def start(self, source: BatchSource) -> None:
        """Start the workers, or tell them what changed; connect to Ray unless that was done.

        Raises:
            LoaderError: ``source`` cannot be sent, or this process was forked from one that is connected.
        """
        if self._workers and not self._is_parents() and self._session == _session():
            self._source = source
            self._forget_tasks()
            self._around = pickled_surroundings()
            changes, whole = self._known.changes(source)
            shared = _put(whole if whole is not None else changes)
            for worker in self._workers:
                self._prepare(worker, shared)
            return
        self.close()
        self._around = pickled_surroundings()
        whole = self._known.whole(source)
        _connect()
        self._source = source
        self._session = _session()
        self._pid = os.getpid()
        # The finalizer holds these very objects, so they are not replaced while it lives.
        self._finalizer = weakref.finalize(
            self, _end_own, self._workers, self._expected, self._pid, self._session
        )
        shared = _put(whole)
        for _ in range(self._count):
            self._start_worker(shared)

    def submit(self, task: LoadTask) -> None:
        """Give the task to a worker, or to the queue if all have enough."""
        self._waiting.append(task)
        self._assign()

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Wait for a worker to answer, and for those that never will.

        Raises:
            TimeoutError: nothing was done within ``timeout`` seconds.
            LoaderError: workers cannot start, or cannot rebuild the source, or Ray was shut down.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._assign()
            if self._results:
                return self._results.popleft()
            remaining = _LOOK_EVERY if deadline is None else deadline - time.monotonic()
            self._listen(max(0.0, min(_LOOK_EVERY, remaining)))
            if not self._results and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"no batch within {timeout} s")

    def close(self) -> None:
        """End the workers, also hung ones; Ray itself goes on."""
        self._source = None
        self._waiting.clear()
        self._results.clear()
        self._careful = self._failed_starts = 0
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None
        self._workers = []
        self._expected = {}

    def _is_parents(self) -> bool:
        return self._pid not in (0, os.getpid())

    def _start_worker(self, shared: Any) -> None:
        worker = _Worker()
        self._workers.append(worker)
        self._prepare(worker, shared)

    def _prepare(self, worker: _Worker, shared: Any) -> None:
        """Bring a worker up to date; it has to answer, so that a dead one is found out before it has work."""
        worker.is_ready = False
        reference = worker.actor.prepare.remote(_import_path(), self._around, shared)
        self._expected[reference] = worker

    def _forget_tasks(self) -> None:
        """Forget the tasks of an epoch that was left; workers finish what they hold, for nobody."""
        self._waiting.clear()
        self._results.clear()
        for reference, worker in list(self._expected.items()):
            if reference in worker.held:
                del self._expected[reference]
        for worker in self._workers:
            worker.held.clear()

    def _assign(self) -> None:
        """Give waiting tasks to the workers that hold fewest, and start workers where some have died."""
        if self._source is None:
            return
        if self._is_parents():
            raise LoaderError("this epoch belongs to another process; its fork must begin one of its own")
        if not ray.is_initialized():
            raise LoaderError(
                "Ray was shut down during an epoch; do so between epochs, or after Loader.close()"
            )
        if len(self._workers) < self._count:
            shared = _put(self._known.copy(self._source))
            while len(self._workers) < self._count:
                self._start_worker(shared)
        limit = 1 if self._careful else self._tasks_ahead
        while self._waiting:
            free = [worker for worker in self._workers if worker.is_ready and len(worker.held) < limit]
            if not free:
                return
            worker = min(free, key=lambda worker: len(worker.held))
            task = self._waiting.popleft()
            reference = worker.actor.compute.remote(task)
            worker.held[reference] = task
            self._expected[reference] = worker

    def _listen(self, seconds: float) -> None:
        """Wait until there is an answer, and take it."""
        if not self._expected:
            time.sleep(seconds)
            return
        answered, _ = ray.wait(list(self._expected), num_returns=1, timeout=seconds)
        if not answered:
            self._check_start()
            return
        reference = answered[0]
        try:
            # The answer is here already; the limit is for one that gets lost in between.
            answer = ray.get(reference, timeout=_LOOK_EVERY)
        except ray.exceptions.GetTimeoutError:
            return
        except ray.exceptions.RayTaskError as error:
            self._take_exception(reference, error)
        except ray.exceptions.RayError as error:
            self._take_death(reference, error)
        else:
            self._take(reference, answer)

    def _take(self, reference: Any, answer: Answer) -> None:
        worker = self._expected.pop(reference)
        task = worker.held.pop(reference, None)
        if task is not None:
            self._careful = max(0, self._careful - 1)
            self._results.append(_result(task, answer))
            self._bury_if_done(worker)
            return
        if answer.failure is not None:
            error = restore(answer.failure)
            raise LoaderError(
                f"a Ray worker cannot rebuild {type(self._source).__qualname__}: {type(error).__name__}: "
                f"{error}; what it needs must be importable there, or use engine='threads'"
            ) from error
        worker.place = answer.pickle.decode()
        worker.is_ready = True
        self._failed_starts = 0

    def _take_exception(self, reference: Any, error: Exception) -> None:
        """Take what our own code in the worker, or Ray's around it, has raised; the source's are answers."""
        worker = self._expected.pop(reference)
        task = worker.held.pop(reference, None)
        if task is None:
            raise LoaderError(
                f"a Ray worker cannot start: {_short(error)}; befit must be installed on every machine of "
                "the cluster"
            ) from error
        self._results.append(LoadResult(task.ticket, None, error))
        self._bury_if_done(worker)

    def _take_death(self, reference: Any, error: Exception) -> None:
        """Give up a worker that cannot answer; other answers of it may still be on their way here."""
        worker = self._expected.pop(reference)
        if worker in self._workers:
            self._workers.remove(worker)
            ray.kill(worker.actor)
        worker.end = _short(error)
        if reference in worker.held:
            worker.lost += 1
            self._bury_if_done(worker)
        elif not worker.place:
            self._failed_starts += 1
            if self._failed_starts > self._count:
                raise LoaderError(
                    f"{self._failed_starts} Ray workers in a row ended before they had the source: "
                    f"{worker.end}"
                ) from error

    def _bury_if_done(self, worker: _Worker) -> None:
        """Once all answers of a dead worker are here: what it was at is a result, the rest is for others."""
        if not worker.lost or worker.lost < len(worker.held):
            return
        # Ray loses answers that were given just before the process ended, so the first task without one need
        # not be the one that was in work. It is, if no task is given before the one before is answered: hence
        # the care. Only a second death counts with the scheduler, so one wrong suspicion does no harm.
        in_work, *others = worker.held.values()
        self._careful = self._count * self._tasks_ahead
        self._waiting.extendleft(reversed(others))
        error = WorkerDiedError(
            f"the Ray worker, {worker.place}, ended while it computed batch index {in_work.batch_index}: "
            f"{worker.end}"
        )
        self._results.append(LoadResult(in_work.ticket, None, error, worker_died=True))

    def _check_start(self) -> None:
        """Do not wait for ever for a place in the cluster."""
        if any(worker.place for worker in self._workers):
            return
        if time.monotonic() - min(worker.started for worker in self._workers) < _START_LIMIT:
            return
        cpus = ray.cluster_resources().get("CPU", 0)
        raise LoaderError(
            f"none of {self._count} Ray workers has started within {_START_LIMIT:g} s; the cluster has "
            f"{cpus:g} CPUs now, and each worker needs a machine with one; 'ray status' tells more"
        )


def _result(task: LoadTask, answer: Answer) -> LoadResult:
    if answer.failure is not None:
        return LoadResult(task.ticket, None, restore(answer.failure), answer.seconds)
    nbytes = len(answer.pickle) + sum(array.nbytes for array in answer.arrays)
    try:
        # What Ray hands out is read-only, and occupies its shared memory as long as it is in use.
        batch = decode(answer.pickle, [array.copy() for array in answer.arrays])
    except Exception as error:  # noqa: BLE001 - what unpickling runs may fail in any way
        return LoadResult(task.ticket, None, error, answer.seconds)
    return LoadResult(task.ticket, batch, None, answer.seconds, nbytes)


def _put(pickled: bytes | None) -> Any:
    """Share bytes with the cluster; they stay there until the calls that refer to them are over.

    Not the source itself, whose arrays would be read-only in the workers.
    """
    return None if pickled is None else ray.put(np.frombuffer(pickled, np.uint8))


def _short(error: Exception) -> str:
    """Return the last line of Ray's long messages, which says why."""
    return textwrap.shorten(str(error).strip().rpartition("\n")[2], 300, placeholder=" ...")


def _import_path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]


_forked_connected = False  # whether this process inherited a connection to Ray, which cannot be used
_inherited: list[Any] = []  # of a parent: never to be collected, because that would be a message to Ray


def _after_fork() -> None:
    global _forked_connected
    _forked_connected = ray.is_initialized()


os.register_at_fork(after_in_child=_after_fork)


def _connect() -> None:
    if _forked_connected:
        raise LoaderError(
            "this process was forked from one that is connected to Ray, and cannot use its connection; start "
            "it with the method 'spawn', or use engine='threads'"
        )
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _session() -> tuple[str, str] | None:
    """Return what tells one connection to a cluster from another; ``None``: there is none."""
    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return context.get_node_id(), context.get_job_id()


def _end_own(
    workers: list[_Worker], expected: dict[Any, _Worker], pid: int, session: tuple[str, str] | None
) -> None:
    if os.getpid() != pid:
        _inherited.append((workers, expected))
        return
    if _session() == session:
        for worker in workers:
            ray.kill(worker.actor)
    workers.clear()
    expected.clear()
