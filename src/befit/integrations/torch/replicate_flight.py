"""Autograd across processes: two nodes that lead gradients to the replicas and back.

::

    weights, inputs ─► Collect ─► token ─► Start ─► outputs of the other processes' replicas
                          the caller's own replica ─► its outputs

On the way back autograd runs first what was recorded last. So ``Start``, recorded after the caller's replica,
sends the gradients off; then the caller's replica computes its own, at the same time as the others do;
``Collect``, recorded before it, waits for them.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable


class Crew(Protocol):
    """The processes that a flight is with."""

    def send_back(self, flight: Flight, gradients: Sequence[Any], retain: bool) -> None:
        """Send to each replica the gradients of its outputs."""

    def collect(self, flight: Flight) -> tuple[list[Any], list[Any]]:
        """Return the sums of the gradients of the weights, and the gradients of the inputs."""

    def forget(self, key: int) -> None:
        """Let the replicas drop the graph."""


class Flight:
    """One forward pass of the replicas in other processes, until its graph is dropped here."""

    def __init__(self, crew: Crew, sent: Any, key: int, replicas: list[Any], devices: list[Any]) -> None:
        self.crew = crew
        self.sent = sent
        """The model that was run."""
        self.key = key
        self.replicas = replicas
        self.devices = devices
        """The devices of the inputs that want gradients."""
        self.outputs: list[int] = []
        """How many outputs of each replica have gradients."""
        self.arrived: tuple[list[Any], list[Any]] | BaseException | None = None
        """The gradients that ``collect`` is to return, or what it is to raise."""
        weakref.finalize(self, crew.forget, key).atexit = False


class Collect(torch.autograd.Function):
    """Recorded before the caller's replica runs; its backward waits for the other replicas' gradients."""

    @staticmethod
    def forward(ctx: Any, flight: Flight, device: torch.device, *tensors: torch.Tensor) -> torch.Tensor:
        """Return a token, which makes ``Start`` depend on this node."""
        ctx.flight = flight
        del tensors
        # On the device of the caller's replica: autograd keeps its order among the nodes of one device.
        return torch.zeros((), device=device)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, _token: Any) -> Any:
        """Return the gradients of the weights, summed, and of the inputs."""
        weights, inputs = ctx.flight.crew.collect(ctx.flight)
        return None, None, *weights, *inputs


class Start(torch.autograd.Function):
    """Recorded after the caller's replica has run; its backward sends the others their gradients."""

    @staticmethod
    def forward(ctx: Any, flight: Flight, token: torch.Tensor, *outputs: torch.Tensor) -> Any:
        """Return ``outputs``, as tensors that have a history."""
        ctx.flight, ctx.device = flight, token.device
        ctx.set_materialize_grads(False)
        return tuple(output.view_as(output) for output in outputs)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Send ``gradients`` to the replicas."""
        # Whether the graph is wanted once more is known to the engine alone.
        retain = torch._C._autograd._get_current_graph_task_keep_graph()
        ctx.flight.crew.send_back(ctx.flight, gradients, retain)
        return None, torch.zeros((), device=ctx.device), *(None for _ in gradients)
