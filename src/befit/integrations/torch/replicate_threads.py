"""Replicas side by side, in threads: those that share a device, in turn."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

from befit.integrations.torch.replicate_modes import Modes
from befit.replicate.advice import name_replica

Result = TypeVar("Result")


def torch_device(name: str) -> Any:
    """Return the ``torch.device`` of a name such as ``"gpu:1"``; every ``"cpu:…"`` is the one CPU."""
    kind, _, index = name.partition(":")
    return torch.device("cpu") if kind == "cpu" else torch.device("cuda", int(index))


def runs_in_processes(names: tuple[str, ...], engine: str) -> bool:
    """Return whether replicas on the devices ``names`` run in processes of their own."""
    if engine != "auto":
        return engine == "processes"
    # Without the GIL threads do as well. Virtual devices of the CPU are for trying things out: threads start
    # at once, where a process of its own takes seconds for its imports.
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return has_gil and not all(name.startswith("cpu") for name in names)


class ReplicaThreads:
    """Runs a task once per replica, with a thread for each device: the caller's own, and those of a pool.

    The pool has room for all of them at once. It is made when it is first needed, by the process that needs
    it: threads do not survive ``os.fork()``. They end with this object.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.devices = [torch_device(name) for name in names]
        self._pool: ThreadPoolExecutor | None = None
        self._pool_owner = 0  # the id of the process that made the pool

    def run(self, task: Callable[[int], Result], replicas: int) -> list[Result]:
        """Return ``[task(0), task(1), …]``; an error arrives once every device has ended."""
        modes = Modes.of_this_thread()

        def run_replica(replica: int) -> Result:
            try:
                with modes.entered(), _current(self.devices[replica]):
                    return task(replica)
            except Exception as error:
                name_replica(error, replica, replicas, self.names)
                raise

        # Replicas on the one CPU run in turn. They share its cores anyway, and its random generator: side by
        # side they would race for its numbers, and no seed could repeat a run.
        lanes: dict[Any, list[int]] = {}
        for replica in range(replicas):
            lanes.setdefault(self.devices[replica], []).append(replica)
        first, *others = lanes.values()

        def run_lane(lane: list[int]) -> dict[int, Result]:
            return {replica: run_replica(replica) for replica in lane}

        futures = [self._get_pool().submit(run_lane, lane) for lane in others]
        try:
            results = run_lane(first)
        finally:
            wait(futures)
        for future in futures:
            results |= future.result()
        return [results[replica] for replica in range(replicas)]

    def release(self) -> None:
        """End the threads; the next run starts new ones."""
        if self._pool is not None and self._pool_owner == os.getpid():
            self._pool.shutdown()
        self._pool = None

    def _get_pool(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool_owner != os.getpid():
            self._pool = ThreadPoolExecutor(len(self.names) - 1, thread_name_prefix="befit-replica")
            self._pool_owner = os.getpid()
        return self._pool


def _current(device: Any) -> contextlib.AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
