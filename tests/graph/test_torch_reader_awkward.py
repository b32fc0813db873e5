"""PyTorch modules that are awkward to read: code that keeps, catches, writes, compiles or waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from befit.errors import UnbuiltModelError
from befit.graph.model_graph import ModelGraph
from befit.graph.reading import model_graph
from befit.graph.summary import summary


def types(graph: ModelGraph) -> list[str]:
    return [graph.layer_of(node).type for node in graph.nodes]


def connections(graph: ModelGraph) -> list[tuple[str, str]]:
    return [(graph.nodes[edge.source].layer, graph.nodes[edge.target].layer) for edge in graph.edges]


def test_what_the_code_keeps_on_itself_is_no_meta_tensor() -> None:
    """A value cached by a pass without values would break the model's next real pass."""

    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cache: Any = None

        def forward(self, x: Any) -> Any:
            if self.cache is None:
                self.cache = torch.arange(4.0)
                self.late = self.cache + 1
            return x * self.cache

    model = Caching()
    assert model_graph(model, (2, 4)).is_traced
    assert model.cache is None
    assert not hasattr(model, "late")
    assert model(torch.ones(2, 4)).tolist()[0] == [0, 1, 2, 3]


def test_example_that_the_model_writes_to_is_not_touched() -> None:
    class Clamping(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.clamp_(0) * float(x.max())  # a value, so the pass is a real one

    example = torch.tensor([[-1.0, 2.0]])
    assert connections(model_graph(Clamping(), example)) == [
        ("x", "clamp"),
        ("clamp", "max"),
        ("clamp", "mul"),
    ]
    assert example.tolist() == [[-1, 2]]


def test_exception_inside_that_the_model_catches() -> None:
    """The names of what follows are still those of the right module."""

    class Trying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong, self.right = nn.Linear(3, 3), nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            try:
                return self.wrong(x)
            except RuntimeError:
                return self.right(x).relu()

    graph = model_graph(Trying(), (1, 8))
    assert connections(graph) == [("x", "right"), ("right", "relu")]


def test_functions_that_change_nothing_are_no_nodes() -> None:
    class Plain(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.contiguous().to(torch.float32).requires_grad_(False).T

    assert types(model_graph(Plain(), (2, 3))) == ["Input", "T"]


def test_writing_into_a_tensor_is_an_edge() -> None:
    class Writing(nn.Module):
        def forward(self, x: Any) -> Any:
            y = torch.zeros(x.shape)
            y[:, 0] = x[:, 1]
            return y.exp()

    assert connections(model_graph(Writing(), (2, 3))) == [
        ("x", "getitem"),
        ("getitem", "setitem"),
        ("setitem", "exp"),
    ]


def test_model_for_one_batch_size_shows_it() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.reshape(2, 6)

    assert model_graph(Fixed(), (4, 3)).nodes[-1].outputs[0].shape == (2, 6)


def test_lazy_modules_stay_lazy() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d())
    graph = model_graph(model, (3, 7))
    assert sum(parameter.count for parameter in graph.parameters.values()) == 7 * 4 + 4 + 8
    assert graph.nodes[-1].outputs[0].shape == (None, 4)
    assert isinstance(model[0].weight, nn.UninitializedParameter)
    assert not model_graph(model).is_built
    with pytest.raises(UnbuiltModelError, match="inputs="):
        summary(model)


def test_compiled_modules_are_read_as_what_they_wrap() -> None:
    inner = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    outer = nn.Sequential(torch.compile(nn.Linear(8, 8)), nn.ReLU())
    outer[1].compile()
    assert types(model_graph(torch.compile(inner), (2, 8))) == ["Input", "Linear", "ReLU"]
    graph = model_graph(outer, (2, 8))
    assert connections(graph) == [("input", "0"), ("0", "1")]
    assert graph.layers["0"].type == "Linear"


def test_scripted_modules() -> None:
    """As the model they are a list of layers, inside another model one box."""
    scripted = torch.jit.script(nn.Sequential(nn.Linear(8, 4), nn.ReLU()))
    graph = model_graph(scripted, (1, 8))
    assert not graph.is_traced
    assert "TorchScript" in graph.untraced_because
    assert [(layer.name, layer.type) for layer in graph.layers.values()] == [("0", "Linear"), ("1", "ReLU")]
    scripted.train()
    around = model_graph(nn.Sequential(scripted, nn.Linear(4, 2)), (1, 8))
    assert scripted.training
    assert connections(around) == [("input", "0"), ("0", "1")]
    assert around.layers["0"].type == "Sequential"


def test_deep_chain_is_read_without_recursion() -> None:
    graph = model_graph(nn.Sequential(*(nn.Identity() for _ in range(2000))), (1, 2))
    assert len(graph.nodes) == 2001
    assert len(graph.edges) == 2000
