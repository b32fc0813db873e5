"""Reads Keras models as graphs.

Keras keeps every symbolic call as a node whose output tensors know where they came from. Functional and built
Sequential models are such graphs already; a subclassed model is called once on symbolic inputs to make one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import keras

from befit.errors import GraphError, UnsupportedObjectError
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter, TensorSpec
from befit.integrations.keras import symbolic
from befit.integrations.keras.macs import Counter

# What a reader of a diagram wants to know about a layer, as Keras' layers call it.
SETTINGS = (
    *("units", "filters", "kernel_size", "pool_size", "strides", "padding", "dilation_rate", "groups"),
    *("activation", "recurrent_activation", "use_bias", "rate", "axis", "epsilon", "momentum"),
    *("num_heads", "key_dim", "input_dim", "output_dim", "return_sequences", "target_shape", "size", "scale"),
    "merge_mode",
)

SCALARS = (bool, int, float, str)


def read_graph(model: Any, inputs: Any = None) -> ModelGraph:
    """Return the graph of a Keras model.

    Args:
        model: a ``keras.Model``: Sequential, functional or subclassed.
        inputs: an example input, or its shape with the batch axis; builds a model that is not built yet.

    Raises:
        UnsupportedObjectError: not a model.
        GraphError: ``inputs`` were given, and the model's code cannot be called on symbolic inputs like them.
    """
    if not isinstance(model, keras.Model):
        raise UnsupportedObjectError(
            f"{type(model).__name__!r} is no model; give a keras.Model, such as keras.Sequential([layer])"
        )
    if not symbolic.is_built(model):
        symbolic.build(model, inputs)
    return _Reader(model).read(model, inputs)


class _Reader:
    """Reads one model and those nested in it, so that each weight gets one key and each layer another."""

    def __init__(self, model: Any) -> None:
        self._trainable = {id(weight) for weight in model.trainable_weights}
        self._parameters: dict[int, Parameter] = {}
        self._taken: set[str] = set()
        self._graphs: dict[int, ModelGraph] = {}
        self._specs: dict[tuple[Any, str], TensorSpec] = {}

    def read(self, model: Any, inputs: Any = None, path: str = "") -> ModelGraph:
        """Return the graph of ``model``, which is called ``path`` inside the outermost one."""
        self._graphs[id(model)] = graph = self._read(model, inputs, path)
        return graph

    def _read(self, model: Any, inputs: Any, path: str) -> ModelGraph:
        known = symbolic.known_tensors(model)
        if known is None and isinstance(model, keras.Sequential):
            return self._from_stack(model, path)
        if known is not None and not _holds_a_batch_size(model, known[0]):
            return self._from_tensors(model, path, *known, order=getattr(model, "operations", ()))
        try:
            with symbolic.called(model, inputs) as (entries, exits):
                return self._from_tensors(model, path, entries, exits)
        except GraphError as error:
            if known is not None:
                return self._from_tensors(model, path, *known)
            if inputs is not None:
                raise
            return self._from_layers(model, path, untraced_because=str(error))

    def _from_tensors(
        self,
        model: Any,
        path: str,
        inputs: Iterable[Any],
        outputs: Iterable[Any],
        order: Iterable[Any] = (),
    ) -> ModelGraph:
        """``order``: the operations as a summary lists them; those left out follow in the order of calls."""
        calls = _calls_between(inputs, outputs)
        operations = {id(operation): operation for operation in order}
        operations.update((id(call.operation), call.operation) for call in calls)
        if not order:  # weights that the code never reached belong to the model all the same
            operations.update((id(layer), layer) for layer in model.layers)
        layers = {key: self._layer(operation, path) for key, operation in operations.items()}
        index_of = {id(call): index for index, call in enumerate(calls)}
        nodes, edges = [], []
        counter = Counter(self._macs_of_model)
        for index, call in enumerate(calls):
            given, made = call.input_tensors, call.outputs
            nodes.append(
                Node(
                    index,
                    layers[id(call.operation)].key,
                    made[0]._keras_history.node_index,
                    tuple([self._spec(tensor) for tensor in given]),
                    tuple([self._spec(tensor) for tensor in made]),
                    counter.count(call),
                )
            )
            for position, tensor in enumerate(given):
                source = index_of.get(id(_maker(tensor)))
                if source is not None:
                    edges.append(Edge(source, tensor._keras_history.tensor_index, index, position))
        return self._graph(model, layers.values(), nodes, edges)

    def _macs_of_model(self, model: Any, sizes: list[Any]) -> int | None:
        """Return the multiply-adds of a nested model for inputs with these axis lengths."""
        batch = sizes[0][0] if sizes and sizes[0] else None
        if batch is None or any(None in lengths for lengths in sizes):
            return None
        graph = self._graphs[id(model)]
        inputs = [node.outputs[0].shape or () for node in graph.nodes if graph.layer_of(node).is_input]
        if [(batch, *shape[1:]) if shape[:1] == (None,) else shape for shape in inputs] == sizes:
            macs = graph.macs
            return None if macs is None else macs * (batch if inputs[0][:1] == (None,) else 1)
        try:  # its own graph is for other lengths
            with symbolic.called(model, sizes[0] if len(sizes) == 1 else tuple(sizes)) as tensors:
                counter = Counter(self._macs_of_model)
                counts = [counter.count(call) for call in _calls_between(*tensors)]
        except GraphError:
            return None
        known = [count for count in counts if count is not None]
        return sum(known) * batch if len(known) == len(counts) else None

    def _from_stack(self, model: Any, path: str) -> ModelGraph:
        """A Sequential without symbolic tensors: its layers follow each other, their shapes are unknown."""
        layers = {id(layer): self._layer(layer, path) for layer in model.layers}
        unknown = (TensorSpec(None),)
        calls: dict[int, int] = {}
        nodes = []
        for index, layer in enumerate(model.layers):
            call = calls.setdefault(id(layer), 0)
            calls[id(layer)] += 1
            nodes.append(Node(index, layers[id(layer)].key, call, unknown if index else (), unknown))
        edges = [Edge(index - 1, 0, index, 0) for index in range(1, len(nodes))]
        return self._graph(model, layers.values(), nodes, edges)

    def _from_layers(self, model: Any, path: str, untraced_because: str) -> ModelGraph:
        layers = [self._layer(layer, path) for layer in model.layers]
        graph = self._graph(model, layers, [], [])
        return replace(graph, is_traced=False, untraced_because=untraced_because)

    def _graph(
        self, model: Any, layers: Iterable[Layer], nodes: Iterable[Node], edges: Iterable[Edge]
    ) -> ModelGraph:
        by_name = {layer.key: layer for layer in layers}
        keys = dict.fromkeys(self._keys(model.weights))
        keys.update((key, None) for layer in by_name.values() for key in layer.parameters)
        by_key = list(self._parameters.values())
        return ModelGraph(
            name=model.name,
            type=type(model).__name__,
            framework="keras",
            layers=by_name,
            nodes=tuple(nodes),
            edges=tuple(edges),
            parameters={key: by_key[key] for key in keys},
            is_sequential=isinstance(model, keras.Sequential),
            is_built=symbolic.is_built(model),
        )

    def _layer(self, operation: Any, path: str) -> Layer:
        name = operation.name
        path = f"{path}/{name}" if path else name
        key, number = path, 1
        while key in self._taken:  # names in a subclassed model may repeat
            number += 1
            key = f"{path}#{number}"
        self._taken.add(key)
        wrapped = _wrapped(operation)
        model = operation if wrapped is None else wrapped
        inner = self.read(model, path=key) if isinstance(model, keras.Model) else None
        return Layer(
            key,
            name,
            type(operation).__name__,
            path,
            self._keys(getattr(operation, "weights", ())),
            isinstance(operation, keras.layers.InputLayer),
            None if wrapped is None else (wrapped.name, type(wrapped).__name__),
            inner,
            getattr(operation, "built", True),
            _settings(operation, wrapped),
        )

    def _keys(self, weights: Iterable[Any]) -> tuple[int, ...]:
        keys = []
        known = self._parameters
        for weight in weights:
            parameter = known.get(id(weight))
            if parameter is None:
                parameter = known[id(weight)] = self._parameter(len(known), weight)
            keys.append(parameter.key)
        return tuple(dict.fromkeys(keys))

    def _spec(self, tensor: Any) -> TensorSpec:
        """Return shape and dtype, as one value for all tensors that share them."""
        key = (tensor.shape, tensor.dtype)
        spec = self._specs.get(key)
        if spec is None:
            spec = self._specs[key] = TensorSpec(None if key[0] is None else tuple(key[0]), key[1])
        return spec

    def _parameter(self, key: int, weight: Any) -> Parameter:
        # The property looks for an autocast scope each time, which costs more than all else here together.
        dtype = getattr(weight, "_dtype", None) or weight.dtype
        return Parameter(key, weight.path, tuple(weight.shape), dtype, id(weight) in self._trainable)


def _holds_a_batch_size(model: Any, inputs: list[Any]) -> bool:
    """A Sequential that was built by data holds the size of its first batch, although it takes any."""
    return (
        isinstance(model, keras.Sequential)
        and inputs[0].shape[:1] != (None,)
        and not any(getattr(layer, "stateful", False) for layer in model.layers)
    )


def _calls_between(inputs: Iterable[Any], outputs: Iterable[Any]) -> list[Any]:
    """Return Keras' nodes from ``inputs`` to ``outputs``, each after those that it needs.

    An explicit stack instead of recursion: a model may be deeper than Python's own stack.
    """

    def makers(tensors: Iterable[Any]) -> list[Any]:
        return [maker for maker in map(_maker, tensors) if maker is not None]

    ordered: dict[int, Any] = {}
    entered: set[int] = set()
    stack = [iter((*makers(inputs), *makers(outputs)))]  # inputs first: nothing may use them
    path: list[Any] = []
    while stack:
        call = next(stack[-1], None)
        if call is None:
            stack.pop()
            if path:
                finished = path.pop()
                ordered[id(finished)] = finished
        elif id(call) not in entered:
            entered.add(id(call))
            path.append(call)
            stack.append(iter(makers(call.input_tensors)))
    return list(ordered.values())


def _maker(tensor: Any) -> Any:
    """Return the call that made ``tensor``; ``None`` if it came from nowhere that Keras knows."""
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def _wrapped(operation: Any) -> Any:
    if isinstance(operation, keras.layers.Wrapper):
        return operation.layer
    if isinstance(operation, keras.layers.Bidirectional):
        return operation.forward_layer
    return None


def _settings(operation: Any, wrapped: Any = None) -> Mapping[str, object]:
    if wrapped is not None:
        inner = {f"layer.{name}": value for name, value in _settings(wrapped).items()}
        return {**_settings(operation), **inner}
    attributes = vars(operation)
    found: dict[str, object] = {}
    for name in SETTINGS:
        if name in attributes:
            value = attributes[name]
            if isinstance(value, SCALARS):
                found[name] = value
            elif isinstance(value, (tuple, list)):
                if all(isinstance(item, int) for item in value):
                    found[name] = tuple(value)
            elif hasattr(value, "__name__"):  # an activation
                found[name] = value.__name__
    return found
