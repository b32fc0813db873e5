"""The rank of this process in JAX."""

from __future__ import annotations

import jax
from jax._src.xla_bridge import backends_are_initialized


def live_rank() -> tuple[int, int] | None:
    """Return (process index, process count), if JAX runs in several processes or was told that it does.

    Before ``jax.distributed.initialize``, the question alone would start JAX as a program of one process.
    """
    if jax.distributed.is_initialized():
        return jax.process_index(), jax.process_count()
    if backends_are_initialized() and jax.process_count() > 1:  # TPU pods know without being told
        return jax.process_index(), jax.process_count()
    return None
