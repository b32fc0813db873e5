"""Tensors between processes: as NumPy arrays of the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

# What NumPy has no dtype for travels as whole numbers of the same size.
_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # the largest is a complex number of halves


def reducers() -> dict[type, Callable[[Any], tuple[Any, ...]]]:
    """Return the reducers, by exact type, for a pickler's dispatch table."""
    return {torch.Tensor: _reduce}


def _reduce(tensor: torch.Tensor) -> Any:
    plain = (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not tensor.requires_grad
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and not vars(tensor)
    )
    if not plain:
        return tensor.__reduce_ex__(5)
    try:
        return _tensor, (tensor.numpy(), None)
    except TypeError:
        return _tensor, (tensor.view(_SAME_SIZE[tensor.element_size()]).numpy(), tensor.dtype)


def _tensor(array: np.ndarray[Any, Any], dtype: torch.dtype | None) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor if dtype is None else tensor.view(dtype)
