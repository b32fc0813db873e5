"""Multiply-adds of PyTorch modules: numbers worked out by hand, closed formulas, torch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from befit.graph.reading import model_graph
from befit.graph.summary import summary


class Applied(nn.Module):
    """A function of its input, with modules beside it."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *tensors: Any) -> Any:
        return self.function(self, *tensors)


def attention(size: int, heads: int) -> Applied:
    module = nn.MultiheadAttention(size, heads, batch_first=True)
    return Applied(lambda self, x: self.inner(x, x, x)[0], inner=module)


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def tied() -> nn.Module:
    model = nn.Sequential(nn.Embedding(100, 16), nn.Linear(16, 16), nn.Linear(16, 100, bias=False))
    model[2].weight = model[0].weight
    return model


def siamese() -> nn.Module:
    base = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    head = nn.Linear(4, 1)
    return Applied(lambda self, a, b: self.head((self.base(a) - self.base(b)).abs()), base=base, head=head)


TOKENS = torch.zeros(2, 7, dtype=torch.long)
RELU = nn.ReLU()

# Name: model, inputs, multiply-adds, and whether torch's counter agrees. The first eighteen are those that
# other libraries get wrong, with the numbers of a hand calculation.
CASES: dict[str, tuple[Callable[[], nn.Module], Any, int, bool]] = {
    "linear": (lambda: nn.Linear(8, 8), (2, 8), 128, True),
    "linear over a sequence": (lambda: nn.Linear(8, 8), (2, 100, 8), 12_800, True),
    "convolution": (lambda: nn.Conv2d(3, 16, 3, bias=True, padding=1), (1, 3, 32, 32), 442_368, True),
    "grouped": (lambda: nn.Conv2d(16, 16, 3, padding=1, groups=16), (1, 16, 32, 32), 147_456, True),
    "transposed": (lambda: nn.ConvTranspose2d(16, 8, 4, 2), (1, 16, 16, 16), 524_288, True),
    "attention": (lambda: attention(16, 4), (2, 5, 16), 11_840, True),
    "encoder": (encoder, (2, 5, 32), 170_240, True),
    "lstm": (lambda: nn.LSTM(8, 16, batch_first=True), (2, 5, 8), 15_360, False),
    "lstm, both ways, twice": (
        lambda: nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True),
        (2, 5, 8),
        92_160,
        False,
    ),
    "gru cell": (lambda: nn.GRUCell(8, 8), (2, 8), 768, True),
    "embedding": (lambda: nn.Embedding(100, 16), TOKENS, 0, True),
    "tied": (tied, TOKENS, 14 * (16 * 16 + 16 * 100), True),
    "one layer three times": (
        lambda: Applied(lambda self, x: self.fc(self.fc(self.fc(x))), fc=nn.Linear(8, 8)),
        (2, 8),
        384,
        True,
    ),
    "one activation in three blocks": (
        lambda: nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(4, 4), RELU))),
        (2, 4),
        96,
        True,
    ),
    "function and forward": (
        lambda: Applied(
            lambda self, x: self.b.forward(F.linear(x, self.a.weight)), a=nn.Linear(8, 8), b=nn.Linear(8, 8)
        ),
        (2, 8),
        256,
        True,
    ),
    "x @ x.T": (lambda: Applied(lambda self, x: x @ x.transpose(1, 2)), (2, 10, 8), 1_600, True),
    "batch normalization": (lambda: nn.BatchNorm2d(16), (2, 16, 4, 4), 0, True),
    "siamese": (siamese, ((2, 8), (2, 8)), 2 * (2 * (8 * 16 + 16 * 4) + 4), True),
    "convolution 1d, dilated": (
        lambda: nn.Conv1d(4, 6, 3, dilation=2),
        (2, 4, 20),
        2 * (20 - 4) * 6 * 4 * 3,
        True,
    ),
    "convolution 3d, strided": (
        lambda: nn.Conv3d(2, 4, 3, stride=2),
        (1, 2, 9, 9, 9),
        4 * 4 * 4 * 4 * 2 * 27,
        True,
    ),
    "grouped in two": (
        lambda: nn.Conv2d(8, 6, (1, 3), groups=2),
        (3, 8, 5, 7),
        3 * 6 * 5 * 5 * (8 // 2) * 3,
        True,
    ),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 5, 3), (2, 4, 7), 2 * 7 * 4 * 6 * 5, True),
    "separable": (
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 12, 1)),
        (1, 8, 6, 6),
        36 * (8 * 9 + 8 * 12),
        True,
    ),
    "lstm with a projection": (
        lambda: nn.LSTM(8, 16, proj_size=4, batch_first=True),
        (2, 5, 8),
        2 * 5 * (8 * 64 + 4 * 64 + 16 * 4),
        False,
    ),
    "gru": (lambda: nn.GRU(8, 16), (5, 2, 8), 2 * 5 * (8 * 48 + 16 * 48), False),
    "rnn": (lambda: nn.RNN(8, 16, nonlinearity="relu"), (5, 2, 8), 2 * 5 * (8 * 16 + 16 * 16), False),
    "matrix times vector": (
        lambda: Applied(lambda self, x, v: torch.mv(x, v)),
        (torch.zeros(3, 8), torch.zeros(8)),
        24,
        False,
    ),
    "einsum": (
        lambda: Applied(lambda self, q, k: torch.einsum("bthd,bshd->bhts", q, k)),
        ((2, 5, 3, 4), (2, 6, 3, 4)),
        2 * 3 * 5 * 6 * 4,
        True,
    ),
    "scaled dot-product attention": (
        lambda: Applied(lambda self, q, k: F.scaled_dot_product_attention(q, k, k)),
        ((2, 3, 5, 8), (2, 3, 6, 8)),
        2 * 3 * 5 * 6 * 8 * 2,
        False,
    ),
    "in inference mode": (
        lambda: Applied(
            torch.inference_mode()(lambda self, x: F.linear(x, self.fc.weight)), fc=nn.Linear(8, 3)
        ),
        (2, 5, 8),
        2 * 5 * 8 * 3,
        True,
    ),
    "product of weights alone": (
        lambda: Applied(
            lambda self, x: x @ (self.a.weight @ self.b.weight), a=nn.Linear(2, 8), b=nn.Linear(6, 2)
        ),
        (4, 8),
        8 * 2 * 6 + 4 * 8 * 6,
        True,
    ),
    "looking at values": (
        lambda: Applied(lambda self, x: self.fc(x[x[:, 0] > 0]) * float(x.max()), fc=nn.Linear(8, 3)),
        torch.tensor([[1.0] * 8, [-1.0] * 8, [2.0] * 8]),
        2 * 8 * 3,
        True,
    ),
    "lstm that is fused": (
        lambda: Applied(lambda self, x: self.rnn(x)[0] * float(x.sum()), rnn=nn.LSTM(8, 16)),
        (5, 2, 8),
        2 * 5 * (8 * 64 + 16 * 64),
        False,
    ),
    "checkpointed": (
        lambda: Applied(
            lambda self, x: torch.utils.checkpoint.checkpoint(self.fc, x, use_reentrant=False),
            fc=nn.Linear(8, 8),
        ),
        (2, 8),
        128,
        True,
    ),
    "nothing to multiply": (lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (1, 2, 4, 4), 0, True),
}


def example(inputs: Any) -> tuple[Any, ...]:
    if isinstance(inputs, torch.Tensor):
        return (inputs,)
    if isinstance(inputs[0], int):
        return (torch.zeros(inputs),)
    return tuple(item if isinstance(item, torch.Tensor) else torch.zeros(item) for item in inputs)


@pytest.mark.parametrize("name", list(CASES))
def test_as_worked_out_by_hand(name: str) -> None:
    make, inputs, macs, _ = CASES[name]
    value = summary(make(), inputs=inputs)
    assert value.macs_complete
    assert value.total_macs == macs
    assert sum(row.macs or 0 for row in value.rows) == macs


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[3]])
def test_as_torchs_own_counter_says(name: str) -> None:
    """Where that one knows the operation. A multiply-add is two there, and what eval mode fuses nothing."""
    make, inputs, macs, _ = CASES[name]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        make().train()(*example(inputs))
    assert counter.get_total_flops() == 2 * macs


def test_packed_sequence_counts_the_steps_that_are_there() -> None:
    def packed(self: Any, x: Any) -> Any:
        sequence = nn.utils.rnn.pack_padded_sequence(x, [5, 2], batch_first=True)
        return self.rnn(sequence)[1][0]

    model = Applied(packed, rnn=nn.LSTM(8, 16, batch_first=True))
    assert model_graph(model, (2, 5, 8)).macs == (5 + 2) * (8 * 64 + 16 * 64)


def test_each_call_has_its_own() -> None:
    """A shared layer over sequences of two lengths; the row has the sum."""
    model = Applied(lambda self, x: (self.fc(x), self.fc(x[:, :2])), fc=nn.Linear(4, 3))
    graph = model_graph(model, (2, 5, 4))
    assert [node.macs for node in graph.nodes if node.layer == "fc"] == [2 * 5 * 12, 2 * 2 * 12]
    (row,) = (row for row in summary(graph).rows if row.name == "fc")
    assert row.macs == 2 * 7 * 12


def test_operation_of_another_library_is_not_known() -> None:
    library = torch.library.Library("befit_test", "FRAGMENT")
    library.define("opaque(Tensor x) -> Tensor")
    library.impl("opaque", lambda x: x.clone(), "CompositeExplicitAutograd")
    model = Applied(lambda self, x: self.fc(torch.ops.befit_test.opaque(x)), fc=nn.Linear(4, 2))
    value = summary(model, inputs=(1, 4), columns=["macs"])
    assert not value.macs_complete
    assert [row.macs for row in value.rows] == [0, None, 8]
    assert "Total MACs: 8 and more: those marked ? are not known" in str(value)


def test_without_an_example_nothing_is_known() -> None:
    value = summary(nn.Linear(4, 2))
    assert (value.total_macs, value.macs_complete, value.rows[0].macs) == (0, False, None)


def test_deep_residual_network() -> None:
    """ResNet50 for one picture of 224 x 224: 4,089,184,256, as every careful count of it says."""

    class Block(nn.Module):
        def __init__(self, wide: int, narrow: int, stride: int) -> None:
            super().__init__()
            out = narrow * 4
            self.path = nn.Sequential(
                *(nn.Conv2d(wide, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()),
                *(nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()),
                *(nn.Conv2d(narrow, out, 1, bias=False), nn.BatchNorm2d(out)),
            )
            same = wide == out
            self.around = nn.Identity() if same else nn.Conv2d(wide, out, 1, stride, bias=False)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.path(x) + self.around(x))

    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    wide = 64
    for blocks, narrow, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for number in range(blocks):
            layers.append(Block(wide, narrow, 1 if number else stride))
            wide = narrow * 4
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))
    graph = model_graph(model, (1, 3, 224, 224))
    assert graph.macs == 4_089_184_256
    assert model_graph(model, (3, 3, 224, 224)).macs == 3 * 4_089_184_256


def test_work_that_belongs_to_no_call_makes_the_total_unknown():
    """Inside torch.vmap tensors cannot be followed; what is multiplied there is not missing unnoticed."""
    model = Applied(
        lambda self, x: self.out(torch.vmap(lambda row: F.linear(row, self.inner.weight))(x)),
        inner=nn.Linear(6, 4),
        out=nn.Linear(4, 2),
    )
    graph = model_graph(model, torch.zeros(5, 6))
    assert graph.macs is None
    assert not summary(graph).macs_complete
