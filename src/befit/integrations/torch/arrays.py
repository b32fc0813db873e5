"""The arrays of PyTorch (contract ``befit.typing.ArrayAdapter``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from befit.errors import ArgumentError, UnsupportedObjectError
from befit.typing import Array

_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_NUMPY_LACKS = (torch.bfloat16, *_FLOAT8)
_COMPUTED_IN_FLOAT32 = (torch.float16, *_NUMPY_LACKS)


def is_tensor(obj: object) -> bool:
    """Return whether ``obj`` is a tensor."""
    return isinstance(obj, torch.Tensor)


def has_values(tensor: Any) -> bool:
    """Return whether values can be read: not under ``torch.compile`` or ``vmap``, not of fake tensors.

    Raises:
        UnsupportedObjectError: The tensor is sparse.
    """
    if tensor.layout is not torch.strided:
        raise UnsupportedObjectError(
            f"a tensor of layout {tensor.layout} is a sparse tensor; write x.to_dense()"
        )
    if torch.compiler.is_compiling() or tensor.is_meta:
        return False
    try:
        tensor.detach().data_ptr()
    except RuntimeError:  # "Tensor that doesn't have storage": torch's own word for a tensor being traced
        return False
    return True


def on_host(tensor: Any) -> bool:
    """Return whether NumPy can compute on ``tensor`` without losing a gradient or a device."""
    return (
        has_values(tensor)
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and tensor.dtype not in _NUMPY_LACKS
    )


def to_host(tensor: Any) -> Array:
    """Return the values of ``tensor``; no copy on the CPU."""
    values = tensor.detach().cpu().resolve_conj().resolve_neg()
    if values.dtype in _NUMPY_LACKS:
        values = values.float()  # exact
    array: Array = values.numpy()
    return array


def from_host(array: Array, like: Any) -> Any:
    """Return ``array`` on the device of ``like``; on the CPU it keeps the array's memory."""
    return torch.from_numpy(np.require(array, requirements="W")).to(like.device)


def writable_view(tensor: Any) -> Array | None:
    """Return an array in the memory of ``tensor``."""
    if tensor.layout is not torch.strided or not on_host(tensor) or tensor.is_conj() or tensor.is_neg():
        return None
    return to_host(tensor)


def one_hot(labels: Any, num_classes: int, dtype: str) -> Any:
    """Return ``labels`` one-hot along a new last axis."""
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise ArgumentError(f"dtype {dtype!r} is no data type of PyTorch; write one such as 'float32'")
    labels = labels if labels.is_floating_point() else labels.long()
    hot = labels.unsqueeze(-1) == torch.arange(num_classes, device=labels.device)
    if has_values(labels) or not kind.is_floating_point:
        return hot.to(kind)
    return torch.where(hot.any(-1, keepdim=True), hot.to(kind), math.nan)


def argmax(tensor: Any) -> Any:
    """Return the index of the largest value along the last axis."""
    return (tensor.byte() if tensor.dtype == torch.bool else tensor).argmax(-1)


def normalize(tensor: Any, axes: tuple[int, ...], order: float) -> Any:
    """Return ``tensor`` divided by its norm over ``axes``.

    Integers become float64; on Apple's MPS, which has no float64, they become float32.
    """
    default = torch.float32 if tensor.device.type == "mps" else torch.float64
    kind = tensor.dtype if tensor.is_floating_point() or tensor.is_complex() else default
    x = tensor.to(torch.float32 if kind in _COMPUTED_IN_FLOAT32 else kind)
    if tensor.numel() == 0:
        return x.to(kind)
    if order == 0:
        return (x / (x != 0).sum(axes, keepdim=True).clamp(min=1)).to(kind)
    # Every vector is scaled, so that no power overflows; the quotient does not depend on the scale, so no
    # gradient goes through it. A flat vector has norm 0 and stays; ones in its place keep gradients finite.
    magnitude = x.detach().abs()
    scale = magnitude.amax(axes, keepdim=True) if order > 0 else magnitude.amin(axes, keepdim=True)
    flat = scale == 0
    x = x / torch.where((scale > 0) & torch.isfinite(scale), scale, 1)
    norm = _norm(torch.where(flat, 1, x.abs()), axes, order)
    return (x / torch.where(flat, 1, norm)).to(kind)


def _norm(magnitude: Any, axes: tuple[int, ...], order: float) -> Any:
    if math.isinf(order):
        return magnitude.amax(axes, keepdim=True) if order > 0 else magnitude.amin(axes, keepdim=True)
    # torch.linalg.vector_norm adds naively: 0.8 % off for ten million float32 values. sum() adds in a tree.
    return (magnitude**order).sum(axes, keepdim=True) ** (1 / order)
