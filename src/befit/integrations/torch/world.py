"""The processes of ``torch.distributed``, one for each replica."""

from __future__ import annotations

import atexit
import datetime
import socket
from typing import Any

import torch
from torch import distributed

from befit._internal import settings
from befit.errors import DeviceError, ReplicationError
from befit.integrations.processes import Processes
from befit.integrations.torch.ranks import live_rank as live_rank
from befit.replicate.world import local_place

_places: dict[
    Any, tuple[int, int]
] = {}  # (local rank, local size) in each process group that was asked about


def join(launched: settings.Launch | None, timeout: float) -> tuple[int, int] | None:
    """Make the process group of what was launched; return (rank, world size)."""
    if launched is None or launched.size == 1:
        return None
    patience = datetime.timedelta(seconds=timeout)
    # Gloo carries what lies in the memory of the CPU, NCCL what lies on GPUs.
    backend, device = "gloo", None
    if torch.cuda.is_available():
        backend, device = "cpu:gloo,cuda:nccl", torch.device("cuda", _own_gpu(launched))
        torch.cuda.set_device(device)
    host, port = settings.coordinator(launched)
    try:
        if launched.launcher == "torchrun":  # whose agent may have the store already
            store, rank, size = next(distributed.rendezvous("env://", timeout=patience))
        else:
            rank, size = launched.rank, launched.size
            store = distributed.TCPStore(host, port, size, is_master=rank == 0, timeout=patience)
        # Not the group's own timeout, which bounds every later operation: one process may be busy for longer.
        store.set_timeout(patience)
        store.set(f"befit/{rank}", socket.gethostname())
        store.wait([f"befit/{other}" for other in range(size)], patience)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, device_id=device)
    except (distributed.DistError, RuntimeError) as error:
        raise ReplicationError(
            f"process {launched.rank} of {launched.size} did not meet the others at {host}:{port} within "
            f"{timeout:g} s; check that all were started and can reach that address"
        ) from error
    atexit.register(_leave)
    return rank, size


def processes() -> Processes | None:
    """Return the processes that compute together; ``None``: this one computes alone."""
    live = live_rank()
    if live is None or live[1] == 1:
        return None
    local_size = place()[1]
    return Processes(live[1], local_size, 1, tuple(f"rank:{rank}" for rank in range(live[1])))


def place() -> tuple[int, int]:
    """Return (local rank, local size). The first time it is asked, all processes have to ask."""
    group = distributed.group.WORLD
    if group not in _places:
        _places[group] = local_place(distributed.get_rank(), exchange(socket.gethostname()))
    return _places[group]


def exchange(value: Any) -> list[Any]:
    """Return every process's ``value``, by rank."""
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def barrier(timeout: float) -> None:
    """Wait for the others."""
    try:
        if distributed.get_backend() == "gloo":
            distributed.monitored_barrier(timeout=datetime.timedelta(seconds=timeout))
        else:  # NCCL knows the timeout of the group only
            distributed.barrier()
    except RuntimeError as error:
        raise ReplicationError(
            f"process {distributed.get_rank()} waited {timeout:g} s for the others in vain; one of them has "
            "ended, or goes another way through the program"
        ) from error


def random_state() -> Any:
    """Return the state of torch's generator."""
    return torch.get_rng_state().numpy().tobytes()


def set_random_state(state: Any) -> None:
    """Set the state of torch's generators: the CPU's to that one, its GPU's to a seed made of it."""
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    if torch.cuda.is_available():
        torch.cuda.manual_seed(torch.initial_seed())


def _own_gpu(launched: settings.Launch) -> int:
    count, local_rank = torch.cuda.device_count(), launched.local_rank or 0
    if count == 1 and settings.gpus_of_its_own():
        return 0
    if local_rank >= count:
        raise DeviceError(
            f"this is process {local_rank} of its machine, counted from 0, and there are {count} GPUs; start "
            f"{count} processes on each machine"
        )
    return local_rank


def _leave() -> None:
    _places.clear()
    if distributed.is_initialized():
        distributed.destroy_process_group()
