"""What only the torch backend has: modules, FSDP2, training steps of one's own, and what is refused."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import torch
from world_cases import BATCH, IMAGES, ROWS, X, Y, mlp

from befit import multi_gpu_model
from befit.errors import ArgumentError, DeviceError, ReplicationError


class Net(torch.nn.Module):
    """A convolution with batch statistics, a constant, and a counter that a call replaces."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3, bias=False)
        self.norm = torch.nn.BatchNorm2d(3)
        self.out = torch.nn.Linear(48, 3)
        self.register_buffer("constant", torch.full((3,), 0.1))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images):
        self.calls = self.calls + 1
        hidden = torch.relu(self.norm(self.conv(images.permute(0, 3, 1, 2))))
        return {
            "y": self.out(hidden.flatten(1)) + self.constant,
            "is_positive": hidden.flatten(1).mean(1) > 0,
        }


def train(session, name, module, parallel, x, steps=3):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for step in range(steps):
        rows = (BATCH, 2, 1)[step % 3]
        outputs = parallel(x[:rows])
        outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
        loss = (outputs["y"] - torch.from_numpy(Y[:rows])).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.keep(f"{name} loss {step}", loss)
        session.keep(f"{name} outputs {step}", list(outputs.values()))


def run_modules(session):
    torch.manual_seed(4)
    net = Net()
    parallel = session.replicate(net, like_replicas=True)
    assert list(parallel.state_dict()) == list(net.state_dict())
    train(session, "module", net, parallel, torch.from_numpy(IMAGES))
    session.keep("module state", list(net.state_dict().values()))
    assert float(net.constant[0]) == np.float32(0.1)
    # The gradient with respect to the inputs is that of the whole batch.
    images = torch.from_numpy(IMAGES[:5]).requires_grad_()
    parallel.eval()
    parallel(images)["y"].square().sum().backward()
    session.keep("module input gradient", images.grad)


def run_fsdp(session):
    torch.manual_seed(6)
    module = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    if session.world.size > 1:
        from torch.distributed.fsdp import fully_shard

        fully_shard(module[0])
        fully_shard(module)
    train(session, "fsdp", module, session.replicate(module), torch.from_numpy(X))
    whole = [
        getattr(value, "full_tensor", lambda value=value: value)() for value in module.state_dict().values()
    ]
    session.keep("fsdp state", whole)


def run_dropout(session):
    """Other masks in each process, the same again with the same seed, and everybody's shuffles stay alike."""
    parallel = session.replicate(torch.nn.Dropout(0.5), like_replicas=True)
    if session.world.size == 1:
        return
    drawn = []
    for _ in range(2):
        torch.manual_seed(8)
        drawn += [parallel(torch.ones(session.count, 64)), parallel(torch.ones(session.count, 64))]
    masks = torch.stack(drawn[:2]).flatten(0, 1)
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    assert len({tuple(mask.tolist()) for mask in masks}) == 2 * session.count
    from befit.integrations.torch.world import exchange

    parallel(torch.ones(1, 3))
    assert len({tuple(order) for order in exchange(torch.randperm(50).tolist())}) == 1


def run_start(session):
    """The first process's weights win, whatever the others have."""
    keras.utils.set_random_seed(session.world.rank)
    inputs = keras.Input((5,))
    model = session.replicate(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
    session.keep("start weights", model.get_weights())
    torch.manual_seed(session.world.rank)
    module = torch.nn.Linear(2, 2)
    session.replicate(module)
    session.keep("start module", list(module.state_dict().values()))


def refused(kind, message, call):
    with pytest.raises(kind, match=re.escape(message)):
        call()


def run_refusals(session):
    world = session.world
    if world.size == 1:
        return
    number = session.count + 3
    refused(DeviceError, f"has started {world.size} processes", lambda: multi_gpu_model(mlp(), gpus=number))
    refused(DeviceError, f"or write gpus={world.size}", lambda: multi_gpu_model(mlp(), devices="cpu:0..7"))
    refused(ArgumentError, "for one process", lambda: multi_gpu_model(mlp(), engine="threads"))
    multi_gpu_model(mlp(), devices=f"cpu:0..{world.size - 1}")
    multi_gpu_model(mlp())
    stateful = keras.Sequential([keras.Input((3, 2), batch_size=4), keras.layers.LSTM(2, stateful=True)])
    refused(ReplicationError, "stateful=True", lambda: multi_gpu_model(stateful))
    model = multi_gpu_model(mlp())
    refused(ReplicationError, "torch.compile", lambda: model.compile(loss="mse", jit_compile=True))
    rows = 4 + world.rank
    refused(ReplicationError, "different batches, of 4, 5", lambda: model.predict_on_batch(X[:rows]))
    other = multi_gpu_model(mlp())
    refused(ReplicationError, "with other values", lambda: other.predict_on_batch(X[:4] + world.rank))
    width = 2 + world.rank
    refused(ReplicationError, "built another model", lambda: multi_gpu_model(torch.nn.Linear(width, 1)))
    from torch.distributed.fsdp import fully_shard

    sharded = mlp()
    fully_shard(sharded)
    refused(ReplicationError, "went through fully_shard", lambda: multi_gpu_model(sharded))


def run_torch(session, awkward, alternating):
    session.train("awkward", awkward, X, Y, shuffle=False)
    session.train("alternating", alternating, X, Y, shuffle=False)
    run_modules(session)
    run_fsdp(session)
    run_dropout(session)
    run_start(session)
    run_refusals(session)
    assert len(X) == ROWS
