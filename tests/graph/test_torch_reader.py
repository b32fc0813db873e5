"""PyTorch modules as graphs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from befit.errors import GraphError, UnsupportedObjectError
from befit.graph.model_graph import ModelGraph
from befit.graph.reading import model_graph
from befit.graph.summary import summary
from befit.testing.graph_reader import GraphReaderContract


class Siamese(nn.Module):
    """A shared block with an in-place activation."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Linear(8, 6), nn.ReLU(inplace=True))

    def forward(self, left: Any, right: Any) -> Any:
        return (self.base(left) - self.base(right)).abs()


class Tied(nn.Module):
    """An embedding whose weights are the output layer's too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.output = nn.Linear(4, 10, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Any) -> Any:
        return self.output(self.embedding(tokens))


class Vision(nn.Module):
    """A transformer with a parameter of its own and a positional one that is sliced first."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.position = nn.Parameter(torch.zeros(1, 9, 16))
        self.patches = nn.Conv2d(3, 16, 4, 4)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.encoder(x + self.position[:, : x.size(1)])[:, 0])


class Recurrent(nn.Module):
    """A layer with nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Any) -> Any:
        _, (hidden, _) = self.lstm(x)
        return self.head(hidden[-1])


class Experts(nn.Module):
    """Code that looks at values, so meta tensors cannot follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))
        self.history: list[Any] = []

    def forward(self, x: Any) -> Any:
        self.seen += 1
        self.history.append(x)
        chosen = self.gate(x).argmax(-1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = chosen == number
            if rows.any():
                y[rows] = expert(x[rows])
        return self.dropout(self.norm(y)) + torch.rand(()).item()


class Functional(nn.Module):
    """Modules that are never called; their weights are used all the same, but for one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        y = nn.functional.linear(x, self.a.weight, self.a.bias)
        y = self.b.forward(y)
        y += x
        return {"out": torch.relu_(y).contiguous()}


@dataclass
class Answer:
    """What some models return."""

    logits: Any


class OfDict(nn.Module):
    """Dicts in, a dataclass out."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)
        self.inner = Wrapped(self.dense)

    def forward(self, batch: Any, scale: float = 1.0) -> Any:
        return self.head(self.inner(batch["x"]).logits * scale + batch["y"])


class Wrapped(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Answer:
        return Answer(self.inner(x))


TOKENS = torch.zeros(2, 5, dtype=torch.long)
CASES: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "stack": (lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), (1, 8)),
    "siamese": (Siamese, ((2, 8), (2, 8))),
    "tied": (Tied, TOKENS),
    "vision": (Vision, (1, 3, 8, 8)),
    "recurrent": (Recurrent, (2, 5, 8)),
    "experts": (Experts, torch.linspace(-1, 1, 40).reshape(5, 8)),
    "functional": (Functional, (2, 8)),
    "of_dict": (OfDict, {"x": (2, 3), "y": (2, 4)}),
    "listed": (Vision, None),
    "one_module": (lambda: nn.Linear(3, 4), (2, 3)),
    "attention": (lambda: nn.MultiheadAttention(8, 2), (torch.zeros(5, 2, 8),) * 3),
}


def seeded(name: str) -> tuple[nn.Module, Any]:
    make, inputs = CASES[name]
    torch.manual_seed(0)
    return make(), inputs


class TestContract(GraphReaderContract):
    """The contract, for models of every kind."""

    @pytest.fixture
    def reader(self) -> Any:
        from befit.integrations.torch import graph

        return graph

    @pytest.fixture(params=list(CASES))
    def case(self, request: pytest.FixtureRequest) -> tuple[Any, Any, int]:
        model, inputs = seeded(request.param)
        return model, inputs, sum(parameter.numel() for parameter in model.parameters())


def types(graph: ModelGraph) -> list[str]:
    return [graph.layer_of(node).type for node in graph.nodes]


def connections(graph: ModelGraph) -> list[tuple[str, str]]:
    return [(graph.nodes[edge.source].layer, graph.nodes[edge.target].layer) for edge in graph.edges]


def test_stack_is_a_chain_with_any_batch_size() -> None:
    graph = model_graph(*seeded("stack"))
    assert types(graph) == ["Input", "Linear", "ReLU", "Linear"]
    assert [node.outputs[0].shape for node in graph.nodes] == [(None, 8), (None, 4), (None, 4), (None, 2)]
    assert connections(graph) == [("input", "0"), ("0", "1"), ("1", "2")]
    assert graph.is_sequential
    assert graph.layers["0"].config["in_features"] == 8


def test_shared_module_has_one_node_a_call() -> None:
    """An in-place activation does not hide where its input came from."""
    graph = model_graph(*seeded("siamese"))
    assert [node.call for node in graph.nodes if node.layer == "base.0"] == [0, 1]
    assert connections(graph) == [
        ("left", "base.0"),
        ("base.0", "base.1"),
        ("right", "base.0"),
        ("base.0", "base.1"),
        ("base.1", "sub"),
        ("base.1", "sub"),
        ("sub", "abs"),
    ]


def test_arguments_by_name() -> None:
    model, _ = seeded("siamese")
    graph = model_graph(model, {"right": (2, 8), "left": torch.zeros(2, 8)})
    assert {layer.name for layer in graph.layers.values() if layer.is_input} == {"left", "right"}


def test_tied_weights_count_once() -> None:
    graph = model_graph(*seeded("tied"))
    assert sum(parameter.count for parameter in graph.parameters.values()) == 40
    assert graph.layers["embedding"].parameters == graph.layers["output"].parameters
    assert graph.nodes[-1].outputs[0].shape == (None, 5, 10)


def test_transformer_layers_are_open_and_attention_is_one_box() -> None:
    """The fused path of eval mode, which would hide them, is not taken."""
    graph = model_graph(*seeded("vision"))
    assert types(graph).count("MultiheadAttention") == 2
    assert types(graph).count("LayerNorm") == 4
    assert graph.nodes[-1].outputs[0].shape == (None, 10)


def test_parameters_used_by_functions_are_theirs() -> None:
    """A parameter that is expanded or sliced first belongs to the function that uses the result."""
    graph = model_graph(*seeded("vision"))
    names = {
        layer.type: [graph.parameters[key].name for key in layer.parameters]
        for layer in graph.layers.values()
        if "." not in layer.name
    }
    assert names["cat"] == ["token"]
    assert names["add"] == ["position"]


def test_functions_hold_the_weights_they_were_given() -> None:
    graph = model_graph(*seeded("functional"))
    assert types(graph) == ["Input", "linear", "linear", "add", "relu"]
    counts = {
        key: sum(graph.parameters[p].count for p in layer.parameters) for key, layer in graph.layers.items()
    }
    assert counts == {"x": 0, "linear": 72, "linear_1": 72, "add": 0, "relu": 0, "unused": 6}


def test_nested_outputs_are_numbered() -> None:
    graph = model_graph(*seeded("recurrent"))
    lstm = next(node for node in graph.nodes if node.layer == "lstm")
    assert [spec.shape for spec in lstm.outputs] == [(None, 5, 16), (1, None, 16), (1, None, 16)]
    assert [edge.output for edge in graph.edges if edge.source == lstm.index] == [1]


def test_dicts_in_and_dataclasses_between() -> None:
    graph = model_graph(*seeded("of_dict"))
    assert {layer.name for layer in graph.layers.values() if layer.is_input} == {"batch.x", "batch.y"}
    assert ("dense", "mul") in connections(graph)
    assert [node.layer for node in graph.nodes].count("dense") == 1


def test_code_that_looks_at_values_runs_on_them() -> None:
    graph = model_graph(*seeded("experts"))
    assert graph.is_traced
    assert {"experts.0", "experts.1", "norm"} <= {node.layer for node in graph.nodes}
    assert ("experts.0", "setitem") in connections(graph)
    assert graph.nodes[0].outputs[0].shape == (5, 8)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("training", [True, False])
def test_model_and_random_state_are_left_as_found(name: str, training: bool) -> None:
    """Modes, weights, buffers, attributes, hooks, gradients, random numbers and the example itself."""
    model, inputs = seeded(name)
    model.train(training)
    for child in list(model.children())[:1]:
        child.train(not training)  # modes may differ
    example = copy.deepcopy(inputs)
    before = copy.deepcopy(model.state_dict())
    attributes = {path: set(vars(module)) for path, module in model.named_modules()}
    modes = [module.training for module in model.modules()]
    parameters = [id(parameter) for parameter in model.parameters()]
    random = torch.get_rng_state()
    model_graph(model, inputs)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {path: set(vars(module)) for path, module in model.named_modules()} == attributes
    assert getattr(model, "history", []) == []
    assert all(parameter.grad is None and parameter.device.type == "cpu" for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.nn.modules.module._global_forward_hooks == {}
    assert str(example) == str(inputs)


def test_failure_leaves_the_model_as_found() -> None:
    model, _ = seeded("experts")
    model.train()
    with pytest.raises(GraphError, match=r"Experts fails on the example input \(RuntimeError"):
        model_graph(model, (2, 3))
    assert model.training
    assert float(model.seen) == 0
    assert torch.nn.modules.module._global_forward_hooks == {}


def test_without_inputs_there_are_layers_and_parameters_only() -> None:
    model, _ = seeded("vision")
    graph = model_graph(model)
    assert not graph.is_traced
    assert graph.nodes == graph.edges == ()
    counts = [sum(graph.parameters[key].count for key in layer.parameters) for layer in graph.layers.values()]
    assert sum(counts) == sum(parameter.numel() for parameter in model.parameters())


def test_single_module_is_named_by_its_class() -> None:
    graph = model_graph(*seeded("one_module"))
    assert connections(graph) == [("input", "Linear")]


@pytest.mark.parametrize("inputs", ["text", 3.0, ("text",)])
def test_inputs_that_are_no_inputs(inputs: Any) -> None:
    with pytest.raises(GraphError, match="neither a tensor nor a shape"):
        model_graph(nn.Linear(3, 4), inputs)


def test_numpy_example() -> None:
    import numpy as np

    assert model_graph(nn.Linear(3, 4), np.zeros((2, 3), "float32")).nodes[1].outputs[0].shape == (None, 4)


def test_frozen_parameters_are_not_trainable() -> None:
    model, inputs = seeded("stack")
    model[0].requires_grad_(False)
    value = summary(model, inputs=inputs)
    assert (value.total_params, value.trainable_params, value.non_trainable_params) == (46, 10, 36)


def test_reader_itself_refuses_what_is_no_module() -> None:
    from befit.integrations.torch.graph import read_graph

    with pytest.raises(UnsupportedObjectError, match=r"torch\.nn\.Module"):
        read_graph(torch.zeros(2))
