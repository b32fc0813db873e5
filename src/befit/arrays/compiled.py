"""Whether the compiled loops of the extra ``speed`` are there."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any

logger = logging.getLogger(__name__)


@functools.cache
def row_loops() -> Any:
    """Return the module ``befit.arrays.row_loops``, or ``None`` without numba.

    The first call in a process costs about half a second, so ask only where there is a lot to do; and ask by
    the size of the data alone, for the last digit of a norm depends on who computed it.
    """
    try:
        return importlib.import_module("befit.arrays.row_loops")
    except ImportError as error:
        if error.name != "numba":  # it is there, and does not fit the other packages
            logger.warning("numba cannot be used (%s); to_categorical and normalize go on with NumPy", error)
        return None
