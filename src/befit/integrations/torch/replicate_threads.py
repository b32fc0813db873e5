"""Replicas side by side, in threads: those that share a device, in turn."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def torch_device(name: str) -> Any:
    """Return the ``torch.device`` of a name such as ``"gpu:1"``; every ``"cpu:…"`` is the one CPU."""
    kind, _, index = name.partition(":")
    return torch.device("cpu") if kind == "cpu" else torch.device("cuda", int(index))


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
        modes = _modes_of_this_thread()

        def run_replica(replica: int) -> Result:
            try:
                with modes(), _current(self.devices[replica]):
                    return task(replica)
            except Exception as error:
                error.add_note(f"raised in replica {replica} of {replicas}, on {self.names[replica]}")
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

    def _get_pool(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pool_owner != os.getpid():
            self._pool = ThreadPoolExecutor(len(self.names) - 1, thread_name_prefix="befit-replica")
            self._pool_owner = os.getpid()
        return self._pool


def _modes_of_this_thread() -> Callable[[], contextlib.AbstractContextManager[None]]:
    # torch keeps these per thread; a replica must compute under the caller's.
    grad = torch.is_grad_enabled()
    inference = torch.is_inference_mode_enabled()
    autocasts = [
        (kind, torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)
    ]

    @contextlib.contextmanager
    def modes() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            for kind, dtype in autocasts:
                stack.enter_context(torch.autocast(kind, dtype=dtype))
            yield

    return modes


def _current(device: Any) -> contextlib.AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
