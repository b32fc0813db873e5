"""PyTorch modules that are awkward to read: code that keeps, catches, writes, compiles or waits."""

from __future__ import annotations

import dataclasses
import functools
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
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


class Branching(nn.Module):
    """Which layer runs depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return self.a(x) if x.sum() > 0 else self.b(x)


class Looping(nn.Module):
    """A cell that is called for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 8)

    def forward(self, x: Any) -> Any:
        state = torch.zeros(x.shape[0], 8)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return state


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        return gradient * 2


class Own(nn.Module):
    """A function with a gradient of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return Doubled.apply(self.a(x)).relu()


class Leaving(nn.Module):
    """Goes through NumPy and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.b(torch.from_numpy(self.a(x).detach().numpy().copy()))


@pytest.mark.parametrize(
    ("model", "inputs", "layers", "links"),
    [
        (Branching, torch.ones(2, 8), {"a"}, [("x", "a")]),
        (Looping, (2, 3, 8), {"cell"}, [("cell", "cell"), ("cell", "cell")]),
        (Own, (2, 8), {"a", "relu"}, [("x", "a")]),
        (Leaving, torch.ones(2, 8), {"a", "b"}, [("x", "a")]),
    ],
)
def test_code_of_all_kinds(model: Any, inputs: Any, layers: set[str], links: list[tuple[str, str]]) -> None:
    """A branch on data, a loop over steps, a gradient of its own, a way through NumPy."""
    graph = model_graph(model(), inputs)
    assert graph.is_traced
    assert layers <= {node.layer for node in graph.nodes}
    found = connections(graph)
    for link in set(links):
        assert found.count(link) >= links.count(link)
    if model is Looping:
        assert [node.call for node in graph.nodes if node.layer == "cell"] == [0, 1, 2]


@pytest.mark.parametrize("training", [True, False])
def test_encoder_in_either_mode(training: bool) -> None:
    """What eval mode would fuse is seen layer by layer."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    assert types(model_graph(model, (2, 5, 8))).count("Linear") == 4
    assert model.training == training


class Function(nn.Module):
    """A function of its input, with modules beside it."""

    def __init__(self, function: Any, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


@pytest.mark.parametrize(
    ("function", "modules"),
    [
        (lambda self, x: (x[..., :4] * x[..., 4:]).view(x.shape[0], -1), {}),
        (lambda self, x: self.ln(x.transpose(1, 2)).view(x.shape[0], -1), {"ln": nn.LayerNorm(5)}),
        (lambda self, x: self.bn(x[:, ::2]).view(x.shape[0], -1), {"bn": nn.BatchNorm1d(3)}),
    ],
)
def test_results_have_strides_of_their_own(function: Any, modules: dict[str, nn.Module]) -> None:
    """With those of a slice the view would fail, and a real pass would not tell the batch axis."""
    shape = model_graph(Function(function, **modules), (2, 5, 8)).nodes[-1].outputs[0].shape
    assert shape is not None
    assert shape[0] is None


def test_mapped_over_an_axis_the_whole_axis_counts() -> None:
    model = Function(lambda self, x: torch.vmap(self.fc)(x), fc=nn.Linear(8, 3))
    assert model_graph(model, (5, 8)).macs == 5 * 8 * 3


def test_parameters_are_parameters_in_every_pass() -> None:
    """The code may ask whether they are frozen, or for a mark that it set on them."""

    def chosen(self: Any, x: Any) -> Any:
        weight = self.a.weight
        is_own = isinstance(weight, nn.Parameter) and weight.requires_grad and getattr(weight, "mark", False)
        return self.a(x) if is_own else x

    model = Function(chosen, a=nn.Linear(8, 8))
    model.a.weight.mark = True
    assert types(model_graph(model, (2, 8))) == ["Input", "Linear"]


def test_containers_in_containers_are_put_back() -> None:
    model = Function(lambda self, x: self.kept["x"][0].append(x) or x.relu())
    model.kept = {"x": [[]]}
    model_graph(model, (2, 8))
    assert model.kept == {"x": [[]]}


@dataclasses.dataclass
class Ring:
    """Holds itself."""

    tensor: Any
    other: Any = None


def test_object_that_holds_itself() -> None:
    def around(self: Any, x: Any) -> Any:
        ring = Ring(x)
        ring.other = ring
        return self.inner(ring)

    inner = Function(lambda self, ring: ring.tensor * 2)
    assert types(model_graph(Function(around, inner=inner), (2, 8)))[0] == "Input"


def test_several_threads_read_one_model() -> None:
    """Its weights are the user's again after all of them."""
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(30)))
    weights = list(model.parameters())
    with ThreadPoolExecutor(4) as threads:
        graphs = list(threads.map(lambda _: model_graph(model, (2, 8)), range(12)))
    assert all(graph == graphs[0] for graph in graphs)
    assert all(a is b for a, b in zip(weights, model.parameters(), strict=True))
    assert model.training


@functools.lru_cache
def positions(length):
    return torch.arange(length)


def test_a_tensor_that_stays_in_a_cache_of_the_users_is_said():
    """Nobody can put back what a function remembers."""

    class Remembers(nn.Module):
        def forward(self, x):
            return x + positions(x.shape[1])

    class Forgets(nn.Module):
        def forward(self, x):
            return x + torch.arange(x.shape[1])

    model_graph(Forgets(), torch.zeros(2, 3))  # a warning would be an error here
    with pytest.warns(UserWarning, match=r"Remembers keeps a tensor outside of itself.*empty that cache"):
        model_graph(Remembers(), torch.zeros(2, 3))
    positions.cache_clear()


def test_the_random_states_of_python_and_numpy_are_put_back():
    class Draws(nn.Module):
        def forward(self, x):
            return x * random.random() * float(np.random.rand())

    states = random.getstate(), np.random.get_state()[1].tolist()
    model_graph(Draws(), torch.zeros(2, 3))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
