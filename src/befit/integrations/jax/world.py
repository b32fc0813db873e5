"""The processes of ``jax.distributed``."""

from __future__ import annotations

import base64
import functools
import itertools
import pickle
import socket
import time
from typing import Any

import jax
from jax._src import distributed
from jax._src.xla_bridge import backends_are_initialized

from befit._internal import settings
from befit.errors import ReplicationError
from befit.integrations.jax import roll_call
from befit.integrations.jax.ranks import live_rank as live_rank
from befit.integrations.jax.replicate import device_name
from befit.integrations.processes import Processes
from befit.replicate.world import PATIENCE, local_place

_calls = itertools.count()  # every process makes the same calls in the same order


def join(launched: settings.Launch | None, timeout: float) -> tuple[int, int] | None:
    """Connect to the coordinator of what was launched; return (rank, world size)."""
    named = settings.jax_coordinator()
    if launched is None or launched.size == 1:
        return None
    if backends_are_initialized():
        raise ReplicationError(
            "too late to join other processes: JAX has started as a program of one; call "
            "befit.replicate.initialize() before the first JAX computation, right after the imports"
        )
    host, port = named or settings.coordinator(launched)
    if named is None and launched.launcher == "torchrun":
        port += 1  # torchrun itself listens at the first
    # One GPU for each process of a machine, as torch has it. Devices of other kinds are all this process's.
    is_one_of_several = launched.local_rank is not None and launched.local_size != 1
    takes_one = is_one_of_several and not settings.gpus_of_its_own()
    deadline = time.monotonic() + timeout
    try:
        roll_call.hold(host, port, launched.rank, launched.size, deadline)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        jax.distributed.initialize(
            address,
            launched.size,
            launched.rank,
            # A program on one machine is not to be reached from others.
            coordinator_bind_address=address if roll_call.is_loopback(host) else None,
            local_device_ids=[launched.local_rank] if takes_one else None,
            cluster_detection_method="deactivate",
            initialization_timeout=max(10, int(deadline - time.monotonic())),
        )
    except (OSError, RuntimeError) as error:
        raise ReplicationError(
            f"process {launched.rank} of {launched.size} did not meet the others at {host}:{port} within "
            f"{timeout:g} s: {error}; check that all were started and can reach that address"
        ) from error
    return launched.rank, launched.size


def processes() -> Processes | None:
    """Return the processes that compute together; ``None``: this one computes alone."""
    live = live_rank()
    if live is None or live[1] == 1:
        return None
    size = live[1]
    names = tuple(map(device_name, jax.devices()))
    return Processes(size, place()[1], jax.local_device_count(), names)


@functools.cache
def place() -> tuple[int, int]:
    """Return (local rank, local size). The first time it is asked, all processes have to ask."""
    return local_place(jax.process_index(), exchange(socket.gethostname()))


def exchange(value: Any) -> list[Any]:
    """Return every process's ``value``, by rank."""
    client, call = distributed.global_state.client, next(_calls)
    text = base64.b64encode(pickle.dumps(value)).decode()
    client.key_value_set(f"befit/{call}/{jax.process_index()}", text)
    return [
        pickle.loads(
            base64.b64decode(client.blocking_key_value_get(f"befit/{call}/{rank}", int(PATIENCE * 1000)))
        )
        for rank in range(jax.process_count())
    ]


def barrier(timeout: float) -> None:
    """Wait for the others."""
    try:
        distributed.global_state.client.wait_at_barrier(f"befit/{next(_calls)}", int(timeout * 1000))
    except RuntimeError as error:
        raise ReplicationError(
            f"process {jax.process_index()} waited {timeout:g} s for the others in vain; one of them has "
            "ended, or goes another way through the program"
        ) from error


def random_state() -> None:
    """Return nothing: the keys of JAX are the program's own."""


def set_random_state(state: None) -> None:
    """Do nothing."""
