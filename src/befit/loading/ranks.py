"""Which part of the data is this process's: its rank among the processes of a distributed run."""

from __future__ import annotations

import sys

from befit._internal.adapters import integration
from befit._internal.settings import launched_rank

# What a framework runs as is true; what a launcher put into the environment is a promise. A framework is
# asked if somebody has imported the second module, the one that knows.
_FRAMEWORKS = (("torch", "torch.distributed"), ("jax", "jax"), ("ray", "ray.train"))


def detect_shard() -> tuple[int, int] | None:
    """Return (rank, world size) of this process, ``0 <= rank < world size``; ``None``: it runs alone.

    Asked in this order: an initialised ``torch.distributed``; an initialised ``jax.distributed``, or devices
    of JAX in several processes; the training function of Ray Train; the variables of torchrun, Open MPI,
    MPICH and srun.

    Raises:
        ArgumentError: environment variables contradict each other.

    Example:
        >>> from befit.loading.ranks import detect_shard
        >>> detect_shard() is None
        True
    """
    for framework, module in _FRAMEWORKS:
        if module in sys.modules:
            rank: tuple[int, int] | None = integration(framework, "ranks").live_rank()
            if rank is not None:
                return rank
    return launched_rank()
