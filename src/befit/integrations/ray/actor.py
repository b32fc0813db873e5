"""The actor of ``engine='ray'``: what runs in a process of the cluster."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import ray

from befit._internal.failure import Failure, describe
from befit._internal.pickling import encode
from befit.loading.compute import compute
from befit.loading.source_copy import SourceCopy
from befit.typing import Array, LoadTask


class Answer(NamedTuple):
    """What an actor returns; arrays travel through the shared memory of Ray, outside of the pickle."""

    pickle: bytes = b""
    arrays: tuple[Array, ...] = ()
    seconds: float = 0.0
    failure: Failure | None = None


class _Computer:
    """Runs in the cluster: one call at a time, in the order in which the engine made the calls."""

    def __init__(self) -> None:
        self._copy = SourceCopy()
        self._around = b""
        self._surroundings = ExitStack()

    def prepare(self, path: list[str], around: bytes, news: Any) -> Answer:
        """Make the source and what is around it what they are at the loader; say where this is.

        Args:
            path: Where the loader's process finds modules; they are looked for there too.
            around: The pickled context managers to work inside of.
            news: Bytes of the pickled source, or of ``Changes`` of it; ``None``: it has not changed.
        """
        sys.path.extend(entry for entry in path if entry not in sys.path)
        try:
            if around != self._around:
                self._surroundings.close()
                for carried in pickle.loads(around):
                    self._surroundings.enter_context(carried)
                self._around = around
            if news is not None:
                self._copy.take(news)
        except Exception as error:  # noqa: BLE001 - whatever unpickling runs may fail in any way
            return Answer(failure=describe(error))
        return Answer(f"process {os.getpid()} on {socket.gethostname()}".encode())

    def compute(self, task: LoadTask) -> Answer:
        """Return the batch, or the exception that came instead."""
        result = compute(self._copy.source, task, global_generators=True, restore=False)
        error = result.error
        if error is None:
            try:
                pickled = encode(result.batch)
                return Answer(pickled.pickle, tuple(map(_as_bytes, pickled.arrays)), result.seconds)
            except Exception as unsendable:  # noqa: BLE001 - pickle has no common error
                error = unsendable
                error.add_note("befit: the batch cannot be sent from a worker process; use engine='threads'")
        return Answer(seconds=result.seconds, failure=describe(error))


def _as_bytes(array: Array) -> Array:
    if not array.nbytes:
        return np.empty(0, np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


# Without num_cpus an actor starts on any machine that has a CPU, also where other work or the idle workers of
# another loader (training and validation) reserve them all. Ray never restarts the actor and never repeats a
# call: only the engine knows the source that a new actor needs.
LoadActor = ray.remote(max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")(_Computer)
