"""Ranks: what is live, what a launcher put into the environment, and in which order they are asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import types

import pytest

from befit.errors import ArgumentError
from befit.loading import ranks
from befit.loading.ranks import detect_shard

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_", "PMI_", "SLURM_")
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4"}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "3"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "6"}
PMI = {"PMI_RANK": "6", "PMI_SIZE": "7"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No launcher started these tests."""
    for name in list(os.environ):
        if name.startswith(LAUNCHER_VARIABLES):
            monkeypatch.delenv(name)


@pytest.fixture
def launched(monkeypatch):
    def launch(*environments):
        for environment in environments:
            for name, value in environment.items():
                monkeypatch.setenv(name, value)

    return launch


def run_together(program, count, **environment):
    """Run ``program`` in ``count`` processes, each with its number as argument; return what they print."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "XLA_FLAGS": "", **environment},
        )
        for number in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * count, "\n".join(outputs)
    return [output.splitlines()[-1] for output in outputs]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class TestEnvironment:
    def test_nobody_launched_this(self):
        assert detect_shard() is None

    @pytest.mark.parametrize(
        ("environment", "shard"),
        [(TORCHRUN, (1, 3)), (OPEN_MPI, (5, 6)), (PMI, (6, 7)), (SRUN, (2, 4))],
    )
    def test_each_launcher(self, launched, environment, shard):
        launched(environment)
        assert detect_shard() == shard

    @pytest.mark.parametrize(
        ("environments", "shard"),
        [
            ((SRUN, PMI, OPEN_MPI, TORCHRUN), (1, 3)),
            ((SRUN, PMI, OPEN_MPI), (5, 6)),
            ((SRUN, PMI), (6, 7)),
        ],
    )
    def test_the_innermost_launcher_counts(self, launched, environments, shard):
        """Under Slurm, mpirun starts its daemons by srun, and srun may start torchrun."""
        launched(*environments)
        assert detect_shard() == shard

    def test_a_step_of_fewer_tasks_than_the_job(self, launched):
        launched(SRUN, {"SLURM_NTASKS": "8"})
        assert detect_shard() == (2, 4)

    @pytest.mark.parametrize("step", [None, "4294967290", "4294967291"])
    def test_batch_scripts_and_shells_of_salloc_are_one_process(self, launched, monkeypatch, step):
        """Slurm calls them task 0 of as many as the job may start; steps 4294967290 and …291 are theirs."""
        launched(SRUN, {"SLURM_PROCID": "0"})
        if step is None:
            monkeypatch.delenv("SLURM_STEP_ID")
            monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
        else:
            monkeypatch.setenv("SLURM_STEP_ID", step)
        assert detect_shard() is None

    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            ({"RANK": "1"}, "RANK is set, and WORLD_SIZE is not"),
            ({"WORLD_SIZE": "2"}, "WORLD_SIZE is set, and RANK is not"),
            ({"RANK": "2", "WORLD_SIZE": "2"}, "no rank below WORLD_SIZE=2"),
            ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is -1"),
            ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK is 'one', which is no number"),
            ({"RANK": "0", "WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', which is no number"),
            ({**SRUN, "SLURM_PROCID": "9"}, "SLURM_PROCID is 9"),
        ],
    )
    def test_contradictions(self, launched, environment, message):
        launched(environment)
        with pytest.raises(ArgumentError, match=message) as caught:
            detect_shard()
        assert "pass shard=(rank, world size)" in str(caught.value)

    def test_empty_variables_are_not_set(self, launched):
        launched({"RANK": "", "WORLD_SIZE": ""})
        assert detect_shard() is None

    def test_no_framework_is_imported(self):
        program = (
            "import sys; from befit.loading.ranks import detect_shard; print(detect_shard(), "
            "[name for name in ('torch', 'jax', 'ray', 'keras') if name in sys.modules])"
        )
        assert run_together(program, 1, **TORCHRUN) == ["(1, 3) []"]


class TestLive:
    @pytest.mark.parametrize(
        ("live", "shard"),
        [
            ({"torch": (0, 2), "jax": (1, 3), "ray": (2, 4)}, (0, 2)),
            ({"jax": (1, 3), "ray": (2, 4)}, (1, 3)),
            ({"ray": (2, 4)}, (2, 4)),
            ({}, (1, 3)),
        ],
    )
    def test_what_is_live_counts_before_the_environment(self, launched, monkeypatch, live, shard):
        launched(TORCHRUN)
        for module in ("torch.distributed", "jax", "ray.train"):
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        asked = lambda framework, _: types.SimpleNamespace(live_rank=lambda: live.get(framework))  # noqa: E731
        monkeypatch.setattr(ranks, "integration", asked)
        assert detect_shard() == shard

    def test_torch(self, tmp_path):
        """Two processes, in another order than their environment says."""
        program = """
import sys
from torch import distributed
from befit.loading.ranks import detect_shard
before = detect_shard()
distributed.init_process_group(
    "gloo", init_method=f"file://{STORE}", rank=1 - int(sys.argv[1]), world_size=2
)
shard = detect_shard()
distributed.barrier()
distributed.destroy_process_group()
print(before, shard, detect_shard())
""".replace("{STORE}", f"{tmp_path}/store")
        lines = run_together(program, 2, GLOO_SOCKET_IFNAME="lo", **TORCHRUN)
        assert lines == ["(1, 3) (1, 2) (1, 3)", "(1, 3) (0, 2) (1, 3)"]

    def test_jax(self):
        """Two processes, whose batches ``device_prefetch`` puts together.

        Being asked before does not start JAX, which would then refuse to be distributed.
        """
        program = """
import sys
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from befit.loading import device_prefetch
from befit.loading.ranks import detect_shard
before = detect_shard()
jax.distributed.initialize("127.0.0.1:PORT", num_processes=2, process_id=int(sys.argv[1]))
shard = detect_shard()
everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
(batch,) = device_prefetch([np.full(3, shard[0])], everywhere)
parts = [part.data.tolist() for part in batch.addressable_shards]
jax.distributed.shutdown()
print(before, shard, batch.shape, parts)
""".replace("PORT", str(free_port()))
        assert run_together(program, 2, JAX_PLATFORMS="cpu") == [
            "None (0, 2) (6,) [[0, 0, 0]]",
            "None (1, 2) (6,) [[1, 1, 1]]",
        ]

    def test_jax_with_devices_of_one_process(self, launched):
        """Its backend runs here; it is no distributed program, so the launcher is believed."""
        import jax

        assert jax.devices()
        assert detect_shard() is None
        launched(TORCHRUN)
        assert detect_shard() == (1, 3)

    @pytest.mark.parametrize("error", [None, RuntimeError, DeprecationWarning])
    def test_ray(self, monkeypatch, error):
        """Against the shape of ``ray.train``, which needs packages that these tests go without."""

        class Context:
            get_world_rank = staticmethod(lambda: 1)
            get_world_size = staticmethod(lambda: 4)

        def get_context():
            if error is not None:
                raise error("outside of training")
            return Context()

        class First:
            pass

        stand_ins = {
            "ray": {},
            "ray.train": {"get_context": get_context},
            "ray.train.context": {"TrainContext": First},
            "ray.train._internal": {},
            "ray.train._internal.session": {"get_session": lambda: None},
        }
        for name, attributes in stand_ins.items():
            module = types.ModuleType(name)
            vars(module).update(attributes)
            monkeypatch.setitem(sys.modules, name, module)
        vars(sys.modules["ray"])["train"] = sys.modules["ray.train"]
        assert detect_shard() == (None if error else (1, 4))
        # Version 1 of Ray Train, outside of training.
        monkeypatch.setattr(sys.modules["ray.train"], "get_context", First)
        assert detect_shard() is None
