"""One task, computed: what every engine does, wherever it does it."""

from __future__ import annotations

import copy
import time

from befit.loading.randomness import seeded
from befit.typing import Batch, BatchSource, LoadResult, LoadTask


def compute(
    source: BatchSource,
    task: LoadTask,
    *,
    global_generators: bool,
    restore: bool = True,
    private: bool = False,
) -> LoadResult:
    """Return ``source[task.batch_index]``, or the exception that it raised, whichever it is.

    Args:
        source: Where batches come from.
        task: Which batch.
        global_generators: Seed the generators that belong to the whole process too.
        restore: Leave those as they were found; a process that does nothing else need not.
        private: Return a copy, which shares nothing with the source.
    """
    batch: Batch = None
    error: BaseException | None = None
    started, cpu = time.perf_counter(), time.thread_time()
    try:
        with seeded(task, global_generators=global_generators, restore=restore):
            batch = source[task.batch_index]
        if private:
            batch = copy.deepcopy(batch)
    except BaseException as raised:  # noqa: BLE001 - it is raised where the batch is asked for
        error = raised
    seconds, cpu_seconds = time.perf_counter() - started, time.thread_time() - cpu
    try:
        return LoadResult(task.ticket, batch, error, seconds, cpu_seconds=cpu_seconds)
    finally:
        del error  # its traceback refers to this frame; together they would keep what the batch was built in
