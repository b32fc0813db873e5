"""The processes that a launcher has started for one program, on one machine or on many."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from befit._internal import settings
from befit._internal.adapters import integration
from befit.errors import ArgumentError, DeviceError
from befit.replicate.devices import FRAMEWORKS, current_framework

PATIENCE = 300.0
"""Seconds to wait for the other processes."""


@dataclass(frozen=True)
class World:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Which process of this machine."""
    local_size: int = 1
    """How many processes this machine has."""
    framework: str | None = None
    """Through which framework they talk to each other; ``None``: there is but one."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints, plots and uploads, if only one should."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether this is the process that writes to the disk of its machine."""
        return self.local_rank == 0

    def barrier(self, timeout: float = PATIENCE) -> None:
        """Wait until every process has come here.

        Args:
            timeout: seconds to wait for the others.

        Raises:
            ReplicationError: others did not come in time, or have ended.

        Example:
            >>> World().barrier()
        """
        if self.framework is not None:
            integration(self.framework, "world").barrier(timeout)


_joined: World | None = None


def initialize(framework: str | None = None, *, timeout: float = PATIENCE) -> World:
    """Join the other processes that the launcher of this one has started.

    Call it right after the imports, and before the framework computes anything. Started plainly, a program is
    a world of one process and nothing happens; called again, the answer is the same. The random generators
    of Python, NumPy and torch continue, in every process, from the state of the first one's, so that all
    shuffle alike.

    It reads what torchrun, Open MPI, MPICH, srun and Keras write into the environment, and finds a
    ``torch.distributed`` or ``jax.distributed`` that is up already, as in a training function of Ray Train.

    Args:
        framework: ``"keras"`` (its current backend), ``"jax"`` or ``"torch"``. Not needed where Keras or only
            one of the others has been imported, or ``KERAS_BACKEND`` names one.
        timeout: seconds to wait for the others.

    Returns:
        Which process this is, and of how many.

    Raises:
        ArgumentError: the variables contradict each other, or leave out how the first process is reached; or
            it is unclear which framework is meant.
        DeviceError: this machine has fewer GPUs than processes.
        ReplicationError: the others did not come in time; the framework has started already; or it is
            TensorFlow, whose replicas here are those of one process.

    Example:
        >>> world = initialize()
        >>> world.rank, world.size, world.is_first
        (0, 1, True)

    Source:
        torchrun: https://docs.pytorch.org/docs/stable/elastic/run.html; JAX: ``jax.distributed.initialize``;
        Keras: ``keras.distribution.initialize``; Slurm: ``man srun``, output environment variables.
    """
    global _joined
    if framework is not None and framework not in FRAMEWORKS:
        raise ArgumentError(f"framework={framework!r} is unknown; write one of {', '.join(FRAMEWORKS)}")
    launched = settings.launch()
    if framework is None:
        try:
            framework = current_framework()
        except ArgumentError:
            if launched is not None and launched.size > 1:
                raise
            return World()
    if _joined is None or _joined.framework != framework:
        _joined = _join(framework, launched, timeout)
    return _joined


def choose_processes(gpus: Any, devices: Any, engine: str, processes: Any) -> tuple[str, ...]:
    """Return a name for each process that computes with this one: all of them, whatever was asked.

    The launcher has decided what there is. ``gpus`` and ``devices`` may stay in a script as what is meant on
    one machine, and must not say something else.

    Raises:
        ArgumentError: ``engine`` wants replicas inside of this process.
        DeviceError: another number of devices than there are.
    """
    if engine == "threads":
        raise ArgumentError(
            f"engine='threads' is for one process, and this is one of {processes.size}; leave engine "
            "at 'auto'"
        )
    counts = sorted({count for count in processes.counts if count > 1} | {processes.size})
    for name, value in (("gpus", gpus), ("devices", devices)):
        if value is not None and _count(value) not in counts:
            written = " or ".join(f"gpus={count}" for count in counts)
            raise DeviceError(
                f"{name}={value!r}, and the launcher has started {processes.size} processes, "
                f"{processes.local_size} of them on this machine, with {processes.device_count} devices "
                f"each; all of them are used: leave {name} out, or write {written}"
            )
    names: tuple[str, ...] = processes.names
    return names


def local_place(rank: int, hosts: list[str]) -> tuple[int, int]:
    """Return which process of its machine process ``rank`` is, and of how many, given every rank's host."""
    launched = settings.launch()
    place = hosts[:rank].count(hosts[rank]), hosts.count(hosts[rank])
    if launched is None or (launched.rank, launched.size) != (rank, len(hosts)):
        return place
    # Containers on several machines may all have the same host name: the launcher knows better.
    return (
        place[0] if launched.local_rank is None else launched.local_rank,
        place[1] if launched.local_size is None else launched.local_size,
    )


def _count(value: Any) -> int | None:
    if isinstance(value, str):
        first, _, last = value.rpartition(":")[2].partition("..")
        return int(last) - int(first) + 1 if first.isdecimal() and last.isdecimal() else None
    if isinstance(value, Iterable):
        return len(list(value))
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _join(framework: str, launched: settings.Launch | None, timeout: float) -> World:
    adapter = integration(framework, "world")
    live: tuple[int, int] | None = adapter.live_rank()
    if live is None:
        live = adapter.join(launched, timeout)
    if live is None or live[1] == 1:
        return World()
    rank, size = live
    mine = random.getstate(), np.random.get_state(), adapter.random_state()
    answers = adapter.exchange((socket.gethostname(), mine if rank == 0 else None))
    hosts = [host for host, _ in answers]
    python, numpy, own = answers[0][1]
    random.setstate(python)
    np.random.set_state(numpy)
    adapter.set_random_state(own)
    return World(rank, size, *local_place(rank, hosts), framework)
