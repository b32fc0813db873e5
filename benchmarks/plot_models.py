"""The models whose pictures are measured, as graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from befit import ModelGraph, model_graph

APPLICATIONS = (
    "ResNet50",
    "InceptionV3",
    "Xception",
    "EfficientNetV2B0",
    "DenseNet121",
    "NASNetMobile",
)


@functools.cache
def graphs() -> dict[str, ModelGraph]:
    """Return the graph of each model by name; only one model is in memory at a time."""
    import keras

    found = {}
    for name in APPLICATIONS:
        found[name] = model_graph(getattr(keras.applications, name)(weights=None))
        keras.backend.clear_session()
    for name, make in _KERAS.items():
        found[name] = model_graph(make(keras))
        keras.backend.clear_session()
    return found | {name: read() for name, read in _TORCH.items()}


def resnet50() -> Any:
    """Return the Keras model that pictures are timed on."""
    import keras

    return keras.applications.ResNet50(weights=None)


def _transformer(keras: Any, blocks: int = 4) -> Any:
    """An encoder and a decoder that looks at the encoder's result in every block."""
    layers = keras.layers

    def added(x: Any, y: Any) -> Any:
        return layers.LayerNormalization()(layers.Add()([x, layers.Dropout(0.1)(y)]))

    def attend(x: Any, to: Any) -> Any:
        return added(x, layers.MultiHeadAttention(4, 8)(x, to))

    def feed(x: Any) -> Any:
        return added(x, layers.Dense(32)(layers.Dense(64, activation="gelu")(x)))

    source, target = (keras.Input((20,), dtype="int32", name=name) for name in ("source", "target"))
    memory = layers.Embedding(100, 32)(source)
    for _ in range(blocks):
        memory = feed(attend(memory, memory))
    x = layers.Embedding(100, 32)(target)
    for _ in range(blocks):
        x = feed(attend(attend(x, x), memory))
    return keras.Model([source, target], layers.Dense(100, activation="softmax")(x))


def _siamese(keras: Any) -> Any:
    layers = keras.layers
    left, right = keras.Input((32, 32, 3), name="left"), keras.Input((32, 32, 3), name="right")
    base = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(16)], name="base"
    )
    left_code, right_code = base(left), base(right)
    joined = layers.Concatenate()(
        [
            layers.Subtract()([left_code, right_code]),
            layers.Multiply()([left_code, right_code]),
            left_code,
            right_code,
        ]
    )
    return keras.Model([left, right], layers.Dense(1, activation="sigmoid")(joined))


def _mixture(keras: Any, experts: int = 8, blocks: int = 2) -> Any:
    """Experts beside each other, weighted by a gate."""
    layers = keras.layers
    entry = x = keras.Input((64,), name="features")
    for block in range(blocks):
        gate = layers.Dense(experts, activation="softmax", name=f"gate_{block}")(x)
        results = []
        for number in range(experts):
            hidden = layers.Dense(128, activation="relu", name=f"expert_{block}_{number}_in")(x)
            result = layers.Dense(64, name=f"expert_{block}_{number}_out")(hidden)
            results.append(layers.Multiply()([result, gate[:, number : number + 1]]))
        x = layers.LayerNormalization()(layers.Add()([*results, x]))
    return keras.Model(entry, layers.Dense(10, name="scores")(x))


def _thousand() -> ModelGraph:
    """A chain longer than Keras itself copes with: it recurses over its own graphs."""
    from torch import nn

    return model_graph(nn.Sequential(*(nn.Linear(8, 8) for _ in range(1000))), (2, 8))


def _torch_resnet() -> ModelGraph:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, entering: int, width: int, stride: int) -> None:
            super().__init__()
            leaving = 4 * width
            self.conv1, self.bn1 = nn.Conv2d(entering, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, leaving, 1), nn.BatchNorm2d(leaving)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = None
            if stride > 1 or entering != leaving:
                self.downsample = nn.Sequential(
                    nn.Conv2d(entering, leaving, 1, stride), nn.BatchNorm2d(leaving)
                )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    parts: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    entering = 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(count):
            parts.append(Block(entering, width, 2 if width > 64 and not number else 1))
            entering = 4 * width
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, 1000)]
    return model_graph(nn.Sequential(*parts), (1, 3, 64, 64))


def _torch_transformer() -> ModelGraph:
    import torch
    from torch import nn

    model = nn.Transformer(32, 4, 3, 3, 64, batch_first=True)
    return model_graph(model, (torch.zeros(2, 7, 32), torch.zeros(2, 5, 32)))


def _torch_mixture() -> ModelGraph:
    import torch
    from torch import nn

    class Mixture(nn.Module):
        def __init__(self, experts: int = 8) -> None:
            super().__init__()
            self.gate = nn.Linear(32, experts)
            self.experts = nn.ModuleList(
                nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(experts)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weights = torch.softmax(self.gate(x), -1).unbind(-1)
            results = [
                expert(x) * weight[:, None] for expert, weight in zip(self.experts, weights, strict=True)
            ]
            return torch.stack(results).sum(0) + x

    return model_graph(nn.Sequential(nn.Linear(8, 32), Mixture(), Mixture(), nn.Linear(32, 10)), (4, 8))


_KERAS: dict[str, Callable[[Any], Any]] = {
    "transformer": _transformer,
    "siamese": _siamese,
    "mixture of experts": _mixture,
}

_TORCH: dict[str, Callable[[], ModelGraph]] = {
    "torch ResNet50": _torch_resnet,
    "torch transformer": _torch_transformer,
    "torch mixture": _torch_mixture,
    "chain of 1,000": _thousand,
}
