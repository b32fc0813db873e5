"""The engine without workers: a batch is computed in the caller's thread when it is asked for."""

from __future__ import annotations

from collections import deque

from befit.loading.compute import compute
from befit.typing import BatchSource, LoadResult, LoadTask


class InlineEngine:
    """Computes nothing ahead, so ``next_ready`` has no time limit that it could keep.

    Args:
        copy: Let no batch share memory with the source.
    """

    def __init__(self, *, copy: bool = False) -> None:
        self.stretch = 1
        self._copy = copy
        self._source: BatchSource | None = None
        self._tasks: deque[LoadTask] = deque()

    def start(self, source: BatchSource) -> None:
        """Keep the source."""
        self._source = source
        self._tasks.clear()

    def submit(self, task: LoadTask) -> None:
        """Remember the task."""
        self._tasks.append(task)

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Compute the oldest task, however long that takes."""
        if self._source is None or not self._tasks:
            raise TimeoutError("no task was submitted, so none can be done")
        return compute(self._source, self._tasks.popleft(), global_generators=True, private=self._copy)

    def close(self) -> None:
        """Forget source and tasks."""
        self._source = None
        self._tasks.clear()
