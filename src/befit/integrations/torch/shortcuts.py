"""Results of frequent functions on meta tensors.

A meta tensor has a shape and no values, yet torch runs up to six milliseconds of Python code to find that
shape after a batch normalization. What is not plain is left to it, and it says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def like(tensor: Any) -> Any:
    """Return a meta tensor of the same shape, strides and dtype; ``torch.empty_like`` takes far longer."""
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")


def _filled_like(tensor: Any) -> Any:
    # A result has strides of its own where those of the tensor leave gaps or repeat.
    return like(tensor) if tensor.is_contiguous() else None


def _linear(data: Any, weight: Any, bias: Any = None) -> Any:
    shape, matrix = data.shape, weight.shape
    if len(shape) < 1 or len(matrix) != 2 or shape[-1] != matrix[1] or data.dtype != weight.dtype:
        return None
    if bias is not None and (bias.shape != matrix[:1] or bias.dtype != data.dtype):
        return None
    return data.new_empty((*shape[:-1], matrix[0]))


def _batch_norm(
    data: Any,
    mean: Any,
    variance: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    *_: Any,
    **__: Any,
) -> Any:
    shape = data.shape
    if training or mean is None or len(shape) < 2 or shape[1] != mean.shape[0] or data.dtype != mean.dtype:
        return None
    return _filled_like(data)


def _layer_norm(data: Any, normalized: Sequence[int], *_: Any, **__: Any) -> Any:
    return _filled_like(data) if data.shape[-len(normalized) :] == tuple(normalized) else None


def _elementwise(one: Any, other: Any, **options: Any) -> Any:
    if options or not isinstance(other, torch.Tensor) or not other.is_meta:
        return None
    if one.shape != other.shape or one.dtype != other.dtype or not other.is_contiguous():
        return None
    return _filled_like(one)


SHORTCUTS: dict[Any, Callable[..., Any]] = {
    torch.nn.functional.linear: _linear,
    torch.nn.functional.batch_norm: _batch_norm,
    torch.nn.functional.layer_norm: _layer_norm,
    torch.Tensor.add: _elementwise,
    torch.Tensor.mul: _elementwise,
    torch.Tensor.sub: _elementwise,
}
"""By function; each returns ``None`` where it does not know the result."""
