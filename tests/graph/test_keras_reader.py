"""Keras models as graphs, on every backend."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from befit.errors import GraphError, UnsupportedObjectError
from befit.graph.model_graph import ModelGraph
from befit.graph.reading import model_graph
from befit.testing.graph_reader import GraphReaderContract

pytestmark = pytest.mark.backends

KINDS = ("sequential", "two_inputs", "siamese", "many_outputs", "wrappers", "subclassed")


class TestContract(GraphReaderContract):
    """The contract, for one model of each kind."""

    @pytest.fixture
    def reader(self) -> Any:
        from befit.integrations.keras import graph

        return graph

    @pytest.fixture(params=KINDS)
    def case(self, request: pytest.FixtureRequest) -> tuple[Any, Any, int]:
        model = request.getfixturevalue(request.param)
        if request.param == "subclassed":
            model(np.ones((3, 4), "float32"))
        return model, None, model.count_params()


def connections(graph: ModelGraph) -> list[tuple[str, str]]:
    nodes = graph.nodes
    return [(nodes[edge.source].layer, nodes[edge.target].layer) for edge in graph.edges]


def test_sequential_is_a_chain_with_its_input(sequential: Any) -> None:
    graph = model_graph(sequential)
    assert graph.is_sequential
    assert [graph.layer_of(node).type for node in graph.nodes] == ["InputLayer", "Dense", "Dropout", "Dense"]
    assert [node.outputs[0].shape for node in graph.nodes] == [
        (None, 784),
        (None, 512),
        (None, 512),
        (None, 10),
    ]
    assert [(edge.source, edge.target) for edge in graph.edges] == [(0, 1), (1, 2), (2, 3)]


def test_unbuilt_sequential_is_a_chain_without_shapes(keras: Any) -> None:
    model = keras.Sequential([keras.layers.Dense(4, name="a"), keras.layers.Dense(2, name="b")])
    graph = model_graph(model)
    assert not graph.is_built
    assert graph.is_traced
    assert connections(graph) == [("a", "b")]
    assert all(spec.shape is None for node in graph.nodes for spec in node.outputs)
    assert not model.built


def test_unbuilt_sequential_is_built_for_inputs(keras: Any) -> None:
    """An example input gives the shapes; any batch size goes."""
    model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)])
    graph = model_graph(model, (32, 5))
    assert graph.is_built
    assert [node.outputs[0].shape for node in graph.nodes] == [(None, 5), (None, 4), (None, 2)]
    assert model.count_params() == 5 * 4 + 4 + 4 * 2 + 2


def test_sequential_whose_first_layer_knows_its_input_is_built(keras: Any, siamese: Any) -> None:
    """A nested model knows its input, so the stack around it needs no other."""
    model = keras.Sequential([siamese.get_layer("base")])
    assert not model.built
    assert model_graph(model).nodes[-1].outputs[0].shape == (None, 4)


def test_sequential_built_by_data_shows_no_batch_size(keras: Any) -> None:
    """Keras remembers the size of the first batch; the model takes any."""
    model = keras.Sequential([keras.layers.Dense(4, name="a"), keras.layers.Dense(2, name="b")])
    model(np.ones((3, 5), "float32"))
    nodes_before = [len(layer._inbound_nodes) for layer in model.layers]
    graph = model_graph(model)
    assert [node.outputs[0].shape for node in graph.nodes] == [(None, 5), (None, 4), (None, 2)]
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes_before


def test_fixed_batch_size_of_a_stateful_layer_stays(keras: Any) -> None:
    """A stateful layer works for its own batch size only."""
    layers = [keras.layers.LSTM(3, stateful=True, name="lstm"), keras.layers.Dense(1, name="score")]
    model = keras.Sequential([keras.Input(batch_shape=(2, 4, 5)), *layers])
    assert [node.outputs[0].shape for node in model_graph(model).nodes] == [(2, 4, 5), (2, 3), (2, 1)]


def test_shared_layer_has_one_node_a_call_and_its_weights_once(two_inputs: Any) -> None:
    graph = model_graph(two_inputs)
    calls = [node for node in graph.nodes if node.layer == graph.layers["conv2d_1"].key]
    assert [node.call for node in calls] == [0, 1]
    assert sum(parameter.count for parameter in graph.parameters.values()) == two_inputs.count_params()
    trainable = sum(p.count for p in graph.parameters.values() if p.trainable)
    assert trainable == sum(int(np.prod(w.shape)) for w in two_inputs.trainable_weights) == 1233


def test_rows_come_in_the_order_of_keras(two_inputs: Any, many_outputs: Any) -> None:
    for model in (two_inputs, many_outputs):
        assert list(model_graph(model).layers) == [operation.name for operation in model.operations]


def test_nested_model_is_read_once_and_called_twice(siamese: Any) -> None:
    graph = model_graph(siamese)
    base = graph.layers["base"]
    assert connections(graph) == [
        ("left", "base"),
        ("right", "base"),
        ("base", "difference"),
        ("base", "difference"),
        ("difference", "score"),
    ]
    assert base.inner is not None
    assert connections(base.inner) == [("base/pixels", "base/dense_a"), ("base/dense_a", "base/dense_b")]
    assert [layer.path for layer in base.inner.layers.values()] == list(base.inner.layers)
    assert (
        sum(graph.parameters[key].count for key in base.parameters)
        == siamese.get_layer("base").count_params()
    )


def test_layer_of_outer_and_inner_model_has_its_weights_once(keras: Any) -> None:
    """One layer object, used by the model and by a model inside it."""
    dense = keras.layers.Dense(4, name="dense")
    x = keras.Input((4,), name="x")
    inner = keras.Model(x, dense(x), name="inner")
    y = keras.Input((4,), name="y")
    graph = model_graph(keras.Model(y, dense(inner(y))))
    assert sum(parameter.count for parameter in graph.parameters.values()) == 20
    assert graph.layers["dense"].parameters == graph.layers["inner"].parameters


def test_same_tensor_twice_is_two_edges(keras: Any) -> None:
    x = keras.Input((4,), name="x")
    graph = model_graph(keras.Model(x, keras.layers.Subtract(name="minus")([x, x])))
    assert [(edge.source, edge.target, edge.input) for edge in graph.edges] == [(0, 1, 0), (0, 1, 1)]


def test_outputs_of_one_layer_are_told_apart(many_outputs: Any) -> None:
    """The cell state, output 2 of the LSTM, is what the second model output is."""
    graph = model_graph(many_outputs)
    lstm = next(node for node in graph.nodes if node.layer == "lstm")
    assert [spec.shape for spec in lstm.outputs] == [(None, 5, 6), (None, 6), (None, 6)]
    assert graph.layers["tokens"].is_input
    assert next(node for node in graph.nodes if node.layer == "tokens").outputs[0].dtype == "int32"
    assert {edge.output for edge in graph.edges if edge.source == lstm.index} == {0}


def test_edges_tell_which_output_they_carry(keras: Any) -> None:
    x = keras.Input((5, 3), name="x")
    _, _, cell = keras.layers.LSTM(2, return_state=True, name="lstm")(x)
    graph = model_graph(keras.Model(x, keras.layers.Dense(1, name="score")(cell)))
    assert [(edge.source, edge.output, edge.target, edge.input) for edge in graph.edges] == [
        (0, 0, 1, 0),
        (1, 2, 2, 0),
    ]


def test_operations_that_are_no_layers_are_nodes(many_outputs: Any) -> None:
    types = {layer.type for layer in model_graph(many_outputs).layers.values()}
    assert {"Mean", "Add"} <= types


def test_unused_input_is_there(keras: Any) -> None:
    x, unused = keras.Input((4,), name="x"), keras.Input((2,), name="unused")
    graph = model_graph(keras.Model([x, unused], keras.layers.Dense(1, name="score")(x)))
    assert {node.layer for node in graph.nodes} == {"x", "unused", "score"}


def test_model_between_inner_tensors_ends_at_them(keras: Any, sequential: Any) -> None:
    """A model made from the middle of another one does not reach back to the first input."""
    middle = keras.Model(sequential.layers[0].output, sequential.layers[-1].output)
    graph = model_graph(middle)
    assert [graph.layer_of(node).type for node in graph.nodes] == ["InputLayer", "Dropout", "Dense"]
    assert sum(parameter.count for parameter in graph.parameters.values()) == middle.count_params()


def test_wrappers_name_the_layer_inside(wrappers: Any) -> None:
    layers = model_graph(wrappers).layers
    assert layers["each"].wrapped == ("inner", "Dense")
    assert layers["both"].wrapped == ("forward_gru", "GRU")


def test_model_inside_a_wrapper_can_be_opened(keras: Any, siamese: Any) -> None:
    steps = keras.Input((7, 8), name="steps")
    each = keras.layers.TimeDistributed(siamese.get_layer("base"), name="each")(steps)
    inner = model_graph(keras.Model(steps, each)).layers["each"].inner
    assert inner is not None
    assert [layer.name for layer in inner.layers.values()] == ["pixels", "dense_a", "dense_b"]


def test_settings_are_plain(two_inputs: Any) -> None:
    config = model_graph(two_inputs).layers["conv2d_1"].config
    assert config["kernel_size"] == (3, 3)
    assert config["activation"] == "linear"


def test_uncalled_subclassed_model_is_a_list_of_layers(subclassed: Any) -> None:
    graph = model_graph(subclassed)
    assert not graph.is_traced
    assert not graph.is_built
    assert "not been called" in graph.untraced_because
    assert list(graph.layers) == ["block", "unused", "head"]
    assert not subclassed.built


@pytest.mark.parametrize("given", ["data", "inputs"])
def test_subclassed_model_is_traced(subclassed: Any, given: str) -> None:
    """Whether it was called before or gets an example now."""
    if given == "data":
        subclassed(np.ones((3, 4), "float32"))
    graph = model_graph(subclassed, None if given == "data" else (3, 4))
    assert graph.is_traced
    assert [graph.layer_of(node).type for node in graph.nodes] == ["InputLayer", "Block", "Add", "Dense"]
    assert [(edge.source, edge.target) for edge in graph.edges] == [(0, 1), (1, 2), (0, 2), (2, 3)]
    assert graph.nodes[-1].outputs[0].shape == (None, 2)
    assert "unused" in graph.layers
    inner = graph.layers["block"].inner
    assert inner is not None
    assert [layer.type for layer in inner.layers.values()] == ["InputLayer", "Dense", "Relu", "Sequential"]


def test_tracing_leaves_the_layers_as_they_were(keras: Any, subclassed: Any) -> None:
    """No node stays on a layer, no variable changes, no automatic name is used up."""
    subclassed(np.ones((3, 4), "float32"))
    layers = subclassed._flatten_layers()
    before = [(list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers]
    weights = subclassed.get_weights()
    name = keras.layers.Add().name
    model_graph(subclassed)
    assert [(list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers] == before
    assert all(np.array_equal(a, b) for a, b in zip(weights, subclassed.get_weights(), strict=True))
    first, second = (
        int(text.rpartition("_")[2]) if "_" in text else 0 for text in (name, keras.layers.Add().name)
    )
    assert second == first + 1


def test_variable_that_the_code_counts_with_is_not_touched(keras: Any) -> None:
    class Counting(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(2)
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

        def call(self, x: Any) -> Any:
            self.calls.assign_add(1.0)
            return self.dense(x)

    model = Counting()
    model(np.ones((1, 3), "float32"))
    before = float(model.calls)
    assert model_graph(model).is_traced
    assert float(model.calls) == before


def test_dict_and_several_arguments(keras: Any) -> None:
    """A dict is one argument, a tuple several where `call` takes several."""

    class OfDict(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="of_dict")
            self.dense = keras.layers.Dense(4, name="dense")

        def call(self, batch: Any, training: bool = False) -> Any:
            return self.dense(batch["x"]) + batch["y"]

    class OfTwo(OfDict):
        def call(self, x: Any, y: Any) -> Any:
            return self.dense(x) + y

    x, y = np.ones((2, 3), "float32"), np.ones((2, 4), "float32")
    for model, inputs in (
        (OfDict(), {"x": x, "y": y}),
        (OfTwo(), (x, y)),
        (OfTwo(), {"y": (2, 4), "x": (2, 3)}),
    ):
        graph = model_graph(model, inputs)
        assert graph.is_traced
        assert sorted(node.outputs[0].shape for node in graph.nodes if not node.inputs) == [
            (None, 3),
            (None, 4),
        ]
        assert graph.nodes[-1].outputs[0].shape == (None, 4)


def test_code_that_needs_values_gives_layers_and_the_reason(keras: Any) -> None:
    """A branch on data cannot be followed: with `inputs` that is an error, without them layers are listed."""

    class Branching(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="branching")
            self.dense = keras.layers.Dense(4, name="dense")

        def call(self, x: Any) -> Any:
            y = self.dense(x)
            return y if float(keras.ops.sum(y)) > 0 else x

        def build(self, shape: Any) -> None:
            self.dense.build(shape)
            self.built = True

    model = Branching()
    model.build((None, 4))
    graph = model_graph(model)
    assert not graph.is_traced
    assert graph.is_built
    assert "branching" in graph.untraced_because
    assert list(graph.layers) == ["dense"]
    assert sum(parameter.count for parameter in graph.parameters.values()) == 20
    with pytest.raises(GraphError, match="leave `inputs` out"):
        model_graph(model, (2, 4))


def test_inputs_that_are_no_inputs(keras: Any) -> None:
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(GraphError, match=r"'three'.*neither an array nor a shape"):
        model_graph(model, "three")


def test_attribute_called_inputs_is_not_mistaken_for_tensors(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inputs, self.outputs = ["pixels"], 3
            self.dense = keras.layers.Dense(4, name="dense")

        def call(self, x: Any) -> Any:
            return self.dense(x)

    assert connections(model_graph(Own(), (1, 3))) == [("x", "dense")]


def test_names_may_repeat_in_a_subclassed_model(keras: Any) -> None:
    class Twins(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = keras.layers.Dense(4, name="twin"), keras.layers.Dense(4, name="twin")

        def call(self, x: Any) -> Any:
            return self.b(self.a(x))

    graph = model_graph(Twins(), (1, 3))
    assert [key for key in graph.layers if "twin" in key] == ["twin", "twin#2"]


def test_deep_chain_is_read_without_recursion(keras: Any) -> None:
    """5,000 calls in a row; Keras itself recurses to build such a model, reading does not."""
    relu = keras.layers.ReLU(name="relu")
    inputs = tensor = keras.Input((2,), name="x")
    for _ in range(5000):
        tensor = relu(tensor)
    from befit.integrations.keras.graph import _calls_between

    limit = sys.getrecursionlimit()
    calls = _calls_between([inputs], [tensor])
    assert len(calls) == 5001
    assert sys.getrecursionlimit() == limit
    assert [call.outputs[0]._keras_history.node_index for call in calls[1:]] == list(range(5000))


def test_layer_is_no_model(keras: Any) -> None:
    with pytest.raises(UnsupportedObjectError, match=r"'Dense' is no model; give a keras\.Model"):
        model_graph(keras.layers.Dense(2))
