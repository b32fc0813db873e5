"""Who says which process this is: the variables of every launcher, and what is wrong with them."""

from __future__ import annotations

import os
import types

import pytest

from befit._internal import settings
from befit._internal.settings import Launch
from befit.errors import ArgumentError, DeviceError, ReplicationError
from befit.integrations.processes import Processes
from befit.replicate import World, initialize, world
from befit.replicate.world import choose_processes, local_place

OTHERS = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "KERAS_DISTRIBUTION_", "JAX_COORDINATOR_", "OMPI_",
          "PMI_", "MPI_LOCAL", "SLURM_", "CUDA_VISIBLE_DEVICES")  # fmt: skip
TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}  # fmt: skip
KERAS = {"KERAS_DISTRIBUTION_PROCESS_ID": "1", "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
         "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:2345"}  # fmt: skip
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
            "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
            "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"}  # fmt: skip
OPEN_MPI_6 = {**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::b9b,2620:10d]:43370"}
MPICH = {"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2",
         "MASTER_ADDR": "::1", "MASTER_PORT": "4000"}  # fmt: skip
SRUN = {"SLURM_PROCID": "4", "SLURM_STEP_NUM_TASKS": "5", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "2",
        "SLURM_JOB_ID": "70001", "SLURM_STEP_NODELIST": "node[007-009,020],other", "SLURM_NODEID": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1"}  # fmt: skip

LAUNCHES = {
    "torchrun": (TORCHRUN, Launch("torchrun", 3, 4, 1, 2), ("node1", 29500)),
    "Keras": (KERAS, Launch("Keras", 1, 2, None, None), ("10.0.0.1", 1234)),
    "Open MPI": (OPEN_MPI, Launch("Open MPI", 5, 8, 1, 4), ("10.96.0.1", 61440 + 373920 % 4096)),
    "Open MPI over IPv6": (OPEN_MPI_6, Launch("Open MPI", 5, 8, 1, 4), ("fe80::b9b", 61440 + 320928 % 4096)),
    "MPICH": (MPICH, Launch("MPI", 0, 2, 0, 2), ("::1", 4000)),
    "srun": (SRUN, Launch("srun", 4, 5, 0, 1), ("node007", 61440 + 70003 % 4096)),
    "torchrun inside of srun": ({**SRUN, **TORCHRUN}, Launch("torchrun", 3, 4, 1, 2), ("node1", 29500)),
    "srun, with an address": (
        {**SRUN, "MASTER_ADDR": "node9", "MASTER_PORT": "1"}, Launch("srun", 4, 5, 0, 1), ("node9", 1),
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """Nobody started these tests; return how to pretend somebody did."""
    for name in list(os.environ):
        if name.startswith(OTHERS):
            monkeypatch.delenv(name)
    monkeypatch.setattr(world, "_joined", None)

    def launch(environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return launch


@pytest.mark.parametrize("name", LAUNCHES)
def test_launchers_say_who_this_is_and_where_the_first_one_is(launched, name):
    environment, launch, address = LAUNCHES[name]
    launched(environment)
    assert settings.launch() == launch
    assert settings.launched_rank() == (launch.rank, launch.size)
    assert settings.coordinator(launch) == address


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "0"}, "RANK is set, and WORLD_SIZE is not"),
        ({"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}, "KERAS_DISTRIBUTION_PROCESS_ID is not"),
        ({**TORCHRUN, "LOCAL_RANK": "first"}, "LOCAL_RANK is 'first', which is no number"),
        ({**TORCHRUN, "MASTER_PORT": ""}, "MASTER_ADDR is set, and MASTER_PORT is not"),
        ({**TORCHRUN, "MASTER_ADDR": ""}, "MASTER_PORT is set, and MASTER_ADDR is not"),
        ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT gives the address 'node1:http'"),
        ({**KERAS, "KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1"}, "has to be host:port"),
        ({**KERAS, "KERAS_DISTRIBUTION_JOB_ADDRESSES": ""}, "KERAS_DISTRIBUTION_JOB_ADDRESSES gives"),
        (
            {**OPEN_MPI, "OMPI_MCA_orte_hnp_uri": ""},
            "Open MPI says that this is process 5 of 8, and not where",
        ),
        ({**SRUN, "SLURM_JOB_ID": ""}, "set MASTER_ADDR"),
    ],
)
def test_what_is_half_set_is_named(launched, environment, message):
    launched(environment)
    with pytest.raises(ArgumentError, match=message):
        settings.coordinator(settings.launch())


def test_a_job_step_s_tasks_are_counted_on_this_machine(launched):
    launched({**SRUN, "SLURM_NODEID": "1"})
    assert settings.launch().local_size == 2
    launched({"SLURM_NODEID": "7"})
    assert settings.launch().local_size is None


def test_an_address_for_jax_is_read_as_jax_reads_it(launched):
    assert settings.jax_coordinator() is None
    launched({"JAX_COORDINATOR_ADDRESS": "[::1]:99"})
    assert settings.jax_coordinator() == ("::1", 99)


@pytest.mark.parametrize(("visible", "answer"), [("", False), ("3", True), ("0,1", False)])
def test_a_single_visible_gpu_is_the_process_s_own(launched, visible, answer):
    launched({"CUDA_VISIBLE_DEVICES": visible})
    assert settings.gpus_of_its_own() is answer


def test_started_plainly_a_program_is_a_world_of_one():
    alone = initialize()
    assert alone == World(0, 1, 0, 1, None)
    assert alone.is_first
    assert alone.is_first_here
    alone.barrier()


def test_a_world_of_one_that_was_launched_stays_one(launched):
    launched({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"})
    assert initialize("torch") == World()


def test_an_unknown_framework_is_refused():
    with pytest.raises(ArgumentError, match="framework='mxnet' is unknown"):
        initialize("mxnet")


@pytest.fixture
def adapter(monkeypatch):
    """A framework that joins three processes, of which this is the last."""
    joins = []

    def join(launch, timeout):
        joins.append((launch, timeout))
        return 2, 3

    def exchange(value):
        return [("one", value[1] or first), ("two", None), ("two", None)]

    import random

    import numpy as np

    first = (random.Random(7).getstate(), np.random.RandomState(7).get_state(), "state")
    fake = types.SimpleNamespace(
        live_rank=lambda: None, join=join, exchange=exchange, random_state=lambda: "mine", joins=joins,
        set_random_state=lambda state: joins.append(state), barrier=joins.append,
    )  # fmt: skip
    monkeypatch.setattr(world, "integration", lambda framework, module: fake)
    return fake


def test_joining_finds_the_place_and_takes_over_the_first_one_s_random_numbers(adapter):
    import random

    import numpy as np

    kept = random.getstate(), np.random.get_state()
    try:
        joined = initialize("torch", timeout=7)
        assert joined == World(2, 3, 1, 2, "torch")
        assert not joined.is_first
        assert not joined.is_first_here
        assert random.random() == random.Random(7).random()
        assert np.random.rand() == np.random.RandomState(7).rand()
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
    assert initialize("torch") is joined
    assert adapter.joins == [(None, 7), "state"]
    joined.barrier(3)
    assert adapter.joins[-1] == 3


def test_the_launcher_knows_the_place_better_than_host_names(launched):
    assert local_place(3, ["same"] * 4) == (3, 4)
    launched(TORCHRUN)
    assert local_place(3, ["same"] * 4) == (1, 2)
    assert local_place(2, ["same"] * 4) == (2, 4), "the variables are about another process"


@pytest.mark.parametrize("gpus", [None, 2, 4, 8, [0, 1], range(8)])
def test_a_script_may_count_processes_or_the_devices_of_its_machine(gpus):
    names = tuple(f"rank:{rank}" for rank in range(4))
    assert choose_processes(gpus, None, "auto", Processes(4, 2, 4, names)) == names


@pytest.mark.parametrize(
    ("gpus", "devices"),
    [(3, None), ([0, 1, 2], None), ("2", None), (None, "cpu:0"), (None, "cpu:0..2"), (True, None)],
)
def test_another_number_than_the_launcher_s_is_refused(gpus, devices):
    with pytest.raises(DeviceError, match="started 4 processes, 2 of them on this machine") as caught:
        choose_processes(gpus, devices, "auto", Processes(4, 2, 1, ("rank:0",) * 4))
    assert "write gpus=2 or gpus=4" in str(caught.value)


def test_threads_are_for_one_process():
    with pytest.raises(ArgumentError, match="this is one of 4"):
        choose_processes(None, None, "threads", Processes(4, 2, 1, ("rank:0",) * 4))


def test_tensorflow_computes_in_one_process(launched):
    pytest.importorskip("tensorflow")
    launched(TORCHRUN)
    with pytest.raises(ReplicationError, match=r"torchrun has started 4 processes.*use the torch or the JAX"):
        initialize("tensorflow")
