"""The arrays of JAX (contract ``befit.typing.ArrayAdapter``)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from befit.typing import Array


def is_tensor(obj: object) -> bool:
    """Return whether ``obj`` is an array, traced ones included."""
    return isinstance(obj, jax.Array)


def has_values(tensor: Any) -> bool:
    """Return whether values can be read: not inside ``jit``, ``grad`` or ``vmap``."""
    return not isinstance(tensor, jax.core.Tracer)


def on_host(tensor: Any) -> bool:
    """Return whether ``tensor`` lies whole on one CPU device."""
    if not has_values(tensor):
        return False
    devices = tensor.devices()
    return len(devices) == 1 and all(device.platform == "cpu" for device in devices)


def to_host(tensor: Any) -> Array:
    """Return the values of ``tensor``; no copy on the CPU."""
    return np.asarray(tensor)


def from_host(array: Array, like: Any) -> Any:
    """Return ``array`` on the device of ``like``, bound to it only if ``like`` is."""
    return jax.device_put(array, like.sharding if getattr(like, "committed", True) else None)


def writable_view(tensor: Any) -> Array | None:
    """Return ``None``: arrays of JAX never change."""
    return None


def one_hot(labels: Any, num_classes: int, dtype: str) -> Any:
    """Return ``labels`` one-hot along a new last axis."""
    hot = labels[..., None] == jnp.arange(num_classes)
    rows = hot.astype(dtype)
    if has_values(labels) or not jnp.issubdtype(rows.dtype, jnp.inexact):
        return rows
    return jnp.where(hot.any(-1, keepdims=True), rows, jnp.nan).astype(rows.dtype)


def argmax(tensor: Any) -> Any:
    """Return the index of the largest value along the last axis."""
    return tensor.argmax(-1)


def normalize(tensor: Any, axes: tuple[int, ...], order: float) -> Any:
    """Return ``tensor`` divided by its norm over ``axes``."""
    inexact = jnp.issubdtype(tensor.dtype, jnp.inexact)
    kind = tensor.dtype if inexact else jnp.asarray(0.0).dtype  # float64 where jax_enable_x64 is set
    x = tensor.astype(jnp.float32 if kind.itemsize < jnp.dtype(jnp.float32).itemsize else kind)
    if tensor.size == 0:
        return x.astype(kind)
    if order == 0:
        return (x / jnp.maximum((x != 0).sum(axes, keepdims=True), 1)).astype(kind)
    # Every vector is scaled, so that no power overflows; the quotient does not depend on the scale, so no
    # gradient goes through it. A flat vector has norm 0 and stays; ones in its place keep gradients finite.
    scale = _extreme(jnp.abs(jax.lax.stop_gradient(x)), axes, order)
    flat = scale == 0
    x = x / jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    norm = _norm(jnp.where(flat, 1, jnp.abs(x)), axes, order)
    return (x / jnp.where(flat, 1, norm)).astype(kind)


def _extreme(magnitude: Any, axes: tuple[int, ...], order: float) -> Any:
    return magnitude.max(axes, keepdims=True) if order > 0 else magnitude.min(axes, keepdims=True)


def _norm(magnitude: Any, axes: tuple[int, ...], order: float) -> Any:
    if math.isinf(order):
        return _extreme(magnitude, axes, order)
    return (magnitude**order).sum(axes, keepdims=True) ** (1 / order)
