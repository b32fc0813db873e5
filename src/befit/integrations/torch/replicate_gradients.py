"""Gradients of one process, and their mean over all processes while the backward pass still runs.

Not ``DistributedDataParallel``: that expects every backward pass to reach every parameter that the forward
pass has used. A training step that alternates between two networks, or a layer that is left out, breaks its
promise, and the gradients that were not sent yet stay those of one process until the next step fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import distributed

from befit.errors import ReplicationError

# As DistributedDataParallel: few bytes first, so that the network has work early, then larger messages.
_FIRST_BUCKET = 1 << 20  # bytes
_BUCKET = 25 << 20  # bytes


class GradientMean:
    """Makes the gradients of the parameters it watches means over the processes.

    A backward pass takes part if it comes through an output that was gathered, which calls ``begin``. Buckets
    are sent in the same order everywhere, each as soon as all its gradients are there; the end of the pass
    sends those that lack some. What ``grad`` holds of earlier passes is the same everywhere, and stays.
    """

    def __init__(self) -> None:
        self._watched: list[Any] = []
        self._hooks: list[Any] = []
        self._buckets: list[_Bucket] = []
        self._is_running = False
        self._sent = 0  # buckets, in this backward pass

    def watch(self, parameters: Iterable[Any]) -> None:
        """Take these parameters, from the next backward pass on. Cheap where they are the same again."""
        self._is_running = False  # a pass that has failed never came to its end
        wanted = [parameter for parameter in parameters if parameter.requires_grad]
        if len(wanted) == len(self._watched) and all(map(_is, wanted, self._watched)):
            return
        for hook in self._hooks:
            hook.remove()
        self._watched = wanted
        self._buckets = _buckets(wanted)
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(bucket.collect_for(self, index))
            for bucket in self._buckets
            for index, parameter in enumerate(bucket.parameters)
        ]

    def begin(self) -> None:
        """Say that a backward pass has come through a gathered output."""
        if self._is_running or not self._buckets:
            return
        self._is_running = True
        self._sent = 0
        for bucket in self._buckets:
            bucket.clear()
        torch.autograd.Variable._execution_engine.queue_callback(self._finish)

    def take(self, bucket: _Bucket, index: int) -> None:
        """Take a gradient that autograd has just accumulated, and send what is complete."""
        if not self._is_running:
            return
        bucket.note(index)
        while self._sent < len(self._buckets) and self._buckets[self._sent].is_complete:
            self._send()

    def _send(self) -> None:
        self._buckets[self._sent].send()
        self._sent += 1

    def _finish(self) -> None:
        while self._sent < len(self._buckets):
            self._send()
        for bucket in self._buckets:
            bucket.receive()
        self._is_running = False


class _Bucket:
    """Gradients that travel together, followed by a flag for each: whether this process has one."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters = parameters
        sizes = [parameter.numel() for parameter in parameters]
        first = parameters[0]
        self._flat = torch.zeros(sum(sizes) + len(sizes), dtype=first.dtype, device=first.device)
        *parts, self._flags = self._flat.split([*sizes, len(sizes)])
        self._parts = [part.view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)]
        self._work: Any = None
        self.clear()

    @property
    def is_complete(self) -> bool:
        return self._lacking == 0

    def collect_for(self, mean: GradientMean, index: int) -> Any:
        return lambda parameter: mean.take(self, index)

    def clear(self) -> None:
        self._has = [False] * len(self.parameters)
        self._lacking = len(self.parameters)
        self._work = None

    def note(self, index: int) -> None:
        if self._work is not None:
            raise ReplicationError(
                "a parameter got its gradient in two parts of one backward pass, the second after the first "
                "was sent to the other processes; pass use_reentrant=False to torch.utils.checkpoint"
            )
        if not self._has[index]:
            self._has[index] = True
            self._lacking -= 1

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def send(self) -> None:
        gradients = [parameter.grad for parameter in self.parameters]
        for index, gradient in enumerate(gradients):
            if gradient is None:
                gradients[index] = torch.zeros_like(self._parts[index])
            elif gradient.is_sparse:
                gradients[index] = gradient.to_dense()
        # All at once: small layers take less time to compute than a call for each of them.
        torch._foreach_copy_(self._parts, gradients)
        if self.is_complete:
            self._flags.fill_(1)
        else:
            self._flags.copy_(torch.tensor(self._has))
        self._flat.div_(distributed.get_world_size())  # before adding up: half precision has little room
        self._work = distributed.all_reduce(self._flat, async_op=True)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def receive(self) -> None:
        self._work.wait()
        # Only where something is lacking here does anybody have to look (and wait for the GPU).
        anywhere = self._has if self.is_complete else (self._flags > 0).tolist()
        gradients, means = [], []
        for part, parameter, has in zip(self._parts, self.parameters, anywhere, strict=True):
            if not has:
                continue
            gradient = parameter.grad
            if gradient is None or gradient.is_sparse:
                parameter.grad = part.clone()
            else:
                gradients.append(gradient)
                means.append(part)
        if gradients:
            torch._foreach_copy_(gradients, means)


def _buckets(parameters: list[Any]) -> list[_Bucket]:
    """Return buckets in the order in which gradients come: the last layers' first."""
    groups: list[list[Any]] = []
    room: dict[Any, int] = {}  # bytes left in the last group of a kind
    last: dict[Any, list[Any]] = {}
    for parameter in reversed(parameters):
        kind = parameter.dtype, parameter.device
        if room.get(kind, 0) <= 0:
            room[kind] = _BUCKET if kind in last else _FIRST_BUCKET
            last[kind] = []
            groups.append(last[kind])
        last[kind].append(parameter)
        room[kind] -= parameter.numel() * parameter.element_size()
    return [_Bucket(group) for group in groups]


def _is(left: Any, right: Any) -> bool:
    return left is right
