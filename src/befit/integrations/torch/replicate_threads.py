"""Replicas side by side, in threads."""

from __future__ import annotations

import contextlib
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
    """Runs a task once per replica: replica 0 in the caller's thread, the others in threads of a pool.

    The pool has room for all of them at once; its threads live as long as this object, and end with it.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.devices = [torch_device(name) for name in names]
        self._pool = ThreadPoolExecutor(len(names) - 1, thread_name_prefix="befit-replica")

    def run(self, task: Callable[[int], Result], replicas: int) -> list[Result]:
        """Return ``[task(0), task(1), …]``; an error arrives once every replica has ended."""
        modes = _modes_of_this_thread()

        def run_replica(replica: int) -> Result:
            try:
                with modes(), _current(self.devices[replica]):
                    return task(replica)
            except Exception as error:
                error.add_note(f"raised in replica {replica} of {replicas}, on {self.names[replica]}")
                raise

        others = [self._pool.submit(run_replica, replica) for replica in range(1, replicas)]
        try:
            first = run_replica(0)
        finally:
            wait(others)
        return [first, *(other.result() for other in others)]


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
