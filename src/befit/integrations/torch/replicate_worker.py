"""What runs in the process of a replica: receive models, then run them forwards and backwards on rows."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
class Attach:
    """Map blocks, whose descriptors come along in the order of these fields. Has no answer."""

    boxes: dict[int, Any] = field(default_factory=dict)
    """The handles of boxes for messages, by number; number 0 is the replica's own."""
    weights: dict[int, Any] = field(default_factory=dict)
    """The handles of blocks with the weights of models."""
    gradients: dict[int, Any] = field(default_factory=dict)
    """The handles of blocks for the gradients of the weights of models."""
    known: list[int] | None = None
    """The boxes that there are; others are forgotten."""


@dataclass(frozen=True)
class Model:
    """A model: everything but its weights, which are in a block."""

    key: int
    pickled: bytes
    runner: Runner
    parts: Callable[[Any], list[Any]]
    """Returns the parts of the model whose attributes ``Forward`` may change, always in one order."""
    weights: list[Place]
    requires_grad: list[bool]
    kinds: list[type]
    surroundings: bytes
    """What is around the caller, pickled: open scopes of custom objects, settings."""
    dropped: list[int]
    """Models that are not needed any more."""


@dataclass(frozen=True)
class Forward:
    """Run a model on the call in a box, and keep its graph under ``key`` until told otherwise."""

    model: int
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
    """New values of plain attributes of the model's parts, pickled."""
    forgotten: list[int]
    """Keys of graphs that are not needed any more."""


@dataclass(frozen=True)
class Backward:
    """Lead the gradients in a box back through the graph under ``key``."""

    model: int
    key: int
    box: int
    places: list[Place | None]
    retain: bool


@dataclass(frozen=True)
class Result:
    """What a forward pass came to: the pickle of a tree, and its tensors in the replica's own box."""

    value: bytes
    places: list[Place]
    with_grad: list[int]


@dataclass(frozen=True)
class Gradients:
    """Which weights and which inputs have gradients; those of inputs are at ``places`` in the own box."""

    weights: list[bool]
    inputs: list[bool]
    places: list[Place]


@dataclass(frozen=True)
class Room:
    """The answer does not fit into the replica's own box: attach one of so many bytes, and it will follow."""

    nbytes: int


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


class _LoadedModel:
    """A model, its weights, and what its forward passes need."""

    def __init__(self, message: Model, block: torch.Tensor, replica: int, device: torch.device) -> None:
        self.surroundings = pickle.loads(message.surroundings)
        self._places = message.weights
        self.weights = [
            kind(view, requires_grad=needed)
            if issubclass(kind, torch.nn.Parameter)
            else view.requires_grad_(needed)
            for view, needed, kind in zip(
                cut(block, message.weights), message.requires_grad, message.kinds, strict=True
            )
        ]
        self.trained = [weight for weight in self.weights if weight.requires_grad]
        self.gradients: list[torch.Tensor] = []
        with self.around():
            model = loads_model(message.pickled, self.weights)
            self.run = message.runner(model, replica, device)
        self._parts = message.parts(model)

    def use(self, block: torch.Tensor) -> None:
        """Write the gradients of weights into ``block``."""
        self.gradients = cut(
            block,
            [place for place, weight in zip(self._places, self.weights, strict=True) if weight.requires_grad],
        )

    def change(self, pickled: bytes) -> None:
        """Give parts of the model other attributes."""
        for index, values in loads_model(pickled, self.weights):
            vars(self._parts[index]).update(values)

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        """Be in the surroundings of the caller."""
        with contextlib.ExitStack() as stack:
            for carried in self.surroundings:
                stack.enter_context(carried)
            yield


@dataclass
class _Graph:
    outputs: list[torch.Tensor]
    inputs: list[torch.Tensor]


class _Replica:
    """The models, the blocks and the graphs of this process."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire = wire
        self._number = number
        self._device = torch.device("cpu")
        self._boxes: dict[int, torch.Tensor] = {}
        self._weights: dict[int, torch.Tensor] = {}
        self._gradients: dict[int, torch.Tensor] = {}
        self._models: dict[int, _LoadedModel] = {}
        self._graphs: dict[int, _Graph] = {}

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
                if isinstance(message, Backward | Forward):  # the key of a model is another one
                    self._graphs.pop(message.key, None)
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
        for blocks, handles in (
            (self._boxes, message.boxes),
            (self._weights, message.weights),
            (self._gradients, message.gradients),
        ):
            for key, handle in handles.items():
                blocks[key] = open_block(handle, next(descriptors) if self._device.type == "cpu" else None)
        for key in message.gradients:
            if key in self._models:
                self._models[key].use(self._gradients[key])
        if message.known is not None:
            for number in set(self._boxes) - set(message.known):
                del self._boxes[number]

    def _take(self, message: Model) -> str:
        for key in message.dropped:
            for kept in (self._models, self._weights, self._gradients):
                kept.pop(key, None)
        model = _LoadedModel(message, self._weights[message.key], self._number, self._device)
        model.use(self._gradients[message.key])
        self._models[message.key] = model
        return "taken"

    def _forward(self, message: Forward) -> Result:
        for key in message.forgotten:
            self._graphs.pop(key, None)
        model = self._models[message.model]
        for changed in message.attributes:
            model.change(changed)
        tensors = cut(self._boxes[message.box], message.places)
        for index in message.with_grad:
            tensors[index].requires_grad_()
        torch.manual_seed(message.seed)
        with model.around(), message.modes.entered():
            # A leaf that wants a gradient must not be written to, and what the caller passes need be no leaf.
            given = [tensor.clone() if tensor.requires_grad else tensor for tensor in tensors]
            value = model.run(unpack(message.call, given))
        pickled, results = pack(value)
        with_grad = [index for index, result in enumerate(results) if result.requires_grad]
        if message.keep_graph:
            self._graphs[message.key] = _Graph(
                [results[index] for index in with_grad], [tensors[index] for index in message.with_grad]
            )
        return Result(pickled, self._put(results), with_grad)

    def _backward(self, message: Backward) -> Gradients:
        graph = self._graphs[message.key] if message.retain else self._graphs.pop(message.key)
        model, box = self._models[message.model], self._boxes[message.box]
        given = [None if place is None else cut(box, [place])[0] for place in message.places]
        pairs = [(output, one) for output, one in zip(graph.outputs, given, strict=True) if one is not None]
        wanted = [*model.trained, *graph.inputs]
        results: Any = [None] * len(wanted)
        if pairs and wanted:
            results = torch.autograd.grad(
                [output for output, _ in pairs],
                wanted,
                [one for _, one in pairs],
                retain_graph=message.retain,
                allow_unused=True,
            )
        of_weights, of_inputs = results[: len(model.trained)], results[len(model.trained) :]
        done = [(view, one) for view, one in zip(model.gradients, of_weights, strict=True) if one is not None]
        fill(
            [view for view, _ in done],
            [one if one.layout is torch.strided else one.to_dense() for _, one in done],
        )
        places = self._put([one for one in of_inputs if one is not None])
        return Gradients(
            [one is not None for one in of_weights], [one is not None for one in of_inputs], places
        )

    def _put(self, tensors: list[torch.Tensor]) -> list[Place]:
        """Copy ``tensors`` into the replica's own box; ask for a larger one if need be."""
        places, nbytes = lay_out(tensors)
        if 0 not in self._boxes or len(self._boxes[0]) < nbytes:
            self._wire.send(Room(nbytes))
            message, descriptors = self._wire.receive()
            self._attach(message, iter(descriptors))
        fill(cut(self._boxes[0], places), [tensor.detach() for tensor in tensors])
        return places
