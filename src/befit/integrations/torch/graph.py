"""Reads PyTorch modules as graphs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from befit.errors import UnsupportedObjectError
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter
from befit.integrations.torch.example import arguments_for
from befit.integrations.torch.forward import initialized_copy, traced_calls
from befit.integrations.torch.tracing import Call, is_leaf, paths_of


def read_graph(model: Any, inputs: Any = None) -> ModelGraph:
    """Return the graph of a PyTorch module.

    Args:
        model: a ``torch.nn.Module``; one that ``torch.compile`` wrapped is unwrapped.
        inputs: an example input, a shape for float32 zeros, or a tuple or dict of those. Without it only
            layers and parameters are read.

    Raises:
        UnsupportedObjectError: not a module.
        GraphError: the forward pass fails on ``inputs``.
    """
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedObjectError(f"{type(model).__name__!r} is no model; give a torch.nn.Module")
    with _one_at_a_time:
        return _read(getattr(model, "_orig_mod", model), inputs)


_one_at_a_time = threading.RLock()  # while it is read, a model's weights are others


def _read(model: Any, inputs: Any) -> ModelGraph:
    if isinstance(model, torch.jit.ScriptModule):
        return _Reader(model).listed("TorchScript code does not tell which modules it calls")
    if inputs is None:
        return _Reader(model).listed("no example input was given")
    arguments = arguments_for(model, inputs)
    if any(map(is_lazy, model.parameters())):
        model = initialized_copy(model, arguments)
    return _Reader(model).traced(traced_calls(model, arguments))


class _Reader:
    """Turns modules and calls of one model into layers and nodes."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._parameters: dict[int, Parameter] = {}
        self._names = paths_of(model)
        self._taken = set(self._names.values())
        self._names[model] = self._unused(_type(model))  # the model itself has no path
        for key, (name, tensor) in enumerate(model.named_parameters()):
            if not is_lazy(tensor):
                self._parameters[id(tensor)] = _parameter(key, name, tensor)
        self._key_of_name = {parameter.name: parameter.key for parameter in self._parameters.values()}

    def listed(self, untraced_because: str) -> ModelGraph:
        """Return layers and parameters without calls."""
        return self._graph(self._boxes(), untraced_because=untraced_because)

    def traced(self, calls: list[Call]) -> ModelGraph:
        """Return the graph of ``calls``."""
        layers: dict[str, Layer] = {}
        times: dict[str, int] = {}
        nodes, edges = [], []
        for index, call in enumerate(calls):
            layer = self._function(call) if call.module is None else self._module(call.module)
            layers.setdefault(layer.key, layer)
            time = times.get(layer.key, 0)
            times[layer.key] = time + 1
            given = tuple(spec for spec, _ in call.inputs)
            nodes.append(Node(index, layer.key, time, given, call.outputs, call.macs))
            for position, (_, origin) in enumerate(call.inputs):
                if origin is not None:
                    edges.append(Edge(origin.call, origin.output, index, position))
        used = {key for layer in layers.values() for key in layer.parameters}
        for layer in self._boxes():  # weights that no call was seen to use
            if not used.issuperset(layer.parameters):
                layers.setdefault(layer.key, layer)
        return self._graph(layers.values(), nodes, edges)

    def _graph(
        self,
        layers: Iterable[Layer],
        nodes: Iterable[Node] = (),
        edges: Iterable[Edge] = (),
        untraced_because: str = "",
    ) -> ModelGraph:
        model = self._model
        return ModelGraph(
            name=_type(model),
            type=_type(model),
            framework="torch",
            layers={layer.key: layer for layer in layers},
            nodes=tuple(nodes),
            edges=tuple(edges),
            parameters={parameter.key: parameter for parameter in self._parameters.values()},
            is_sequential=isinstance(model, torch.nn.Sequential) and all(map(is_leaf, model.children())),
            is_traced=not untraced_because,
            untraced_because=untraced_because,
            is_built=not any(map(is_lazy, model.parameters())),
        )

    def _boxes(self) -> Iterator[Layer]:
        """Yield a layer for each module that is one box, and for those around them that hold parameters."""
        scripted = isinstance(self._model, torch.jit.ScriptModule)
        closed: str | None = None  # the path of the last box; what is in it follows it at once
        for path, module in self._model.named_modules():
            if closed is not None and path.startswith(closed):
                continue
            if is_leaf(module) and not (scripted and next(module.children(), None) is not None):
                closed = f"{path}." if path else ""
                yield self._module(module)
            elif own := list(module.parameters(recurse=False)):
                yield self._module(module, own)

    def _module(self, module: Any, tensors: Iterable[Any] | None = None) -> Layer:
        """``tensors``: the parameters to show, if not all that are inside."""
        tensors = list(module.parameters() if tensors is None else tensors)
        keys = dict.fromkeys(self._parameters[id(t)].key for t in tensors if id(t) in self._parameters)
        name = self._names[module]
        return Layer(
            key=name,
            name=name,
            type=_type(module),
            path=name,
            parameters=tuple(keys),
            built=not any(map(is_lazy, tensors)),
            config=_settings(module),
        )

    def _function(self, call: Call) -> Layer:
        name = self._unused(".".join(part for part in (call.path, call.function) if part))
        return Layer(
            key=name,
            name=name,
            type=call.function or "Input",
            path=name,
            parameters=tuple(self._key_of_name[parameter] for parameter in call.parameters),
            is_input=not call.function,
        )

    def _unused(self, stem: str) -> str:
        name, number = stem, 0
        while name in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name)
        return name


def _parameter(key: int, name: str, tensor: Any) -> Parameter:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Parameter(key, name, tuple(tensor.shape), dtype, tensor.requires_grad)


def _type(module: Any) -> str:
    return str(getattr(module, "original_name", type(module).__name__))


def _settings(module: Any) -> Mapping[str, object]:
    found = {}
    for name in getattr(type(module), "__constants__", ()):
        value = getattr(module, name, None)
        if isinstance(value, (bool, int, float, str)) or (
            isinstance(value, tuple) and all(isinstance(item, int) for item in value)
        ):
            found[name] = value
    return found
