"""Weights: how many there are, and those of a ``Dense`` layer behind a ``Flatten``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from befit._internal.arguments import as_count
from befit.errors import ArgumentError, UnbuiltModelError, UnsupportedObjectError

__all__ = ["convert_dense_weights_data_format", "count_params"]

_FORMATS = ("channels_first", "channels_last")


def count_params(weights: Iterable[Any]) -> int:
    """Return how many numbers are in some weights; one that comes twice counts once.

    Args:
        weights: Variables, tensors or arrays, such as ``model.trainable_weights``.

    Raises:
        UnsupportedObjectError: one of them has no shape.

    Example:
        >>> import numpy as np
        >>> kernel, bias = np.zeros((4, 3)), np.zeros(3)
        >>> count_params([kernel, bias, kernel])
        15

    Source: Keras 2.1, ``keras.utils.layer_utils.count_params``.
    """
    unique = {id(weight): weight for weight in weights}
    return sum(_size(weight) for weight in unique.values())


def convert_dense_weights_data_format(
    dense: Any, previous_feature_map_shape: Sequence[int], target_data_format: str = "channels_first"
) -> None:
    """Put the weights of a ``Dense`` layer in order for a model whose data format is being changed.

    They depend on the order in which the ``Flatten`` layer before it takes the feature map apart.

    Args:
        dense: The layer, which is changed in place.
        previous_feature_map_shape: The shape of what goes into ``Flatten``, without the batch, as it will be:
            ``(channels, *spatial)`` where ``target_data_format`` is ``"channels_first"``, otherwise
            ``(*spatial, channels)``.
        target_data_format: ``"channels_first"`` or ``"channels_last"``: what the model will have.

    Raises:
        ArgumentError: an unknown format, or a shape that does not fit the layer.
        UnbuiltModelError: the layer has no weights yet.

    Example:
        >>> import keras, numpy as np
        >>> dense = keras.layers.Dense(1, use_bias=False)
        >>> dense.build((None, 6))
        >>> dense.set_weights([np.arange(6.0).reshape(6, 1)])  # two channels of each position, then the next
        >>> convert_dense_weights_data_format(dense, (2, 3, 1), "channels_first")
        >>> dense.get_weights()[0].ravel().tolist()  # one channel, then the other
        [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]

    Source: Keras 2.1, ``keras.utils.layer_utils.convert_dense_weights_data_format``.
    """
    if target_data_format not in _FORMATS:
        raise ArgumentError(
            f"target_data_format is {target_data_format!r}; write 'channels_first' or 'channels_last'"
        )
    shape = tuple(
        as_count("a length in previous_feature_map_shape", size) for size in previous_feature_map_shape
    )
    weights = dense.get_weights()
    if not weights:
        raise UnbuiltModelError(
            f"the layer {dense.name!r} has no weights yet; call or build the model before"
        )
    kernel = weights[0]
    if kernel.ndim != 2 or len(shape) < 2 or math.prod(shape) != kernel.shape[0]:
        raise ArgumentError(
            f"previous_feature_map_shape={shape} are {math.prod(shape)} values, and the kernel of "
            f"{dense.name!r} has the shape {kernel.shape}; pass the shape, without the batch, of what goes "
            "into the Flatten layer"
        )
    units = kernel.shape[1]
    if target_data_format == "channels_first":
        channels, *spatial = shape
        moved = np.moveaxis(kernel.reshape(*spatial, channels, units), -2, 0)
    else:
        *spatial, channels = shape
        moved = np.moveaxis(kernel.reshape(channels, *spatial, units), 0, -2)
    dense.set_weights([moved.reshape(kernel.shape), *weights[1:]])


def _size(weight: Any) -> int:
    try:
        return math.prod(int(size) for size in weight.shape)
    except (AttributeError, TypeError) as error:
        raise UnsupportedObjectError(
            f"{type(weight).__qualname__} is no weight with a shape; pass variables, tensors or arrays, such "
            "as model.weights"
        ) from error
