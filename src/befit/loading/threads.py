"""The engine of threads: no copies, and parallel as far as ``__getitem__`` leaves the interpreter's lock."""

from __future__ import annotations

import itertools
import os
import time
import weakref
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread, current_thread
from typing import TypeAlias

from befit.loading.compute import compute
from befit.loading.ownership import check_owner, closed_by_another_thread
from befit.typing import BatchSource, LoadResult, LoadTask

_GRACE = 1.0  # seconds that a closing engine waits for the batches in hand

_Tasks: TypeAlias = "SimpleQueue[tuple[Context, BatchSource, LoadTask] | None]"
_Results: TypeAlias = "SimpleQueue[LoadResult | None]"

_numbers = itertools.count(1)


def _work(tasks: _Tasks, results: _Results, copy: bool) -> None:
    """Run in a worker: ends at the first ``None``."""
    # random and numpy.random belong to all threads: to seed them here would only disturb the others.
    work = partial(compute, global_generators=False, private=copy)
    while (item := tasks.get()) is not None:
        context, source, task = item
        results.put(context.run(work, source, task))
        del item, context, source, task  # an idle thread must not keep the source alive


def _end(threads: list[Thread], tasks: _Tasks) -> None:
    for _ in threads:
        tasks.put(None)
    deadline = time.monotonic() + _GRACE
    for thread in threads:
        if thread is not current_thread():  # the garbage collector runs anywhere
            thread.join(max(0.0, deadline - time.monotonic()))


class ThreadEngine:
    """Daemon threads around two queues; a hung thread is abandoned, it cannot be ended.

    Args:
        workers: How many threads.
        copy: Let no batch share memory with the source.
    """

    def __init__(self, workers: int, *, copy: bool = False) -> None:
        self.stretch = 1
        self._workers = workers
        self._copy = copy
        self._context = Context()
        self._source: BatchSource | None = None
        self._tasks: _Tasks = SimpleQueue()
        self._results: _Results = SimpleQueue()
        self._finalizer: weakref.finalize[..., ThreadEngine] | None = None
        self._pid = 0

    def start(self, source: BatchSource) -> None:
        """Forget tasks of an abandoned epoch; start the threads unless they run."""
        self._source = source
        self._context = copy_context()  # open CustomObjectScopes, NumPy's errstate, a decimal context …
        if self._finalizer is not None and self._pid == os.getpid():
            self._forget_tasks()
            return
        # New queues with new threads: a thread that hung in an earlier life puts its result where nobody
        # looks. Threads do not survive a fork, so a child that inherits the engine starts its own as well.
        self._tasks, self._results = SimpleQueue(), SimpleQueue()
        threads = [
            Thread(
                target=_work,
                args=(self._tasks, self._results, self._copy),
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
        check_owner(self._pid)
        if self._source is None:
            raise closed_by_another_thread()
        self._tasks.put((self._context.copy(), self._source, task))  # a context runs one thing at a time

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Wait for a thread to be done."""
        check_owner(self._pid)
        try:
            result = self._results.get(timeout=timeout)
        except Empty:
            raise TimeoutError(f"no batch within {timeout} s") from None
        if result is None:
            raise closed_by_another_thread()
        return result

    def close(self) -> None:
        """Let the threads end, and wait a moment for the batches in hand."""
        self._source = None
        if self._finalizer is not None and self._pid == os.getpid():
            self._forget_tasks()  # and never again in this queue: a hung thread finds its end there one day
            self._results.put(None)  # for whoever waits in another thread
            self._finalizer()
            self._finalizer = None

    def _forget_tasks(self) -> None:
        while not self._tasks.empty():
            try:
                self._tasks.get_nowait()
            except Empty:
                return
