"""The contract of ``befit.typing.GraphReader`` as tests."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from befit.errors import UnsupportedObjectError
from befit.graph.model_graph import ModelGraph
from befit.typing import GraphReader

PLAIN = (str, int, float, bool, type(None))


class GraphReaderContract:
    """Inherit, provide the fixtures ``reader`` and ``case``, get the tests.

    ``case`` is ``(model, inputs, count)``: a model that can be read, an example input (or ``None``), and the
    number of values in its weights as its framework counts them; parametrise it to cover several models.
    """

    @pytest.fixture
    def reader(self) -> GraphReader:
        """The module ``befit.integrations.<framework>.graph``, or any other reader."""
        raise NotImplementedError("provide the fixture `reader`")

    @pytest.fixture
    def case(self) -> tuple[Any, Any, int]:
        """A model, an example input and the number of values in the model's weights."""
        raise NotImplementedError("provide the fixture `case`")

    @pytest.fixture
    def graph(self, reader: GraphReader, case: tuple[Any, Any, int]) -> ModelGraph:
        """What the reader makes of the case."""
        model, inputs, _ = case
        return reader.read_graph(model, inputs)

    def test_counts_each_weight_once(self, graph: ModelGraph, case: tuple[Any, Any, int]) -> None:
        """The parameters together hold what the framework counts."""
        assert sum(parameter.count for parameter in graph.parameters.values()) == case[2]
        assert all(key == parameter.key for key, parameter in graph.parameters.items())

    def test_layers_hold_known_parameters(self, graph: ModelGraph) -> None:
        """Every key of a layer, inner ones included, is one of the whole model; no layer has one twice."""
        for part in _graphs(graph):
            for layer in part.layers.values():
                assert set(layer.parameters) <= set(part.parameters) <= set(graph.parameters)
                assert len(set(layer.parameters)) == len(layer.parameters)

    def test_keys_are_unique_in_the_whole_graph(self, graph: ModelGraph) -> None:
        """A key names one layer, whatever the nesting."""
        keys = [layer.key for part in _graphs(graph) for layer in part.layers.values()]
        assert len(set(keys)) == len(keys)
        assert all(key == layer.key for part in _graphs(graph) for key, layer in part.layers.items())

    def test_nodes_are_in_an_order_in_which_they_could_run(self, graph: ModelGraph) -> None:
        """Nodes carry their index, belong to a layer, and every edge leads onwards."""
        for part in _graphs(graph):
            assert [node.index for node in part.nodes] == list(range(len(part.nodes)))
            assert all(node.layer in part.layers for node in part.nodes)
            assert all(0 <= edge.source < edge.target < len(part.nodes) for edge in part.edges)

    def test_calls_of_a_layer_are_told_apart(self, graph: ModelGraph) -> None:
        """No two nodes are the same call of the same layer."""
        for part in _graphs(graph):
            calls = [(node.layer, node.call) for node in part.nodes]
            assert len(set(calls)) == len(calls)

    def test_edges_carry_one_tensor_each(self, graph: ModelGraph) -> None:
        """An edge ends at an input that exists and has no other; its shape is that of its source."""
        for part in _graphs(graph):
            ends = [(edge.target, edge.input) for edge in part.edges]
            assert len(set(ends)) == len(ends)
            for edge in part.edges:
                source = part.nodes[edge.source].outputs[edge.output]
                assert source.shape == part.nodes[edge.target].inputs[edge.input].shape

    def test_inputs_multiply_nothing(self, graph: ModelGraph) -> None:
        """Multiply-adds are whole numbers, or ``None`` where they are not known; an input has none."""
        for part in _graphs(graph):
            assert all(node.macs is None or node.macs >= 0 for node in part.nodes)
            assert not any(node.macs for node in part.nodes if part.layer_of(node).is_input)

    def test_parameters_have_a_size(self, graph: ModelGraph) -> None:
        """Dtypes are named with their number of bits, such as ``float32``, so that memory can be told."""
        for parameter in graph.parameters.values():
            assert parameter.dtype == "bool" or any(map(str.isdigit, parameter.dtype))
            assert parameter.bytes >= parameter.count // 8

    def test_inputs_have_no_edges(self, graph: ModelGraph) -> None:
        """What marks where data enters takes nothing itself."""
        for part in _graphs(graph):
            assert not any(part.layer_of(part.nodes[edge.target]).is_input for edge in part.edges)

    def test_untraced_graphs_say_why(self, graph: ModelGraph) -> None:
        """Either the calls are known, or there is a reason."""
        for part in _graphs(graph):
            assert part.is_traced == (not part.untraced_because)

    def test_reading_twice_gives_the_same_value(
        self, reader: GraphReader, case: tuple[Any, Any, int]
    ) -> None:
        """Reading changes nothing that a second reading would show."""
        model, inputs, _ = case
        assert reader.read_graph(model, inputs) == reader.read_graph(model, inputs)

    def test_value_holds_nothing_of_the_framework(self, graph: ModelGraph) -> None:
        """A graph is made of plain values, so it can be kept, compared and sent when the model is gone."""
        assert pickle.loads(pickle.dumps(graph)) == graph
        for value in _values(graph):
            assert isinstance(value, PLAIN), f"{value!r} is a {type(value).__name__}"

    def test_rejects_what_is_no_model(self, reader: GraphReader) -> None:
        """Something else is an error that says what is accepted."""
        with pytest.raises(UnsupportedObjectError, match="give a"):
            reader.read_graph(object())


def _graphs(graph: ModelGraph) -> Iterator[ModelGraph]:
    yield graph
    for layer in graph.layers.values():
        if layer.inner is not None:
            yield from _graphs(layer.inner)


def _values(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _values(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _values(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _values(item)
    else:
        yield value
