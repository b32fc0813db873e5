"""Plain modules that replicas have to give the numbers of, and the comparison with the module alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn


def rows(count, *shape):
    return torch.from_numpy(np.random.default_rng(count).normal(size=(count, *shape)).astype("float32"))


class TwoWay(nn.Module):
    """Shared layer, tied parameter, keyword input, nested outputs, something that is no tensor."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.back = nn.Linear(4, 4)
        self.back.weight = self.shared.weight
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, left, *, right, power=2):
        both = torch.tanh(self.shared(left)) + self.back(right) ** power
        return {"both": both * self.scale, "parts": (left.sum(1), [right])}, "name"


class First(nn.Module):
    def forward(self, pair):
        return pair[0]


MODULES = {
    "mlp": lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)),
    "conv": lambda: nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten()),
    "lstm": lambda: nn.Sequential(nn.Unflatten(1, (2, 2)), nn.LSTM(2, 3, batch_first=True), First()),
    "weight_norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))),
    "channels_last": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 2, 1)), nn.Conv2d(2, 3, (2, 1)), nn.Flatten()
    ).to(memory_format=torch.channels_last),
}  # fmt: skip


def check_training(replicate, name, sizes):
    """Train a module alone and replicated, on batches of these sizes, and compare losses and parameters."""
    single = MODULES[name]()
    template = copy.deepcopy(single)
    parallel = replicate(template)
    models = [(module, torch.optim.Adam(module.parameters(), 0.01)) for module in (single, parallel)]
    for size in sizes:
        losses = []
        for module, optimizer in models:
            optimizer.zero_grad()
            loss = (module(rows(size, 4)) ** 2).mean()
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for left, right in zip(single.parameters(), template.parameters(), strict=True):
        torch.testing.assert_close(right, left, rtol=1e-5, atol=1e-5)


def check_gradients(replicate):
    """Gradients arrive at the template's parameters and at the inputs, and outputs keep their nesting."""
    single = TwoWay()
    template = copy.deepcopy(single)
    inputs = []
    for module in (single, replicate(template)):
        left, right = rows(7, 4).requires_grad_(), (rows(7, 4) + 1).requires_grad_()
        outputs, name = module(left, right=right, power=3)
        (outputs["both"].pow(2).sum() + outputs["parts"][0].sum()).backward()
        assert name == "name"
        torch.testing.assert_close(outputs["parts"][1][0], right)
        inputs.append((left, right))
    for left, right in zip(single.parameters(), template.parameters(), strict=True):
        torch.testing.assert_close(right.grad, left.grad, rtol=1e-5, atol=1e-5)
    for left, right in zip(*inputs, strict=True):
        torch.testing.assert_close(right.grad, left.grad)
