"""Small models for the viewer's tests, made by hand: a graph is a value, so no framework is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter, TensorSpec

SPEC = TensorSpec((None, 8), "float32")


def layer(name: str, type_name: str = "Dense", **fields: Any) -> Layer:
    return Layer(name, name, type_name, **{"path": name, **fields})


def graph(name: str, layers: Sequence[Layer], links: Sequence[tuple[int, int]], **fields: Any) -> ModelGraph:
    """A model that calls each layer once; ``links`` are pairs of their places."""
    inputs = [0] * len(layers)
    edges = []
    for source, target in links:
        edges.append(Edge(source, 0, target, inputs[target]))
        inputs[target] += 1
    nodes = tuple(
        Node(index, each.key, 0, (SPEC,) * inputs[index], (SPEC,)) for index, each in enumerate(layers)
    )
    keyed = {each.key: each for each in layers}
    return ModelGraph(name, "Functional", "keras", keyed, nodes, tuple(edges), fields.pop("parameters", {}))


def chain(count: int) -> ModelGraph:
    """Layers one after the other."""
    layers = [layer(f"dense_{number}") for number in range(count)]
    return graph("chain", layers, [(number, number + 1) for number in range(count - 1)])


def tower(name: str, width: int = 2) -> Layer:
    """A nested model: an input, some layers beside each other and round them, and their sum."""
    inside = [layer(f"{name}_in", "InputLayer", is_input=True)]
    inside += [layer(f"{name}_{number}") for number in range(width)]
    inside += [layer(f"{name}_sum", "Add")]
    last = width + 1
    links = [(0, number) for number in range(1, last)] + [(number, last) for number in range(1, last)]
    return layer(name, "Functional", inner=graph(name, inside, [*links, (0, last)]))


def deep(name: str) -> Layer:
    """A nested model with two more in it."""
    inside = [layer(f"{name}_in", "InputLayer", is_input=True), tower(f"{name}_a"), tower(f"{name}_b", 3)]
    inside.append(layer(f"{name}_sum", "Add"))
    return layer(name, "Functional", inner=graph(name, inside, [(0, 1), (1, 2), (2, 3), (1, 3)]))


def nested() -> ModelGraph:
    """Nested models beside each other, below each other, in each other, and edges that lead round them."""
    layers = [
        layer("image", "InputLayer", is_input=True),
        layer("text", "InputLayer", is_input=True),
        tower("vision"),
        deep("language"),
        layer("shortcut", "Conv2D"),
        layer("fuse", "Concatenate"),
        tower("head", 3),
        layer("again", "Add"),
        layer("score"),
    ]
    links = [(0, 2), (0, 4), (1, 3), (2, 5), (3, 5), (4, 5), (5, 6), (6, 7), (5, 7), (4, 7), (3, 8)]
    return graph("multimodal", layers, links)


def beside() -> ModelGraph:
    """Edges that lead round a column of layers side by side, below a wide model and above a narrow one."""
    layers = [
        tower("wide", 6),
        *(layer(f"one_of_the_long_names_{name}") for name in "abcdefg"),
        tower("narrow", 1),
    ]
    links = [(number, number + 1) for number in range(8)]
    return graph("beside", layers, [*links, (1, 5), (2, 6), (3, 7)])


def with_parameters() -> ModelGraph:
    """Two layers, one of them frozen and called twice, on tensors of different shapes."""
    parameters = {
        1: Parameter(1, "kernel", (8, 4), "float32", True),
        2: Parameter(2, "bias", (4,), "float32", False),
    }
    keyed = {
        "x": layer("x", "InputLayer", is_input=True),
        "wide": layer("wide", parameters=(1, 2), config={"units": 4, "activation": "relu"}, path="body/wide"),
    }
    nodes = (
        Node(0, "x", 0, (), (SPEC,)),
        Node(1, "wide", 0, (SPEC,), (TensorSpec((None, 4), "float32"),), macs=32),
        Node(2, "wide", 1, (TensorSpec(None, None),), (TensorSpec((2, 4), "float16"),), macs=10),
    )
    return ModelGraph("net", "Functional", "keras", keyed, nodes, (Edge(0, 0, 1, 0),), parameters)
