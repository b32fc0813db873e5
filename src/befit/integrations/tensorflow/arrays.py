"""The tensors of TensorFlow (contract ``befit.typing.ArrayAdapter``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from befit.errors import ArgumentError
from befit.typing import Array


def is_tensor(obj: object) -> bool:
    """Return whether ``obj`` is a dense tensor or a variable."""
    return isinstance(obj, tf.Tensor | tf.Variable)


def has_values(tensor: Any) -> bool:
    """Return whether values can be read: not while ``tf.function`` or ``tf.data`` trace."""
    return tf.executing_eagerly() and not tf.is_symbolic_tensor(tensor)


def on_host(tensor: Any) -> bool:
    """Return whether ``tensor`` is on the CPU and has no gradient, which a tape might be recording."""
    differentiable = tensor.dtype.is_floating or tensor.dtype.is_complex
    return has_values(tensor) and not differentiable and "CPU" in tensor.device.upper()


def to_host(tensor: Any) -> Array:
    """Return the values of ``tensor``."""
    array: Array = np.asarray(tensor.numpy())
    return array


def from_host(array: Array, like: Any) -> Any:
    """Return ``array`` on the device of ``like``."""
    with tf.device(like.device):
        return tf.convert_to_tensor(array)


def writable_view(tensor: Any) -> Array | None:
    """Return ``None``: tensors of TensorFlow never change."""
    return None


def one_hot(labels: Any, num_classes: int, dtype: str) -> Any:
    """Return ``labels`` one-hot along a new last axis; labels of a graph are checked when it runs."""
    try:
        kind = tf.as_dtype(dtype)
    except TypeError:
        raise ArgumentError(
            f"dtype {dtype!r} is no data type of TensorFlow; write one such as 'float32'"
        ) from None
    labels = tf.convert_to_tensor(labels)
    if labels.dtype == tf.bool:
        labels = tf.cast(labels, tf.int32)
    numbers = tf.cast(labels, tf.int64)
    if not has_values(labels):
        known = (tf.cast(numbers, labels.dtype) == labels) & (numbers >= 0) & (numbers < num_classes)
        message = f"a label has no class: it is outside [0, {num_classes}) or no whole number"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(known), [message, labels])]):
            numbers = tf.identity(numbers)
    if kind == tf.bool:
        return tf.one_hot(numbers, num_classes, on_value=True, off_value=False)
    return tf.one_hot(numbers, num_classes, dtype=kind)


def argmax(tensor: Any) -> Any:
    """Return the index of the largest value along the last axis."""
    return tf.argmax(tf.cast(tensor, tf.uint8) if tensor.dtype == tf.bool else tensor, -1)


def normalize(tensor: Any, axes: tuple[int, ...], order: float) -> Any:
    """Return ``tensor`` divided by its norm over ``axes``."""
    tensor = tf.convert_to_tensor(tensor)
    kind = tensor.dtype if tensor.dtype.is_floating or tensor.dtype.is_complex else tf.float64
    x = tf.cast(tensor, tf.float32 if kind.size < tf.float32.size else kind)
    if order == 0:
        count = tf.math.count_nonzero(x, axes, keepdims=True)
        return tf.cast(x / tf.cast(tf.maximum(count, 1), x.dtype), kind)
    # Every vector is scaled, so that no power overflows; the quotient does not depend on the scale, so no
    # gradient goes through it. A flat vector has norm 0 and stays; ones in its place keep gradients finite.
    scale = _extreme(tf.abs(tf.stop_gradient(x)), axes, order)
    one = tf.ones((), scale.dtype)
    flat = scale == 0
    x = x / tf.cast(tf.where((scale > 0) & tf.math.is_finite(scale), scale, one), x.dtype)
    norm = _norm(tf.where(flat, one, tf.abs(x)), axes, order)
    return tf.cast(x / tf.cast(tf.where(flat, one, norm), x.dtype), kind)


def _extreme(magnitude: Any, axes: tuple[int, ...], order: float) -> Any:
    reduce = tf.reduce_max if order > 0 else tf.reduce_min
    return reduce(magnitude, axes, keepdims=True)


def _norm(magnitude: Any, axes: tuple[int, ...], order: float) -> Any:
    if math.isinf(order):
        return _extreme(magnitude, axes, order)
    return tf.reduce_sum(magnitude**order, axes, keepdims=True) ** (1 / order)
