"""torch: a plain loop, and a DataLoader over a loader."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from befit import Loader, Sequence
from befit.errors import ArgumentError


def test_data_loader_epochs_are_exact(make_loader, numbered):
    source = numbered(5)
    data = torch.utils.data.DataLoader(make_loader(source).to_torch(), batch_size=None)
    assert len(data) == 5
    for epoch in range(3):
        batches = list(data)
        assert all(isinstance(batch, torch.Tensor) for batch in batches)
        assert [batch.tolist() for batch in batches] == [[index, epoch] for index in range(5)]
    assert source.epoch == 3


def test_a_model_trains_in_a_plain_loop(make_loader):
    """The loss is that of the same batches without a loader."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
    y = x.sum(axis=1, keepdims=True)

    def train(batches):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            for bx, by in batches:
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(bx), by)
                loss.backward()
                optimizer.step()
        return loss.item()

    expected = train(
        [(torch.from_numpy(x[i : i + 4]), torch.from_numpy(y[i : i + 4])) for i in range(0, 20, 4)]
    )
    assert train(make_loader(Sequence.from_arrays(x, y, batch_size=4)).to_torch()) == expected


def test_arrays_become_tensors_and_the_rest_stays():
    readonly = np.arange(3)
    readonly.flags.writeable = False
    batches = [
        {"a": np.arange(3.0), "b": (np.ones((2, 2), np.uint8), [np.zeros(1, bool), "text", 5, None])},
        (readonly, np.arange(6)[::-2], np.arange(3).astype(">i4"), np.array(["x"]), np.array([None])),
    ]
    first, second = Loader(batches).to_torch()
    assert first["a"].tolist() == [0, 1, 2]
    assert first["b"][0].dtype == torch.uint8
    assert first["b"][1][1:] == ["text", 5, None]
    assert [part.tolist() for part in second[:3]] == [[0, 1, 2], [5, 3, 1], [0, 1, 2]]
    assert all(isinstance(part, np.ndarray) for part in second[3:])


def test_tensors_share_the_memory_of_the_batch():
    batch = np.zeros(3)
    (tensor,) = Loader([batch]).to_torch()
    tensor += 1
    assert batch.tolist() == [1, 1, 1]


def test_workers_of_torch_would_repeat_every_batch(numbered, monkeypatch):
    """Inside a worker of a DataLoader, which torch tells by get_worker_info."""
    from befit.integrations.torch import loading

    monkeypatch.setattr(loading, "get_worker_info", lambda: object())
    with pytest.raises(ArgumentError, match="write num_workers=0"):
        list(Loader(numbered(3)).to_torch())
