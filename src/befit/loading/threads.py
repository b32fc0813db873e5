"""The engine of threads: no copies, and parallel as far as ``__getitem__`` leaves the interpreter's lock."""

from __future__ import annotations

import itertools
import os
import time
import weakref
from queue import Empty, SimpleQueue
from threading import Thread, current_thread
from typing import TypeAlias

from befit.loading.compute import compute
from befit.typing import BatchSource, LoadResult, LoadTask

_GRACE = 1.0  # seconds that a closing engine waits for the batches in hand

_Tasks: TypeAlias = "SimpleQueue[tuple[BatchSource, LoadTask] | None]"
_Results: TypeAlias = "SimpleQueue[LoadResult]"

_numbers = itertools.count(1)


def _work(tasks: _Tasks, results: _Results) -> None:
    """Run in a worker: ends at the first ``None``."""
    while (item := tasks.get()) is not None:
        source, task = item
        # random and numpy.random belong to all threads: to seed them here would only disturb the others.
        results.put(compute(source, task, global_generators=False))
        del item, source, task  # an idle thread must not keep the source alive


def _end(threads: list[Thread], tasks: _Tasks) -> None:
    for _ in threads:
        tasks.put(None)
    deadline = time.monotonic() + _GRACE
    for thread in threads:
        if thread is not current_thread():  # the garbage collector runs anywhere
            thread.join(max(0.0, deadline - time.monotonic()))


class ThreadEngine:
    """``workers`` daemon threads around two queues; a hung thread is abandoned, it cannot be ended."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._source: BatchSource | None = None
        self._tasks: _Tasks = SimpleQueue()
        self._results: _Results = SimpleQueue()
        self._finalizer: weakref.finalize[..., ThreadEngine] | None = None
        self._pid = 0

    def start(self, source: BatchSource) -> None:
        """Forget tasks of an abandoned epoch; start the threads unless they run."""
        self._source = source
        self._forget_tasks()
        if self._finalizer is not None and self._pid == os.getpid():
            return
        # New queues with new threads: a thread that hung in an earlier life puts its result where nobody
        # looks. Threads do not survive a fork, so a child that inherits the engine starts its own as well.
        self._tasks, self._results = SimpleQueue(), SimpleQueue()
        threads = [
            Thread(
                target=_work,
                args=(self._tasks, self._results),
                name=f"befit-loader-{next(_numbers)}",
                daemon=True,
            )
            for _ in range(self._workers)
        ]
        for thread in threads:
            thread.start()
        self._finalizer = weakref.finalize(self, _end, threads, self._tasks)
        self._pid = os.getpid()

    def submit(self, task: LoadTask) -> None:
        """Queue the task for the first thread that is free."""
        if self._source is None:
            raise RuntimeError("submit before start")
        self._tasks.put((self._source, task))

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Wait for a thread to be done."""
        try:
            return self._results.get(timeout=timeout)
        except Empty:
            raise TimeoutError(f"no batch within {timeout} s") from None

    def close(self) -> None:
        """Let the threads end, and wait a moment for the batches in hand."""
        self._source = None
        self._forget_tasks()
        if self._finalizer is not None:
            self._finalizer()
            self._finalizer = None

    def _forget_tasks(self) -> None:
        while not self._tasks.empty():
            try:
                self._tasks.get_nowait()
            except Empty:
                return
