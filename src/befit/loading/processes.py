"""The engine of processes: parallel whatever ``__getitem__`` does, and alive whatever becomes of a worker."""

from __future__ import annotations

import os
import pickle
import select
import time
import weakref
from collections import deque
from functools import partial

from befit._internal.failure import restore
from befit._internal.pickling import decode
from befit.errors import LoaderError, WorkerDiedError
from befit.loading.building import INLINE
from befit.loading.ownership import check_owner, closed_by_another_thread
from befit.loading.state import NO_SURROUNDINGS, KnownState, pickled_surroundings
from befit.loading.transport import Kind, Message
from befit.loading.worker_process import WorkerProcess, end_all, fork, spawn
from befit.typing import BatchSource, LoadResult, LoadTask

# A worker that forked may leave its socket open behind it, so processes are looked at as well as sockets.
_LOOK_EVERY = 0.25  # seconds

_START_ATTEMPTS = 3  # by chance one may be killed, not so many

_QUICK = 2e-4  # seconds; a batch that takes less costs about as much as the messages about it
_QUICK_IN_A_ROW = 16  # so many of them are no accident
_STRETCH = 8  # times as many of them may be ahead: 1.5 MB for a worker at most
_HURRY = 1e-3  # seconds between two messages with tasks; a consumer that is slower does not wait for messages


class ProcessEngine:
    """Up to ``workers`` processes; each holds at most ``tasks_ahead`` tasks, answered in the order given.

    Args:
        workers: How many processes.
        tasks_ahead: How many tasks each of them may hold.
        forked: Fork them, anew for each epoch, so that nothing of the source has to travel. Otherwise they
            are clean interpreters that live as long as the engine, and are told what changed.
        copy: Copy the arrays of a batch out of shared memory.
    """

    def __init__(self, workers: int, *, tasks_ahead: int, forked: bool = False, copy: bool = False) -> None:
        self._count = workers
        self._tasks_ahead = tasks_ahead
        self.stretch = 1
        self._group = 1  # tasks in a message
        self._failed_starts = 0  # workers in a row that ended before they began
        self._given = 0.0  # when the last message with tasks was sent
        self._quick = 0  # small batches that took no time, in a row
        self._forked = forked
        self._copy = copy
        self._source: BatchSource | None = None
        self._known = KnownState(share=True)
        self._surroundings = NO_SURROUNDINGS
        self._workers: list[WorkerProcess] = []
        self._leaving: list[WorkerProcess] = []  # forked ones of the epoch before, which were asked to end
        self._waiting: deque[LoadTask] = deque()
        self._results: deque[LoadResult] = deque()
        self._through_socket: set[int] = set()  # tickets of batches that found no room in shared memory
        self._looked = 0.0
        self._finalizer: weakref.finalize[..., ProcessEngine] | None = None
        self._pid = 0

    def start(self, source: BatchSource) -> None:
        """Start the workers, or tell them what changed."""
        self._waiting.clear()
        self._results.clear()
        self._through_socket.clear()
        self._source = source
        self._failed_starts = 0
        if self._pid != os.getpid():
            # In a forked child: the workers are the parent's, and so is the right to end them.
            self._workers, self._leaving = [], []
            self._finalizer = None
            self._pid = os.getpid()
        if self._finalizer is None:
            # The finalizer holds these very lists, so they are never replaced while it lives.
            self._finalizer = weakref.finalize(self, _end_own, self._workers, self._leaving, self._pid)
        if self._forked:
            end_all(self._leaving, grace=0.0)
            for worker in self._workers:
                worker.ask_to_end()  # and do not wait: to take down a large process takes its time
            self._leaving[:], self._workers[:] = self._workers, []
            while len(self._workers) < self._count:
                self._start_worker(source)
            return
        for worker in self._workers:
            worker.abandon()
        self._surroundings = pickled_surroundings()
        if self._workers:
            self._tell_changes(source)
            return
        whole = self._known.whole(source)
        for _ in range(self._count):
            self._start_worker(source, whole)

    def submit(self, task: LoadTask) -> None:
        """Put the task in line, and give it away when a message to a worker is worth its while."""
        check_owner(self._pid)
        self._waiting.append(task)
        if len(self._waiting) >= self._group:
            self._assign()

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Wait for a worker to answer, and for those that never will."""
        check_owner(self._pid)
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._results:
            if self._source is None:
                raise closed_by_another_thread()
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
        self._workers, self._leaving = [], []

    def _start_worker(self, source: BatchSource, whole: bytes | None = None) -> None:
        spare = self._tasks_ahead + 2  # and the consumer holds one or two
        if self._forked:
            start = partial(
                fork, loader_pid=os.getpid(), spare_slots=spare, source=source, siblings=self._workers
            )
        else:
            start = partial(spawn, loader_pid=os.getpid(), spare_slots=spare)
        worker = WorkerProcess(start, copy=self._copy)
        self._workers.append(worker)
        if not self._forked:
            self._tell(worker, self._known.copy(source) if whole is None else whole)

    def _tell_changes(self, source: BatchSource) -> None:
        changes, whole = self._known.changes(source)
        for worker in list(self._workers):
            self._tell(worker, changes if whole is None else whole)

    def _tell(self, worker: WorkerProcess, pickled: bytes | None) -> None:
        """Send the source, or what is new of it, with the memory that it refers to and its surroundings."""
        try:
            if worker.surroundings != self._surroundings:
                worker.channel.post(Kind.SURROUNDINGS, 0, [self._surroundings])
                worker.surroundings = self._surroundings
            if pickled is None:
                return  # nothing is new
            needed = {segment.number: segment for segment in self._known.segments}
            for number in needed.keys() - worker.segments:
                segment = needed[number]
                head = pickle.dumps((number, segment.nbytes))
                worker.channel.post(Kind.SEGMENT, 0, [head], segment.descriptor)
            worker.segments = set(needed)
            worker.channel.post(Kind.SOURCE, 0, [pickled, pickle.dumps(worker.segments)])
        except OSError:
            self._bury(worker)

    def _assign(self) -> None:
        """Give waiting tasks to the workers that hold fewest, and start workers where some have died.

        Each at once, in a message of its own; but where consumer and workers do thousands in a second, the
        messages are the work: then more batches are ahead, and several tasks are in a message.
        """
        if self._waiting:
            now = time.monotonic()
            hurry = self._quick >= _QUICK_IN_A_ROW and now - self._given < _HURRY
            self._given = now
            self._group = self._tasks_ahead if hurry else 1
            self.stretch = _STRETCH if hurry else 1
        while self._waiting and self._source is not None:
            if len(self._workers) < self._count:
                self._start_worker(self._source)
                continue
            worker = min(self._workers, key=lambda worker: len(worker.held))
            room = min(self._group, self.stretch * self._tasks_ahead - len(worker.held))
            if room <= 0:
                return
            tasks = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            try:
                worker.give(tasks, self._through_socket)
            except OSError:
                self._bury(worker)

    def _look(self, seconds: float) -> None:
        """Wait until a socket has something to say, and listen to it."""
        poller = select.poll()
        by_descriptor = {worker.channel.fileno(): worker for worker in self._workers}
        for descriptor, worker in by_descriptor.items():
            poller.register(descriptor, select.POLLIN | (select.POLLOUT if worker.channel.has_unsent else 0))
        for descriptor, _ in poller.poll(seconds * 1000):
            self._listen(by_descriptor[descriptor])
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        for worker in list(self._workers):
            # Asked before it is listened to: what it sent before it ended is then surely there.
            if worker.has_exited:
                self._listen(worker, exited=True)

    def _listen(self, worker: WorkerProcess, *, exited: bool = False) -> None:
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
        self._failed_starts = 0
        if message.kind is Kind.REFUSED:
            error = restore(pickle.loads(message.parts[0]))
            raise LoaderError(
                f"a worker process cannot rebuild {type(self._source).__qualname__}: "
                f"{type(error).__name__}: {error}; what it needs must be importable there, or use "
                "engine='threads'"
            ) from error
        task = worker.held.pop(message.ticket, None)
        if message.kind is Kind.FAILURE:
            self._results.append(LoadResult(message.ticket, None, restore(pickle.loads(message.parts[0]))))
            return
        arrived = worker.slots.read(message)
        try:
            pickled, buffers = worker.slots.open(arrived, message.descriptor)
        except OSError:  # no room for another mapping here; the way through the socket needs none
            worker.lose(arrived.slot)
            if task is not None:  # else of an epoch that was abandoned
                self._through_socket.add(task.ticket)
                self._waiting.appendleft(task)
            return
        nbytes = arrived.nbytes
        self._quick = self._quick + 1 if arrived.seconds < _QUICK and nbytes < INLINE else 0
        try:
            batch = decode(pickled, buffers)
        except Exception as error:  # noqa: BLE001 - what unpickling runs may fail in any way
            self._results.append(LoadResult(message.ticket, None, error))
            return
        cost = arrived.seconds, nbytes, arrived.cpu_seconds
        self._results.append(LoadResult(message.ticket, batch, None, *cost))

    def _bury(self, worker: WorkerProcess) -> None:
        """Remove a dead worker; the task it was at is a result, those it had not begun wait for another."""
        self._workers.remove(worker)
        try:
            last_words = worker.received()
        except EOFError:
            last_words = []  # all that it sent was heard before
        end = worker.death()
        for message in last_words:
            self._handle(worker, message)
        if worker.notes.in_work is None:
            self._failed_starts += 1
            if self._failed_starts > max(_START_ATTEMPTS, self._count):
                raise LoaderError(
                    f"worker processes end before they begin, {self._failed_starts} in a row; the last one "
                    f"{end}; what it printed says why, or use engine='threads'"
                )
        in_work = worker.take_in_work()
        if in_work is not None:
            error = WorkerDiedError(
                f"the worker process {worker.pid} {end} while it computed batch index {in_work.batch_index}"
            )
            self._results.append(LoadResult(in_work.ticket, None, error, worker_died=True))
        self._waiting.extendleft(reversed(worker.held.values()))


def _end_own(workers: list[WorkerProcess], leaving: list[WorkerProcess], pid: int) -> None:
    if os.getpid() == pid:  # a forked child inherits the finalizer, but not the workers
        end_all([*workers, *leaving])
        workers.clear()
        leaving.clear()
