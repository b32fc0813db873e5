"""A model as boxes and links: what a picture says, before anybody knows where it goes.

A layer is one box, as Keras always drew it, with the edges of all its calls. Only where that would lead an
edge back (a layer that is applied to what came out of it before) does each call get a box of its own.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from befit.graph.kinds import kind_of
from befit.graph.model_graph import Layer, ModelGraph, Node, TensorSpec

NOTE = "Connections are not known: {reason}."
NO_REASON = "the model's code could not be followed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a box: a heading and, for each tensor, what it says."""

    heading: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Box:
    """A layer, or one call of it, or several that ``repeats`` made one box of.

    Attributes:
        title: name and class.
        kind: one of ``kinds.KINDS``.
        rows: shapes and dtypes, if asked for.
        inner: what is drawn inside, if the box is a frame.
        is_frozen: none of its weights is trained; known only if that was asked for.
        layers: how many layers it stands for, unless ``parts`` or ``inner`` say so.
        parameters: how many values their weights have, unless ``parts`` or ``inner`` say so.
        signature: all that it has in common with others that do the same.
        parts: the boxes of a chain that it stands for.
        times: how often what it stands for follows itself.
    """

    title: str
    kind: str
    rows: tuple[Row, ...] = ()
    inner: Diagram | None = None
    is_frozen: bool = False
    layers: int = 1
    parameters: int = 0
    signature: str = ""
    parts: tuple[Box, ...] = ()
    times: int = 1


@dataclass(frozen=True, slots=True)
class Link:
    """A tensor on its way from one box to another; ``tensor`` numbers those that leave a box."""

    source: int
    target: int
    tensor: int


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes, the links between them, and a note for those who look at it."""

    name: str
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Show:
    """What a picture is to show."""

    shapes: bool = False
    layer_names: bool = True
    dtypes: bool = False
    nested: bool = False
    trainable: bool = False


def diagram(graph: ModelGraph, show: Show) -> Diagram:
    """Return the boxes and links of ``graph``."""
    if not graph.is_traced and not graph.nodes:
        boxes = [_box(graph, layer, (), 0, show) for layer in graph.layers.values()]
        return Diagram(_clean(graph.name), tuple(boxes), (), _note(graph))
    groups = group_calls(graph)
    box_of = {index: number for number, group in enumerate(groups) for index in group}
    tensors: dict[tuple[int, int], int] = {}
    links = []
    later_outputs: list[list[tuple[int, int]]] = [[] for _ in groups]  # that go into each box
    for edge in sorted(graph.edges, key=lambda edge: (edge.target, edge.input)):
        tensor = tensors.setdefault((edge.source, edge.output), len(tensors))
        links.append(Link(box_of[edge.source], box_of[edge.target], tensor))
        if edge.output:
            later_outputs[box_of[edge.target]].append((edge.output, edge.input))
    boxes = []
    drawn: Counter[str] = Counter()
    in_all = Counter(graph.nodes[group[0]].layer for group in groups)
    for group, outputs in zip(groups, later_outputs, strict=True):
        calls = [graph.nodes[index] for index in group]
        layer = graph.layer_of(calls[0])
        box = _box(graph, layer, calls, drawn[layer.key], show)
        # Layers that do the same are not alike if one of them is called again, with the same weights.
        again = layer.key if in_all[layer.key] > 1 and layer.parameters else None
        boxes.append(replace(box, signature=f"{box.signature} {again!r} {outputs}"))
        drawn[layer.key] += 1
    return Diagram(_clean(graph.name), tuple(boxes), tuple(links), _note(graph))


def _note(graph: ModelGraph) -> str | None:
    if graph.is_traced:
        return None
    return NOTE.format(reason=_clean(graph.untraced_because).strip().rstrip(".") or NO_REASON)


def group_calls(graph: ModelGraph) -> list[list[int]]:
    """Return for each box the calls that it stands for, by their index, in the order of the first ones.

    Example:
        >>> nodes = tuple(Node(index, key, index, (), ()) for index, key in enumerate("aba"))
        >>> layers = {key: Layer(key, key, "Dense", key) for key in "ab"}
        >>> group_calls(ModelGraph("net", "Model", "keras", layers, nodes, (), {}))
        [[0, 2], [1]]
        >>> from befit.graph.model_graph import Edge
        >>> loop = (Edge(0, 0, 1, 0), Edge(1, 0, 2, 0))
        >>> group_calls(ModelGraph("net", "Model", "keras", layers, nodes, loop, {}))
        [[0], [1], [2]]
    """
    calls: dict[str, list[int]] = {}
    for node in graph.nodes:
        calls.setdefault(node.layer, []).append(node.index)
    following: list[set[int]] = [set() for _ in graph.nodes]
    for edge in graph.edges:
        following[edge.source].add(edge.target)

    # Calls of one box are merged into its first call, one layer after the other, while no circle arises.
    first = list(range(len(graph.nodes)))
    for group in calls.values():
        if len(group) > 1 and not _reaches_itself(following, group, first):
            for index in group[1:]:
                first[index] = group[0]
                following[group[0]] |= following[index]
    groups: dict[int, list[int]] = {}
    for index, head in enumerate(first):
        groups.setdefault(head, []).append(index)
    return list(groups.values())


def _reaches_itself(following: Sequence[set[int]], group: Sequence[int], first: Sequence[int]) -> bool:
    """Return whether data of one call in ``group`` flows into another one."""
    goal = set(group)
    seen: set[int] = set()
    stack = [target for index in group for target in following[index]]
    while stack:
        index = first[stack.pop()]
        if index in goal:
            return True
        if index not in seen:
            seen.add(index)
            stack.extend(following[index])
    return False


def _box(graph: ModelGraph, layer: Layer, calls: Sequence[Node], repeat: int, show: Show) -> Box:
    inside = None if layer.inner is None else diagram(layer.inner, show)
    weights = [graph.parameters[key] for key in layer.parameters]
    is_trained = [weight.trainable for weight in weights]
    title = _title(layer, repeat, show)
    if show.trainable and weights and not any(is_trained):
        title += " (frozen)"
    elif show.trainable and layer.inner is not None and _holds_frozen_layers(layer.inner):
        title += " (partly frozen)"
    specs = sorted({str((node.inputs, node.outputs)) for node in calls})
    shapes = [(weight.shape, weight.dtype, weight.trainable) for weight in weights]
    signature = repr((_type(layer), sorted(layer.config.items()), shapes, specs))
    if inside is not None:
        signature += f"{{{'; '.join(box.signature for box in inside.boxes)}}} {inside.links}"
    return Box(
        title,
        _kind(layer),
        _rows(layer, calls, show),
        inside if show.nested and inside is not None and inside.boxes else None,
        is_frozen=show.trainable and bool(weights) and not any(is_trained),
        parameters=sum(weight.count for weight in weights),
        signature=signature,
    )


def _holds_frozen_layers(graph: ModelGraph) -> bool:
    """Return whether a layer that has weights trains none of them."""
    return any(
        layer.parameters and not any(graph.parameters[key].trainable for key in layer.parameters)
        for layer in graph.layers.values()
    )


def _kind(layer: Layer) -> str:
    if layer.is_input:
        return "input"
    if layer.inner is not None:
        return "model"
    return kind_of(layer.type if layer.wrapped is None else layer.wrapped[1])


def _title(layer: Layer, repeat: int, show: Show) -> str:
    """Return name and class, as Keras 2 wrote them; a later call with a box of its own says which it is."""
    name = layer.name if layer.wrapped is None else f"{layer.name}({layer.wrapped[0]})"
    title = f"{name}: {_type(layer)}" if show.layer_names else _type(layer)
    return _clean(f"{title} (call {repeat + 1})" if repeat else title)


def _type(layer: Layer) -> str:
    return layer.type if layer.wrapped is None else f"{layer.type}({layer.wrapped[1]})"


def _rows(layer: Layer, calls: Sequence[Node], show: Show) -> tuple[Row, ...]:
    if not (show.shapes or show.dtypes):
        return ()
    inputs = {node.outputs if layer.is_input else node.inputs for node in calls} or {()}
    outputs = {node.outputs for node in calls} or {()}
    rows = []
    for heading, variants in (("input:", inputs), ("output:", outputs)):
        if len(variants) > 1:
            rows.append(Row(heading, ("multiple",)))
        elif specs := next(iter(variants)):
            rows.append(Row(heading, tuple(_describe(spec, show) for spec in specs)))
    return tuple(rows)


def _describe(spec: TensorSpec, show: Show) -> str:
    shape = "?" if spec.shape is None else str(spec.shape)
    dtype = spec.dtype or "?"
    if show.shapes and show.dtypes:
        return f"{shape} {dtype}"
    return shape if show.shapes else dtype


def _clean(text: str) -> str:
    """Return ``text`` on one line and without characters that no XML document may contain."""
    kept = []
    for character in text:
        if character in "\n\r\t":
            kept.append(" ")
        elif unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff":
            kept.append("\N{REPLACEMENT CHARACTER}")
        else:
            kept.append(character)
    return "".join(kept)
