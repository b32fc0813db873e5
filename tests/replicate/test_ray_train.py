"""Ray Train: the two workers of a TorchTrainer give the numbers of one process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import world_launch

pytestmark = pytest.mark.backends

# What a worker runs; Ray sends functions of a test module by name, and workers do not know such modules.
TRAIN = """
import sys
import numpy as np
from befit.replicate import initialize

def train(settings):
    world = initialize(timeout=60)
    assert world.size == 2
    sys.path.insert(0, settings["here"])
    import world_launch
    sys.modules.update(dict.fromkeys(world_launch.WITHOUT))
    import world_cases
    session = world_cases.Session(world, world.size)
    session.train("mlp", world_cases.mlp, world_cases.X, world_cases.Y)
    np.savez(f"{settings['folder']}/results-{world.rank}.npz", **session.results)
"""


@pytest.fixture
def trainer(backend, monkeypatch):
    """Return what makes a TorchTrainer of two workers, on a cluster of this machine alone."""
    if backend != "torch":
        pytest.skip("torch.distributed is torch's")
    pytest.importorskip("ray.train", exc_type=ImportError)
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    for name, value in world_launch.PROCESS.items():
        monkeypatch.setenv(name, value)

    def make(train, settings):
        return TorchTrainer(
            train,
            train_loop_config=settings,
            scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
            run_config=RunConfig(storage_path=settings["folder"], name="run"),
        )

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield make
    ray.shutdown()


@pytest.mark.timeout(200)
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")  # it sets deprecated options of its own
def test_the_workers_of_a_torch_trainer_have_the_numbers_of_one_process(trainer, tmp_path):
    """They find the process group that Ray Train has made before it calls the training function."""

    def train(settings):
        namespace = {}
        exec(settings["program"], namespace)
        namespace["train"](settings)

    trainer(train, {"program": TRAIN, "folder": str(tmp_path), "here": str(world_launch.HERE)}).fit()
    import world_cases  # it imports Keras

    from befit.replicate import World

    session = world_cases.Session(World(), 2)
    session.train("mlp", world_cases.mlp, world_cases.X, world_cases.Y)
    for actual in world_launch.results(tmp_path, 2):
        world_launch.assert_same(actual, session.results)
    assert len(session.results) > 5
