"""Ray: two workers whose process group Ray, or a program on Ray, has made give the numbers of one process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import world_launch

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.backends

PATIENCE = 90.0  # seconds

# What a worker runs; Ray sends functions of a test module by name, and workers do not know such modules.
TRAIN = """
import sys
import numpy as np
from befit.replicate import initialize

def train(settings):
    world = initialize(timeout=60)
    assert world.size == 2
    sys.path.insert(0, settings["here"])
    import world_cases
    session = world_cases.Session(world, world.size)
    session.train("mlp", world_cases.mlp, world_cases.X, world_cases.Y)
    np.savez(f"{settings['folder']}/results-{world.rank}.npz", **session.results)

def make_group(rank, address):
    from torch import distributed
    distributed.init_process_group("gloo", init_method=f"tcp://{address}", rank=rank, world_size=2)

def leave_group():
    from torch import distributed
    distributed.destroy_process_group()
"""


@pytest.fixture(autouse=True)
def _only_on_torch(backend):
    if backend != "torch":
        pytest.skip("torch.distributed is torch's")


@pytest.fixture(autouse=True)
def _cluster(monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


@pytest.fixture
def settings(tmp_path):
    return {"folder": str(tmp_path), "here": str(world_launch.HERE)}


def assert_numbers_of_one_process(folder):
    import world_cases  # it imports Keras

    from befit.replicate import World

    session = world_cases.Session(World(), 2)
    session.train("mlp", world_cases.mlp, world_cases.X, world_cases.Y)
    for actual in world_launch.results(Path(folder), 2):
        world_launch.assert_same(actual, session.results)
    assert len(np.load(f"{folder}/results-0.npz").files) > 5


@pytest.mark.timeout(200)
def test_workers_that_made_their_own_group(settings):
    """As the workers of a TorchTrainer have it before they call the training function."""
    address = f"127.0.0.1:{world_launch.free_port()}"

    def work(rank, program, settings):
        namespace = {}
        exec(program, namespace)
        namespace["make_group"](rank, address)
        namespace["train"](settings)
        namespace["leave_group"]()

    remote = ray.remote(max_retries=0)(work)
    ray.get([remote.remote(rank, TRAIN, settings) for rank in range(2)], timeout=PATIENCE)
    assert_numbers_of_one_process(settings["folder"])


@pytest.mark.timeout(200)
def test_the_workers_of_a_torch_trainer(settings):
    """Needs the packages of ray[train], which the tests go without."""
    pytest.importorskip("ray.train", exc_type=ImportError)
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def train(settings):
        namespace = {}
        exec(settings["program"], namespace)
        namespace["train"](settings)

    TorchTrainer(
        train,
        train_loop_config={**settings, "program": TRAIN},
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
        run_config=RunConfig(storage_path=settings["folder"], name="run"),
    ).fit()
    assert_numbers_of_one_process(settings["folder"])
