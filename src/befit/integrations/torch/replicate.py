"""The devices of torch, and the replication of plain modules."""

from __future__ import annotations

from typing import Any

import torch

from befit.errors import ReplicationError, UnsupportedObjectError
from befit.integrations.torch.replicate_collectives import is_fully_sharded
from befit.integrations.torch.replicate_module import ParallelModule
from befit.integrations.torch.replicate_rank_module import RankParallelModule
from befit.integrations.torch.replicate_threads import runs_in_processes
from befit.integrations.torch.world import processes

# torch knows one CPU; replicas that share it are told apart by number.
_virtual_cpus = 1


def available_devices(kind: str | None = None) -> list[str]:
    """Return the names of this process's devices; ``None`` is GPUs where there are any, otherwise CPUs."""
    gpus = [f"gpu:{index}" for index in range(torch.cuda.device_count())]
    cpus = [f"cpu:{index}" for index in range(_virtual_cpus)]
    return {"gpu": gpus, "cpu": cpus, "tpu": [], None: gpus or cpus}[kind]


def simulate_devices(count: int) -> None:
    """Let there be ``count`` names for the CPU, or more."""
    global _virtual_cpus
    _virtual_cpus = max(_virtual_cpus, count)


def check_model(model: Any) -> None:
    """Raise unless ``model`` is a module that can be replicated."""
    if not isinstance(model, torch.nn.Module):
        raise UnsupportedObjectError(
            f"multi_gpu_model replicates a torch.nn.Module, not a {type(model).__qualname__}; pass the module"
        )
    if isinstance(model, ParallelModule):
        raise ReplicationError("this module is replicated already; pass its template: parallel.template")
    if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
        raise ReplicationError(
            f"{type(model).__name__} splits the batch itself; pass the module inside it: model.module"
        )
    if is_fully_sharded(model) and processes() is None:
        raise ReplicationError(
            "the module went through fully_shard, which shards it over processes, and this program has one; "
            "start it with torchrun, or pass the module without fully_shard"
        )


def replicate(model: Any, names: tuple[str, ...], engine: str) -> Any:
    """Return a module that runs ``model`` on all the devices ``names``."""
    if names[0].startswith("rank:"):
        return RankParallelModule(model, names)
    return ParallelModule(model, names, in_processes=runs_in_processes(names, engine))
