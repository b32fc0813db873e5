"""One task, computed: what every engine does, wherever it does it."""

from __future__ import annotations

from befit.loading.randomness import seeded
from befit.typing import BatchSource, LoadResult, LoadTask


def compute(source: BatchSource, task: LoadTask, *, global_generators: bool) -> LoadResult:
    """Return ``source[task.batch_index]``, or the exception that it raised, whichever it is."""
    try:
        with seeded(task, global_generators=global_generators):
            return LoadResult(task.ticket, source[task.batch_index])
    except BaseException as error:  # noqa: BLE001 - it is raised where the batch is asked for
        return LoadResult(task.ticket, None, error)
