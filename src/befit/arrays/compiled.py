"""Whether the compiled loops of the extra ``speed`` are there."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any

logger = logging.getLogger(__name__)

_works = True


@functools.cache
def row_loops() -> Any:
    """Return the module ``befit.arrays.row_loops``, or ``None`` without numba or where it may not compile.

    The first call in a process costs about half a second, so ask only where there is a lot to do; and ask by
    the size of the data alone, for the last digit of a norm depends on who computed it.
    """
    try:
        loops = importlib.import_module("befit.arrays.row_loops")
    except (ImportError, AttributeError, OSError) as error:
        if getattr(error, "name", None) != "numba":  # it is there, and does not fit the other packages
            logger.warning("numba cannot be used (%s); to_categorical and normalize go on with NumPy", error)
        return None
    # With NUMBA_DISABLE_JIT, which is for debugging, they are plain Python.
    return None if loops.numba.config.DISABLE_JIT else loops


def run(loop: str, *arguments: Any) -> bool:
    """Run one of the compiled loops; return whether that could be done."""
    global _works
    loops = row_loops() if _works else None
    if loops is None:
        return False
    try:
        return bool(getattr(loops, loop)(*arguments))
    except Exception as error:  # noqa: BLE001 - whatever numba makes of a damaged cache or a full disk
        # Nothing was computed yet: it fails when it loads or compiles a loop.
        logger.warning("numba cannot be used (%r); to_categorical and normalize go on with NumPy", error)
        _works = False
        return False
