"""How much a disk has room for."""

from __future__ import annotations

import math
import shutil
from pathlib import Path


def free_bytes(folder: Path) -> float:
    """Return how many bytes more ``folder`` can hold; infinite where the file system does not know."""
    disk = shutil.disk_usage(folder)
    return disk.free if disk.total else math.inf
