"""PyTorch modules: befit's summary beside torchinfo and the forward pass, which is the limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import befit
from benchmarks.hdf5_measure import times, wall
from benchmarks.interleave import in_turn
from benchmarks.loading_measure import Verdict
from benchmarks.summary_measure import milliseconds, show

ROUNDS = 9
TARGET = 1.1


class Bottleneck(nn.Module):
    """Three convolutions and a connection around them."""

    def __init__(self, wide: int, narrow: int, stride: int) -> None:
        super().__init__()
        out = narrow * 4
        self.path = nn.Sequential(
            *(nn.Conv2d(wide, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)),
            *(nn.Conv2d(narrow, narrow, 3, stride, 1, bias=False), nn.BatchNorm2d(narrow)),
            *(nn.ReLU(inplace=True), nn.Conv2d(narrow, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        self.around: nn.Module = nn.Identity()
        if wide != out:
            self.around = nn.Sequential(nn.Conv2d(wide, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.relu(self.path(x) + self.around(x))


def residual_network() -> nn.Module:
    """The layers of ResNet50."""
    layers: list[nn.Module] = [
        *(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)),
        nn.MaxPool2d(3, 2, 1),
    ]
    wide = 64
    for blocks, narrow, stride in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2)):
        for number in range(blocks):
            layers.append(Bottleneck(wide, narrow, 1 if number else stride))
            wide = narrow * 4
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(wide, 1000)).eval()


def of_residual() -> list[Verdict]:
    model, picture = residual_network(), torch.zeros(1, 3, 224, 224)

    def forward() -> object:
        with torch.no_grad():
            return model(picture)

    ways: dict[str, Callable[[], object]] = {
        "befit": lambda: str(befit.summary(model, inputs=picture)),
        "limit: the forward pass": forward,
    }
    note = ""
    try:
        import torchinfo
    except ImportError:
        note = "torchinfo is not installed"
    else:
        ways["torchinfo"] = lambda: str(torchinfo.summary(model, input_data=picture, verbose=0))
    samples = in_turn({name: wall(run) for name, run in ways.items()}, rounds=ROUNDS)
    show("summary, a residual network of 50 layers", samples, f"Wall clock. {note}".strip())
    ratio = times(samples, "befit", "limit: the forward pass")
    others = ", ".join(f"{name} {milliseconds(found)}" for name, found in samples.items() if name != "befit")
    reached = ratio <= TARGET
    return [
        Verdict(
            "PyTorch, 50 layers",
            milliseconds(samples["befit"]),
            others,
            f"{ratio:.2f}",
            f"<= {TARGET}",
            reached,
        )
    ]
