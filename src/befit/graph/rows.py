"""The rows of a summary: what is worth knowing about each layer of a graph."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from befit.graph.model_graph import Layer, ModelGraph, Node, TensorSpec


@dataclass(frozen=True, slots=True)
class Row:
    """One layer.

    Attributes:
        name: the layer's name; for PyTorch its attribute path.
        type: the name of its class.
        output_shape: such as ``"(None, 10)"``; a list for several outputs; ``"multiple"`` if it was called on
            different shapes; ``"multiple"`` (Keras) or ``"?"`` (PyTorch) if the shape is not known.
        params: values in its weights, trainable or not; a weight that two layers share counts in both rows.
        connected_to: what goes in, as ``"layer[call][output]"``, numbers counted from 0 as Keras does.
        depth: 0 for the layers of the model itself, 1 for those of a model nested in it, and so on.
        built: the weights exist.
        input_shape: as ``output_shape``, of what goes in.
        dtype: of its outputs; a list if they differ, ``"multiple"`` if its calls do.
        trainable_params: values in those weights that training changes.
        memory: bytes that its weights take.
        macs: multiply-adds of all its calls, as ``Node`` counts them; in a nested model those of one call of
            that model. ``None`` if they are not known.
        times: how many rows this one stands for.
        block: a number that rows share if they are repeated together.
    """

    name: str
    type: str
    output_shape: str
    params: int
    connected_to: tuple[str, ...]
    depth: int
    built: bool
    input_shape: str = "?"
    dtype: str = "?"
    trainable_params: int = 0
    memory: int = 0
    macs: int | None = None
    times: int = 1
    block: int | None = None


Shown = tuple[int, ModelGraph, Layer]
"""How deep a layer is nested, the graph that it is in, and the layer."""


def shown_layers(graph: ModelGraph, expand_nested: bool) -> Iterator[Shown]:
    """Yield each layer that has a row, those of a nested model after its own."""
    stack = [(graph, iter(graph.layers.values()))]
    while stack:
        graph, layers = stack[-1]
        layer = next(layers, None)
        if layer is None:
            stack.pop()
        elif not _is_hidden(graph, layer):
            yield len(stack) - 1, graph, layer
            if expand_nested and layer.inner is not None:
                stack.append((layer.inner, iter(layer.inner.layers.values())))


def _is_hidden(graph: ModelGraph, layer: Layer) -> bool:
    """A Sequential lists what was added to it; its input is no layer of its own there."""
    return graph.is_sequential and layer.is_input


Weights = Mapping[int, tuple[int, int, int]]
"""Of each parameter: how many values it has, how many of them training changes, and its bytes."""


def weights_of(graph: ModelGraph) -> Weights:
    """Return what is counted of each parameter."""
    found = {}
    for key, parameter in graph.parameters.items():
        count = parameter.count
        found[key] = (count, count if parameter.trainable else 0, parameter.bytes)
    return found


def rows_of(shown: Sequence[Shown], weights: Weights, *, collapse_repeats: bool = False) -> Iterator[Row]:
    """Yield the rows; with ``collapse_repeats`` one of each run of equal ones, or one block of each run."""
    calls: dict[int, dict[str, list[Node]]] = {}
    sources: dict[int, dict[str, list[Source]]] = {}
    rows = []
    for depth, graph, layer in shown:
        if id(graph) not in calls:
            calls[id(graph)] = _calls_by_layer(graph)
            sources[id(graph)] = _sources_by_layer(graph)
        names = [
            f"{graph.layers[key].name}[{call}][{output}]"
            for key, call, output in sources[id(graph)][layer.key]
        ]
        rows.append(_row(layer, depth, graph, calls[id(graph)][layer.key], tuple(names), weights))
    if not collapse_repeats:
        yield from rows
        return
    place = {(id(graph), layer.key): number for number, (_, graph, layer) in enumerate(shown)}
    likeness: list[Hashable] = []
    for number, (_, graph, layer) in enumerate(shown):
        distances = tuple(
            (number - place[id(graph), key], call, output)
            for key, call, output in sources[id(graph)][layer.key]
            if not graph.is_sequential  # there each follows the one before, the first the hidden input
        )
        likeness.append((replace(rows[number], name="", connected_to=()), distances))
    for block, (start, length, times) in enumerate(repeats(likeness)):
        for row in rows[start : start + length]:
            yield replace(row, times=times, block=block if length > 1 else None)


def repeats(values: Sequence[Hashable]) -> Iterator[tuple[int, int, int]]:
    """Yield ``(start, length, times)``: from ``start`` on, ``length`` values come ``times`` times.

    Together they cover all of ``values``; of several readings each step takes the one that saves most.

    >>> list(repeats("xababab"))
    [(0, 1, 1), (1, 2, 3)]
    """
    next_equal: list[int | None] = [None] * len(values)
    last: dict[Hashable, int] = {}
    for index in range(len(values) - 1, -1, -1):
        next_equal[index] = last.get(values[index])
        last[values[index]] = index
    start = 0
    while start < len(values):
        length, times = 1, 1
        other = next_equal[start]
        # A block that ends later can save no more than what is left behind it.
        while other is not None and len(values) - other > length * (times - 1):
            distance, equal = other - start, 0
            while other + equal < len(values) and values[start + equal] == values[other + equal]:
                equal += 1
            if distance * (equal // distance) > length * (times - 1):
                length, times = distance, equal // distance + 1
            other = next_equal[other]
        yield start, length, times
        start += length * times


Source = tuple[str, int, int]
"""The key of a layer, the call of it, and which of the outputs."""


def _row(
    layer: Layer,
    depth: int,
    graph: ModelGraph,
    calls: list[Node],
    sources: tuple[str, ...],
    weights: Weights,
) -> Row:
    params = trainable = memory = 0
    for key in layer.parameters:
        count, changed, size = weights[key]
        params, trainable, memory = params + count, trainable + changed, memory + size
    counts = [node.macs for node in calls if node.macs is not None]
    outputs = [node.outputs for node in calls]
    output_shape = _shape(graph, outputs)
    return Row(
        layer.name,
        layer.type,
        output_shape,
        params,
        sources,
        depth,
        layer.built,
        output_shape if layer.is_input else _shape(graph, [node.inputs for node in calls]),
        _dtype(outputs),
        trainable,
        memory,
        sum(counts) if counts and len(counts) == len(calls) else None,
    )


def _calls_by_layer(graph: ModelGraph) -> dict[str, list[Node]]:
    calls: dict[str, list[Node]] = {key: [] for key in graph.layers}
    for node in graph.nodes:
        calls[node.layer].append(node)
    for several in calls.values():
        if len(several) > 1:
            several.sort(key=lambda node: node.call)
    return calls


def _sources_by_layer(graph: ModelGraph) -> dict[str, list[Source]]:
    entering: dict[str, list[tuple[int, int, int, Source]]] = {key: [] for key in graph.layers}
    hidden = {key for key, layer in graph.layers.items() if _is_hidden(graph, layer)}
    for edge in graph.edges:
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        if source.layer not in hidden:
            found = (source.layer, source.call, edge.output)
            entering[target.layer].append((target.call, edge.target, edge.input, found))
    return {key: [source for *_, source in sorted(found)] for key, found in entering.items()}


def _shape(graph: ModelGraph, calls: Sequence[tuple[TensorSpec, ...]]) -> str:
    if len(calls) == 1 and len(calls[0]) == 1 and calls[0][0].shape is not None:  # nearly always
        return str(calls[0][0].shape)
    known = [spec.shape for spec in calls[0]] if calls else []
    if len(calls) > 1 and any([spec.shape for spec in specs] != known for specs in calls):
        return "multiple"
    if not known or None in known:
        return "multiple" if graph.framework == "keras" else "?"  # the word that Keras 2 had for it
    return str(known[0] if len(known) == 1 else known)


def _dtype(calls: Sequence[tuple[TensorSpec, ...]]) -> str:
    if len(calls) == 1 and len(calls[0]) == 1:
        return calls[0][0].dtype or "?"
    known = [spec.dtype or "?" for spec in calls[0]] if calls else []
    if len(calls) > 1 and any([spec.dtype or "?" for spec in specs] != known for specs in calls):
        return "multiple"
    if len(set(known)) > 1:
        return f"[{', '.join(known)}]"
    return known[0] if known else "?"


def is_chain(graph: ModelGraph) -> bool:
    """Return whether the layers follow each other, each called once; an untraced model is shown as if so."""
    if graph.is_sequential or not graph.is_traced:
        return True
    followed = {edge.source for edge in graph.edges}
    fed = {edge.target for edge in graph.edges}
    called = {node.layer for node in graph.nodes}
    links = len(graph.nodes) - 1
    return len(graph.edges) == len(followed) == len(fed) == links and len(called) == len(graph.nodes)
