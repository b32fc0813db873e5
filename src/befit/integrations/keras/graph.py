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

# What a reader of a diagram wants to know about a layer, as Keras' layers call it.
SETTINGS = (
    *("units", "filters", "kernel_size", "pool_size", "strides", "padding", "dilation_rate", "groups"),
    *("activation", "recurrent_activation", "use_bias", "rate", "axis", "epsilon", "momentum"),
    *("num_heads", "key_dim", "input_dim", "output_dim", "return_sequences", "target_shape", "size", "scale"),
)


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
        self._parameters: dict[int, tuple[int, Parameter]] = {}
        self._taken: set[str] = set()

    def read(self, model: Any, inputs: Any = None, path: str = "") -> ModelGraph:
        """Return the graph of ``model``, which is called ``path`` inside the outermost one."""
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
        for index, call in enumerate(calls):
            nodes.append(
                Node(
                    index=index,
                    layer=layers[id(call.operation)].key,
                    call=call.outputs[0]._keras_history.node_index,
                    inputs=tuple(map(_spec, call.input_tensors)),
                    outputs=tuple(map(_spec, call.outputs)),
                )
            )
            for position, tensor in enumerate(call.input_tensors):
                source = index_of.get(id(_maker(tensor)))
                if source is not None:
                    edges.append(Edge(source, tensor._keras_history.tensor_index, index, position))
        return self._graph(model, layers.values(), nodes, edges)

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
        for layer in by_name.values():
            keys.update(dict.fromkeys(layer.parameters))
        by_key = dict(self._parameters.values())
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
        path = f"{path}/{operation.name}" if path else str(operation.name)
        key, number = path, 1
        while key in self._taken:  # names in a subclassed model may repeat
            number += 1
            key = f"{path}#{number}"
        self._taken.add(key)
        wrapped = _wrapped(operation)
        model = next((layer for layer in (operation, wrapped) if isinstance(layer, keras.Model)), None)
        return Layer(
            key=key,
            name=operation.name,
            type=type(operation).__name__,
            path=path,
            parameters=self._keys(getattr(operation, "weights", ())),
            is_input=isinstance(operation, keras.layers.InputLayer),
            wrapped=None if wrapped is None else (wrapped.name, type(wrapped).__name__),
            inner=None if model is None else self.read(model, path=key),
            built=getattr(operation, "built", True),
            config=_settings(operation),
        )

    def _keys(self, weights: Iterable[Any]) -> tuple[int, ...]:
        keys: dict[int, None] = {}
        for weight in weights:
            if id(weight) not in self._parameters:
                key = len(self._parameters)
                self._parameters[id(weight)] = (key, self._parameter(key, weight))
            keys[self._parameters[id(weight)][0]] = None
        return tuple(keys)

    def _parameter(self, key: int, weight: Any) -> Parameter:
        return Parameter(
            key=key,
            name=weight.path,
            shape=tuple(weight.shape),
            dtype=keras.backend.standardize_dtype(weight.dtype),
            trainable=id(weight) in self._trainable,
        )


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


def _spec(tensor: Any) -> TensorSpec:
    return TensorSpec(None if tensor.shape is None else tuple(tensor.shape), tensor.dtype)


def _wrapped(operation: Any) -> Any:
    if isinstance(operation, keras.layers.Wrapper):
        return operation.layer
    if isinstance(operation, keras.layers.Bidirectional):
        return operation.forward_layer
    return None


def _settings(operation: Any) -> Mapping[str, object]:
    attributes = vars(operation)
    found = {}
    for name in SETTINGS:
        value = attributes.get(name)
        value = getattr(value, "__name__", value)
        if isinstance(value, (bool, int, float, str)) or (
            isinstance(value, (tuple, list)) and all(isinstance(item, int) for item in value)
        ):
            found[name] = tuple(value) if isinstance(value, list) else value
    return found
