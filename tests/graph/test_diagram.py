"""Which boxes and links a graph is drawn as, and what the boxes say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from befit.graph.diagram import Diagram, Link, Row, Show, diagram
from befit.graph.kinds import KINDS, kind_of
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter, TensorSpec

SPEC = TensorSpec((None, 8), "float32")


def layer(name: str, type_name: str = "Dense", **fields: object) -> Layer:
    return replace(Layer(name, name, type_name, name), **fields)  # type: ignore[arg-type]


def graph_of(*calls: tuple[Layer, tuple[int, ...]], **fields: object) -> ModelGraph:
    """A graph of calls, each a layer and the numbers of the calls whose results it takes."""
    nodes, edges, times = [], [], dict[str, int]()
    for index, (called, sources) in enumerate(calls):
        time = times.get(called.key, 0)
        times[called.key] = time + 1
        nodes.append(Node(index, called.key, time, (SPEC,) * len(sources), (SPEC,)))
        edges += [Edge(source, 0, index, position) for position, source in enumerate(sources)]
    layers = {called.key: called for called, _ in calls}
    graph = ModelGraph("net", "Model", "keras", layers, tuple(nodes), tuple(edges), {})
    return replace(graph, **fields)  # type: ignore[arg-type]


def titles(drawn: Diagram) -> list[str]:
    return [box.title for box in drawn.boxes]


def ends(drawn: Diagram) -> list[tuple[int, int]]:
    return [(link.source, link.target) for link in drawn.links]


INPUT = layer("x", "InputLayer", is_input=True)


def test_titles_are_name_and_class_or_only_the_class() -> None:
    graph = graph_of((INPUT, ()), (layer("hidden"), (0,)))
    assert titles(diagram(graph, Show())) == ["x: InputLayer", "hidden: Dense"]
    assert titles(diagram(graph, Show(layer_names=False))) == ["InputLayer", "Dense"]


def test_a_wrapper_shows_what_it_wraps() -> None:
    each = layer("each", "TimeDistributed", wrapped=("inner", "Dense"))
    graph = graph_of((INPUT, ()), (each, (0,)))
    assert titles(diagram(graph, Show()))[1] == "each(inner): TimeDistributed(Dense)"
    assert titles(diagram(graph, Show(layer_names=False)))[1] == "TimeDistributed(Dense)"
    assert diagram(graph, Show()).boxes[1].kind == "dense"


def test_a_shared_layer_is_one_box_with_the_edges_of_all_calls() -> None:
    base = layer("base")
    other = replace(INPUT, key="y", name="y")
    graph = graph_of((INPUT, ()), (other, ()), (base, (0,)), (base, (1,)), (layer("join", "Add"), (2, 3)))
    drawn = diagram(graph, Show())
    assert titles(drawn) == ["x: InputLayer", "y: InputLayer", "base: Dense", "join: Add"]
    assert sorted(ends(drawn)) == [(0, 2), (1, 2), (2, 3), (2, 3)]
    first, second = (link.tensor for link in drawn.links if link.target == 3)
    assert first != second


def test_a_layer_applied_to_its_own_result_has_a_box_for_each_call() -> None:
    relu = layer("relu", "ReLU")
    graph = graph_of((INPUT, ()), (relu, (0,)), (layer("fc"), (1,)), (relu, (2,)))
    drawn = diagram(graph, Show())
    assert titles(drawn) == ["x: InputLayer", "relu: ReLU", "fc: Dense", "relu: ReLU (call 2)"]
    assert ends(drawn) == [(0, 1), (1, 2), (2, 3)]


def test_merging_two_shared_layers_never_makes_a_cycle() -> None:
    a, b = layer("a"), layer("b")
    graph = graph_of((INPUT, ()), (a, (0,)), (b, (1,)), (b, (0,)), (a, (3,)))
    drawn = diagram(graph, Show())
    assert titles(drawn) == ["x: InputLayer", "a: Dense", "b: Dense", "b: Dense (call 2)"]
    graph = graph_of((INPUT, ()), (a, (0,)), (a, (0,)), (b, (2,)), (b, (0,)), (a, (4,)))
    assert titles(diagram(graph, Show())) == titles(drawn)


def test_repeated_edges_stay() -> None:
    drawn = diagram(graph_of((INPUT, ()), (layer("square", "Multiply"), (0, 0))), Show())
    assert drawn.links == (Link(0, 1, 0), Link(0, 1, 0))


def test_shapes_and_dtypes_are_shown_if_asked_for() -> None:
    graph = graph_of((INPUT, ()), (layer("join", "Add"), (0, 0)))
    assert diagram(graph, Show()).boxes[1].rows == ()
    shape, both = "(None, 8)", "(None, 8) float32"
    assert diagram(graph, Show(shapes=True)).boxes[1].rows == (
        Row("input:", (shape, shape)),
        Row("output:", (shape,)),
    )
    assert diagram(graph, Show(shapes=True, dtypes=True)).boxes[1].rows[1] == Row("output:", (both,))
    assert diagram(graph, Show(dtypes=True)).boxes[1].rows[1] == Row("output:", ("float32",))


def test_an_input_shows_its_shape_as_both_input_and_output() -> None:
    rows = diagram(graph_of((INPUT, ())), Show(shapes=True)).boxes[0].rows
    assert rows == (Row("input:", ("(None, 8)",)), Row("output:", ("(None, 8)",)))


def test_calls_of_one_box_with_different_shapes_say_multiple() -> None:
    base = layer("base")
    graph = graph_of((INPUT, ()), (base, (0,)), (base, (0,)))
    wide = replace(graph.nodes[2], inputs=(TensorSpec((None, 9)),))
    rows = diagram(replace(graph, nodes=(*graph.nodes[:2], wide)), Show(shapes=True)).boxes[1].rows
    assert rows == (Row("input:", ("multiple",)), Row("output:", ("(None, 8)",)))


def test_an_unknown_shape_is_a_question_mark() -> None:
    graph = graph_of((layer("a"), ()))
    node = replace(graph.nodes[0], outputs=(TensorSpec(None),))
    shown = diagram(replace(graph, nodes=(node,)), Show(shapes=True, dtypes=True))
    assert shown.boxes[0].rows == (Row("output:", ("? ?",)),)


def test_a_nested_model_is_a_box_or_a_frame() -> None:
    inner = graph_of((INPUT, ()), (layer("deep"), (0,)))
    graph = graph_of((INPUT, ()), (layer("encoder", "Sequential", inner=inner), (0,)))
    assert diagram(graph, Show()).boxes[1].inner is None
    frame = diagram(graph, Show(nested=True)).boxes[1]
    assert frame.title == "encoder: Sequential"
    assert frame.inner is not None
    assert titles(frame.inner) == ["x: InputLayer", "deep: Dense"]


def test_a_nested_model_without_layers_stays_a_box() -> None:
    graph = graph_of((layer("nothing", "Sequential", inner=graph_of()), ()))
    assert diagram(graph, Show(nested=True)).boxes[0].inner is None


def test_an_untraced_model_lists_its_layers_and_says_why() -> None:
    layers = {name: layer(name) for name in ("a", "b")}
    graph = ModelGraph("net", "Net", "torch", layers, (), (), {}, is_traced=False)
    drawn = diagram(graph, Show(shapes=True))
    assert titles(drawn) == ["a: Dense", "b: Dense"]
    assert drawn.note == "Connections are not known: the model's code could not be followed."
    because = diagram(replace(graph, untraced_because="no input was given."), Show())
    assert because.note == "Connections are not known: no input was given."


def weighted(*layers: tuple[str, bool | None], **fields: object) -> ModelGraph:
    """A chain of layers with one weight each, trainable or not, or without any."""
    parameters = {
        number: Parameter(number, name, (2, 3), "float32", trainable)
        for number, (name, trainable) in enumerate(layers)
        if trainable is not None
    }
    calls = [
        (layer(name, parameters=(number,) if number in parameters else ()), (number - 1,) if number else ())
        for number, (name, _) in enumerate(layers)
    ]
    return graph_of(*calls, parameters=parameters, **fields)


def test_layers_that_are_not_trained_are_marked_if_asked_for() -> None:
    graph = weighted(("a", True), ("b", False), ("c", None))
    drawn = diagram(graph, Show(trainable=True))
    assert titles(drawn) == ["a: Dense", "b: Dense (frozen)", "c: Dense"]
    assert [box.is_frozen for box in drawn.boxes] == [False, True, False]
    assert not any(box.is_frozen for box in diagram(graph, Show()).boxes)


def test_a_nested_model_of_which_only_some_layers_are_trained_is_partly_frozen() -> None:
    inner = weighted(("a", True), ("b", False))
    nested = layer("encoder", "Sequential", inner=inner, parameters=(0, 1))
    graph = graph_of((nested, ()), parameters=inner.parameters)
    assert titles(diagram(graph, Show(trainable=True))) == ["encoder: Sequential (partly frozen)"]


def test_boxes_count_their_weights() -> None:
    assert [box.parameters for box in diagram(weighted(("a", True), ("b", None)), Show()).boxes] == [6, 0]


def test_boxes_of_equal_layers_have_equal_signatures_whatever_they_are_called() -> None:
    def signature(called: Layer) -> str:
        return diagram(graph_of((called, ())), Show()).boxes[0].signature

    assert signature(layer("a")) == signature(layer("b"))
    assert signature(layer("a")) != signature(layer("a", "Conv2D"))
    assert signature(layer("a", config={"rate": 0.1})) != signature(layer("a", config={"rate": 0.2}))
    same, wide = (graph_of((layer("a"), ()), (layer("b"), (0,) * count)) for count in (1, 2))
    assert diagram(same, Show()).boxes[1].signature != diagram(wide, Show()).boxes[1].signature
    first, second = (weighted(("a", trainable)) for trainable in (True, False))
    assert diagram(first, Show()).boxes[0].signature != diagram(second, Show()).boxes[0].signature


@pytest.mark.parametrize("is_nested", [True, False])
def test_nested_models_are_alike_if_their_insides_are(is_nested: bool) -> None:
    """Also where those are not shown: weights of the same shapes say nothing of what is done with them."""

    def signature(activation: str, sources: tuple[int, ...]) -> str:
        dense = layer("d", config={"activation": activation})
        inside = graph_of((INPUT, ()), (dense, (0,)), (layer("add", "Add"), sources))
        model = layer("m", "Functional", inner=inside)
        return diagram(graph_of((model, ())), Show(nested=is_nested)).boxes[0].signature

    assert signature("relu", (0, 1)) == signature("relu", (0, 1))
    assert signature("relu", (0, 1)) != signature("tanh", (0, 1))
    assert signature("relu", (0, 1)) != signature("relu", (1, 1))


def test_calls_of_a_layer_with_weights_are_not_like_other_layers() -> None:
    weight = {0: Parameter(0, "kernel", (8, 8), "float32", trainable=True)}
    shared, own = layer("shared", parameters=(0,)), layer("own", parameters=(0,))
    calls = ((INPUT, ()), (shared, (0,)), (shared, (1,)), (own, (2,)))
    _, first, second, other = diagram(graph_of(*calls, parameters=weight), Show()).boxes
    assert first.signature == second.signature != other.signature


def test_layers_that_take_different_outputs_are_not_alike() -> None:
    """Outputs of the same shape: the halves of a split, or what a recurrent layer returns and its state."""
    graph = graph_of((layer("split"), ()), (layer("a"), (0,)), (layer("b"), (0,)))
    swapped = replace(graph, edges=(graph.edges[0], replace(graph.edges[1], output=1)))
    assert len({box.signature for box in diagram(graph, Show()).boxes[1:]}) == 1
    assert len({box.signature for box in diagram(swapped, Show()).boxes[1:]}) == 2


def test_titles_are_one_line_that_every_format_can_hold() -> None:
    graph = graph_of((layer("a\nb\x00\ud800\uffff\té"), ()))
    assert titles(diagram(graph, Show())) == ["a b\ufffd\ufffd\ufffd é: Dense"]


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("Conv2DTranspose", "convolution"),
        ("ZeroPadding2D", "shape"),
        ("GlobalAveragePooling2D", "pooling"),
        ("AdditiveAttention", "attention"),
        ("SpatialDropout1D", "regularization"),
        ("BatchNorm2d", "normalization"),
        ("add", "merge"),
        ("mul", "merge"),
        ("MultiScale", "other"),
        ("MyOwnThing", "other"),
    ],
)
def test_kinds_follow_the_class_name(type_name: str, kind: str) -> None:
    assert kind_of(type_name) == kind
    assert kind in KINDS
