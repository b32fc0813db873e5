"""The rank of this process in ``torch.distributed``."""

from __future__ import annotations

from torch import distributed


def live_rank() -> tuple[int, int] | None:
    """Return (rank, world size) of the default process group, if there is one."""
    if not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()
