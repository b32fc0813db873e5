"""What runs in the process of a replica: receive the model, then run it forwards and backwards on rows."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from befit._internal.child import end_with_parent
from befit._internal.failure import describe
from befit._internal.memory import Descriptor
from befit.integrations.torch.replicate_memory import Place, cut, fill, lay_out, open_block
from befit.integrations.torch.replicate_modes import Modes
from befit.integrations.torch.replicate_threads import torch_device
from befit.integrations.torch.replicate_travel import loads_model
from befit.integrations.torch.replicate_wire import Wire, pack, unpack

Runner = Callable[[Any, int, torch.device], Callable[[Any], Any]]
"""Returns, for a model, its replica's number and its device, a function from a call to a tree of results."""


@dataclass(frozen=True)
class Model:
    """The model as it is sent: everything but its weights, which are in a block."""

    pickled: bytes
    runner: Runner
    modules: Callable[[Any], list[Any]]
    """Returns the parts of the model whose attributes ``Forward`` may change, always in one order."""
    weights: list[Place]
    requires_grad: list[bool]
    kinds: list[type]
    surroundings: bytes
    """What is around the caller, pickled: open scopes of custom objects, global settings."""


@dataclass(frozen=True)
class Forward:
    """Run the model on the call in a box, and keep its graph under ``key`` until told otherwise."""

    key: int
    call: bytes
    box: int
    places: list[Place]
    with_grad: list[int]
    """Which tensors of the call shall get gradients."""
    modes: Modes
    keep_graph: bool
    seed: int
    attributes: list[bytes]
    """New values of plain attributes of the model's modules, pickled."""
    forgotten: list[int]
    """Keys of graphs that are not needed any more."""


@dataclass(frozen=True)
class Backward:
    """Lead the gradients in a box back through the graph under ``key``."""

    key: int
    box: int
    places: list[Place | None]
    retain: bool


@dataclass(frozen=True)
class Attach:
    """Map blocks, whose descriptors come along in this order; forget boxes that are not in ``boxes``."""

    boxes: dict[int, Any]
    known: list[int]
    weights: Any = None
    """The handle of the block with the weights, if it is a new one."""
    gradients: Any = None
    """The handle of the block for their gradients, if it is a new one."""


@dataclass(frozen=True)
class Result:
    """What a forward pass came to: the pickle of a tree, and its tensors in the box of the replica."""

    value: bytes
    places: list[Place]
    with_grad: list[int]


@dataclass(frozen=True)
class Gradients:
    """Which weights and which inputs have gradients; those of inputs are at ``places`` in the box."""

    weights: list[bool]
    inputs: list[bool]
    places: list[Place]


@dataclass(frozen=True)
class Room:
    """The answer does not fit into the replica's box: send one of so many bytes, and it will follow."""

    nbytes: int


@dataclass
class _Graph:
    outputs: list[torch.Tensor]
    inputs: list[torch.Tensor]


def main(descriptor: int, caller: int, replica: int, threads: int) -> None:
    """Serve the process ``caller``, at the other end of the socket ``descriptor``, until it hangs up."""
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=end_with_parent, args=(connection, caller), daemon=True).start()
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _Replica(Wire(connection), replica).serve()
    os._exit(0)  # what torch and CUDA do at the end of an interpreter takes long, and nobody needs it


class _Replica:
    """The model, the blocks and the graphs of this process."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire = wire
        self._number = number
        self._device = torch.device("cpu")
        self._boxes: dict[int, torch.Tensor] = {}
        self._weights_block = self._gradients_block = torch.empty(0)
        self._weights: list[torch.Tensor] = []
        self._gradients: list[torch.Tensor] = []
        self._places: list[Place] = []
        self._graphs: dict[int, _Graph] = {}
        self._model: Any = None
        self._modules: list[Any] = []
        self._run: Callable[[Any], Any] | None = None
        self._around = ExitStack()

    def serve(self) -> None:
        """Do what the messages say, one after the other."""
        device, _ = self._wire.receive()
        self._device = torch_device(device)
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)
        self._wire.send("ready")
        while True:
            message, descriptors = self._wire.receive()
            if isinstance(message, Attach):
                self._attach(message, iter(descriptors))
                continue
            try:
                answer = self._answer(message)
            except Exception as error:  # noqa: BLE001 - the caller's to raise
                self._graphs.pop(getattr(message, "key", 0), None)
                answer = describe(error)
            self._wire.send(answer)

    def _answer(self, message: Any) -> Any:
        match message:
            case Forward():
                return self._forward(message)
            case Backward():
                return self._backward(message)
            case Model():
                return self._take(message)
        raise TypeError(f"a message of type {type(message).__name__}")

    def _attach(self, message: Attach, descriptors: Iterator[Descriptor]) -> None:
        def opened(handle: Any) -> torch.Tensor:
            return open_block(handle, next(descriptors) if self._device.type == "cpu" else None)

        if message.weights is not None:
            self._weights_block = opened(message.weights)
        if message.gradients is not None:
            self._gradients_block = opened(message.gradients)
            self._gradients = []
        for number, handle in message.boxes.items():
            self._boxes[number] = opened(handle)
        for number in set(self._boxes) - set(message.known):
            del self._boxes[number]

    def _take(self, message: Model) -> str:
        self._graphs.clear()
        self._around.close()
        for carried in pickle.loads(message.surroundings):
            self._around.enter_context(carried)
        views = cut(self._weights_block, message.weights)
        self._weights = [
            kind(view, requires_grad=needed) if issubclass(kind, torch.nn.Parameter) else view
            for view, needed, kind in zip(views, message.requires_grad, message.kinds, strict=True)
        ]
        self._places = message.weights
        self._gradients = []
        self._model = loads_model(message.pickled, self._weights)
        self._modules = message.modules(self._model)
        self._run = message.runner(self._model, self._number, self._device)
        return "taken"

    def _forward(self, message: Forward) -> Result | Room:
        for key in message.forgotten:
            self._graphs.pop(key, None)
        for changed in message.attributes:
            for index, values in loads_model(changed, self._weights):
                vars(self._modules[index]).update(values)
        tensors = cut(self._boxes[message.box], message.places)
        for index in message.with_grad:
            tensors[index].requires_grad_()
        assert self._run is not None
        torch.manual_seed(message.seed)
        with message.modes.entered():
            value = self._run(unpack(message.call, tensors))
        pickled, results = pack(value)
        with_grad = [index for index, result in enumerate(results) if result.requires_grad]
        if message.keep_graph:
            self._graphs[message.key] = _Graph(
                [results[index] for index in with_grad], [tensors[index] for index in message.with_grad]
            )
        places = self._put(results)
        return Result(pickled, places, with_grad)

    def _backward(self, message: Backward) -> Gradients:
        graph = self._graphs[message.key] if message.retain else self._graphs.pop(message.key)
        box = self._boxes[message.box]
        given = [None if place is None else cut(box, [place])[0] for place in message.places]
        pairs = [(output, one) for output, one in zip(graph.outputs, given, strict=True) if one is not None]
        wanted = [weight for weight in self._weights if weight.requires_grad]
        results: list[Any] = [None] * (len(wanted) + len(graph.inputs))
        if pairs and results:
            results = list(
                torch.autograd.grad(
                    [output for output, _ in pairs],
                    [*wanted, *graph.inputs],
                    [one for _, one in pairs],
                    retain_graph=message.retain,
                    allow_unused=True,
                )
            )
        if not self._gradients:
            self._gradients = cut(self._gradients_block, self._places)
        targets = [
            view for view, weight in zip(self._gradients, self._weights, strict=True) if weight.requires_grad
        ]
        of_weights, of_inputs = results[: len(wanted)], results[len(wanted) :]
        done = [(view, one) for view, one in zip(targets, of_weights, strict=True) if one is not None]
        fill(
            [view for view, _ in done],
            [one.to_dense() if one.layout is not torch.strided else one for _, one in done],
        )
        places = self._put([one for one in of_inputs if one is not None])
        return Gradients(
            [one is not None for one in of_weights], [one is not None for one in of_inputs], places
        )

    def _put(self, tensors: list[torch.Tensor]) -> list[Place]:
        """Copy ``tensors`` into the replica's own box, number 0; ask for a larger one if need be."""
        places, nbytes = lay_out(tensors)
        if 0 not in self._boxes or len(self._boxes[0]) < nbytes:
            self._wire.send(Room(nbytes))
            message, descriptors = self._wire.receive()
            self._attach(message, iter(descriptors))
        fill(cut(self._boxes[0], places), [tensor.detach() for tensor in tensors])
        return places
