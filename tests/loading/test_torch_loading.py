"""torch: a plain loop, and a DataLoader over a loader."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from befit import Loader, Sequence
from befit.errors import ArgumentError


@pytest.fixture(params=["loader", "to_torch"])
def dataset(request):
    """Make the dataset for a DataLoader from a loader."""
    return lambda loader: loader if request.param == "loader" else loader.to_torch()


def run(program):
    """Run ``program`` in a fresh interpreter; return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_data_loader_epochs_are_exact(make_loader, numbered, dataset):
    source = numbered(5)
    data = torch.utils.data.DataLoader(dataset(make_loader(source)), batch_size=None)
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


def test_torch_may_be_imported_after_the_loader_was_made():
    """Also after ``abc`` was asked about it, which remembers what it answered."""
    program = """
import sys
from collections.abc import Mapping
from befit import Loader, Sequence
loader = Loader(Sequence.from_arrays([1, 2, 3], batch_size=2))
assert not isinstance(loader, Mapping)
assert "torch" not in sys.modules
from torch.utils.data import DataLoader
print([batch.tolist() for batch in DataLoader(loader, batch_size=None)])
"""
    assert run(program) == "[[1, 2], [3]]\n"


def test_a_loader_is_an_iterable_dataset_and_a_sequence_is_none(numbered):
    """``DataLoader`` reads a sequence by its indices, as torch reads any."""
    iterable = torch.utils.data.IterableDataset
    assert isinstance(Loader(numbered(3)), iterable)
    assert not isinstance(numbered(3), iterable)
    batches = torch.utils.data.DataLoader(numbered(3), batch_size=None)
    assert [batch.tolist() for batch in batches] == [[0, 0], [1, 0], [2, 0]]


def test_what_data_loader_makes_of_batches_itself():
    """Of a bare loader: the same values; but tuples are lists."""
    batch = (np.arange(2), ["text", None, np.float32(2), 5], {"words": np.array(["x"])})
    (bare,) = torch.utils.data.DataLoader(Loader([batch]), batch_size=None)
    (ours,) = torch.utils.data.DataLoader(Loader([batch]).to_torch(), batch_size=None, collate_fn=lambda x: x)
    assert isinstance(bare, list)
    assert isinstance(ours, tuple)
    for made in (bare, ours):
        assert made[0].tolist() == [0, 1]
        assert made[1][:2] == ["text", None]
        assert isinstance(made[1][2], torch.Tensor)
        assert made[1][2].shape == ()
        assert made[1][3] == 5
        assert made[2]["words"].tolist() == ["x"]


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


_IN_A_WORKER = """
from befit import Loader, Sequence
from befit.errors import ArgumentError
from torch.utils.data import DataLoader, IterableDataset

def make_loader(workers=0):
    return Loader(Sequence.from_arrays([1, 2, 3], batch_size=2), workers=workers)

class Own(IterableDataset):
    def __iter__(self):
        return iter(make_loader())

def load(dataset, context):
    try:
        data = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context)
        print([batch.tolist() for batch in data])
    except ArgumentError as error:
        print("write num_workers=0" in str(error))
"""


@pytest.mark.parametrize(
    ("call", "output"),
    [
        ("load(make_loader(), 'fork')", "True\n"),
        ("load(make_loader(), 'spawn')", "True\n"),
        ("load(make_loader(workers=2), 'spawn')", "True\n"),
        ("load(Own(), 'fork')", "[[1, 2], [3]]\n"),
    ],
)
def test_a_real_worker_of_torch(call, output):
    """A loader that comes from another process is refused there; one that the worker makes is its own."""
    assert run(_IN_A_WORKER + call) == output
