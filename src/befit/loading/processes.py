"""The engine of processes: parallel whatever ``__getitem__`` does, and alive whatever becomes of a worker."""

from __future__ import annotations

import os
import select
import time
import weakref
from collections import deque

from befit.errors import LoaderError, WorkerDiedError
from befit.loading.failure import restore
from befit.loading.state import KnownState
from befit.loading.transport import Kind, Message
from befit.loading.worker_process import WorkerProcess, end_all
from befit.typing import BatchSource, LoadResult, LoadTask

# A worker that forked may leave its socket open behind it, so processes are looked at as well as sockets.
_LOOK_EVERY = 0.25  # seconds


class ProcessEngine:
    """Up to ``workers`` processes; each holds at most ``tasks_ahead`` tasks, answered in the order given."""

    def __init__(self, workers: int, *, tasks_ahead: int) -> None:
        self._count = workers
        self._tasks_ahead = tasks_ahead
        self._source: BatchSource | None = None
        self._known = KnownState()
        self._workers: list[WorkerProcess] = []
        self._waiting: deque[LoadTask] = deque()
        self._results: deque[LoadResult] = deque()
        self._finalizer: weakref.finalize[..., ProcessEngine] | None = None
        self._pid = 0

    def start(self, source: BatchSource) -> None:
        """Start the workers, or tell them what changed."""
        self._waiting.clear()
        self._results.clear()
        self._source = source
        if self._pid != os.getpid():
            # In a forked child: the workers are the parent's, and so is the right to end them.
            self._workers = []
            self._finalizer = None
            self._pid = os.getpid()
        if self._finalizer is None:
            # The finalizer holds this very list, so the list is never replaced while it lives.
            self._finalizer = weakref.finalize(self, _end_own, self._workers, self._pid)
        if self._workers:
            self._tell_changes(source)
            return
        whole = self._known.whole(source)
        for _ in range(self._count):
            self._start_worker(whole)

    def submit(self, task: LoadTask) -> None:
        """Give the task to a worker, or to the queue if all have enough."""
        self._waiting.append(task)
        self._assign()

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Wait for a worker to answer, and for those that never will."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._results:
            self._assign()
            remaining = _LOOK_EVERY if deadline is None else deadline - time.monotonic()
            self._look(max(0.0, min(_LOOK_EVERY, remaining)))
            if not self._results and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"no batch within {timeout} s")
        return self._results.popleft()

    def close(self) -> None:
        """End the workers: idle ones leave, busy ones are killed after a moment."""
        self._waiting.clear()
        self._results.clear()
        self._source = None
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None
        self._workers = []

    def _start_worker(self, whole: bytes) -> WorkerProcess:
        worker = WorkerProcess(os.getpid())
        self._workers.append(worker)
        self._post(worker, Kind.SOURCE, whole)
        return worker

    def _tell_changes(self, source: BatchSource) -> None:
        changes, whole = self._known.changes(source)
        for worker in list(self._workers):
            if whole is not None:
                self._post(worker, Kind.SOURCE, whole)
            elif changes is not None:
                self._post(worker, Kind.CHANGES, changes)

    def _post(self, worker: WorkerProcess, kind: Kind, pickled: bytes) -> None:
        try:
            worker.channel.post(kind, 0, [pickled])
        except OSError:
            self._bury(worker)

    def _assign(self) -> None:
        """Give waiting tasks to the workers that hold fewest, and start workers where some have died."""
        while self._waiting and self._source is not None:
            if len(self._workers) < self._count:
                self._start_worker(self._known.copy(self._source))
                continue
            worker = min(self._workers, key=lambda worker: len(worker.held))
            if len(worker.held) >= self._tasks_ahead:
                return
            try:
                worker.give(self._waiting.popleft())
            except OSError:
                self._bury(worker)

    def _look(self, seconds: float) -> None:
        """Wait until a socket has something to say, and listen to it."""
        poller = select.poll()
        by_descriptor = {worker.channel.fileno(): worker for worker in self._workers}
        for descriptor, worker in by_descriptor.items():
            poller.register(descriptor, select.POLLIN | (select.POLLOUT if worker.channel.has_unsent else 0))
        ready = {descriptor for descriptor, _ in poller.poll(seconds * 1000)}
        for descriptor, worker in by_descriptor.items():
            if descriptor in ready or worker.has_exited:
                self._listen(worker)

    def _listen(self, worker: WorkerProcess) -> None:
        exited = worker.has_exited  # asked first: what it sent before it ended is then surely there
        try:
            worker.channel.flush()
        except OSError:
            exited = True
        try:
            messages = worker.received()
        except EOFError:
            self._bury(worker)
            return
        for message in messages:
            self._handle(worker, message)
        if exited and not messages:
            self._bury(worker)

    def _handle(self, worker: WorkerProcess, message: Message) -> None:
        if message.kind is Kind.REFUSED:
            error = restore(message.load())
            raise LoaderError(
                f"a worker process cannot rebuild {type(self._source).__qualname__}: "
                f"{type(error).__name__}: {error}; what it needs must be importable there, or use "
                "engine='threads'"
            ) from error
        worker.held.pop(message.ticket, None)
        if message.kind is Kind.FAILURE:
            self._results.append(LoadResult(message.ticket, None, restore(message.load())))
            return
        try:
            self._results.append(LoadResult(message.ticket, message.load()))
        except Exception as error:  # noqa: BLE001 - what unpickling runs may fail in any way
            self._results.append(LoadResult(message.ticket, None, error))

    def _bury(self, worker: WorkerProcess) -> None:
        """Remove a dead worker; the task it was at is a result, those it had not begun wait for another."""
        self._workers.remove(worker)
        try:
            for message in worker.received():
                self._handle(worker, message)
        except EOFError:
            pass  # all that it sent was heard before
        end = worker.death()
        if not worker.held:
            return
        _, in_work = worker.held.popitem(last=False)
        error = WorkerDiedError(
            f"the worker process {worker.pid} {end} while it computed batch index {in_work.batch_index}"
        )
        self._results.append(LoadResult(in_work.ticket, None, error))
        self._waiting.extendleft(reversed(worker.held.values()))


def _end_own(workers: list[WorkerProcess], pid: int) -> None:
    if os.getpid() == pid:  # a forked child inherits the finalizer, but not the workers
        end_all(workers)
        workers.clear()
