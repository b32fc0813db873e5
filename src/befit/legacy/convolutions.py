"""Convolutions: kernels of Theano, which turned them around, and the length of what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from befit._internal.arguments import as_count
from befit.errors import ArgumentError, UnbuiltModelError, UnsupportedObjectError

__all__ = ["conv_output_length", "convert_all_kernels_in_model", "convert_kernel"]

_CLASSES = {"Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose"}


def convert_kernel(kernel: ArrayLike) -> NDArray[Any]:
    """Return a kernel with its spatial axes turned around: of Theano for the others, and the reverse.

    Theano computed convolutions, all others correlations. Applying it twice changes nothing.

    Args:
        kernel: Shape ``(*spatial, in, out)`` with 1 to 3 spatial axes; any dtype.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        ArgumentError: ``kernel`` has fewer than 3 or more than 5 axes.

    Example:
        >>> import numpy as np
        >>> convert_kernel(np.arange(3).reshape(3, 1, 1)).ravel().tolist()
        [2, 1, 0]

    Source: Keras 2.1, ``keras.utils.conv_utils.convert_kernel``.
    """
    array = np.asarray(kernel)
    if not 3 <= array.ndim <= 5:
        raise ArgumentError(
            f"a kernel of shape {array.shape} has {array.ndim} axes; pass one of a convolution, of shape "
            "(*spatial, in, out) with 1 to 3 spatial axes"
        )
    return np.flip(array, tuple(range(array.ndim - 2))).copy()


def convert_all_kernels_in_model(model: Any) -> None:
    """Turn the kernels of all convolutions in a model around, as ``convert_kernel`` does.

    These are the layers ``Conv1D``, ``Conv2D``, ``Conv3D`` and ``Conv2DTranspose``, and those of classes that
    are derived from them. Each is converted once, however often the model calls it. Those in models and
    wrappers (``TimeDistributed``) inside of the model are converted too. Keras 2 left them out, so a script
    that calls this function for each inner model as well must now call it for the outer one only.

    Args:
        model: A Keras model, which is changed in place; where an error is raised, it is as it was.

    Raises:
        UnbuiltModelError: a convolution has no weights yet.
        UnsupportedObjectError: not a Keras model, or a kernel with LoRA, which is a sum of two.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((5, 1)), keras.layers.Conv1D(1, 3, use_bias=False)])
        >>> model.set_weights([np.array([[[1.0]], [[2.0]], [[3.0]]])])
        >>> convert_all_kernels_in_model(model)
        >>> model.get_weights()[0].ravel().tolist()
        [3.0, 2.0, 1.0]

    Source: Keras 2.1, ``keras.utils.convert_all_kernels_in_model``.
    """
    if not hasattr(model, "_flatten_layers"):
        raise UnsupportedObjectError(
            f"{type(model).__qualname__} is no Keras model; pass one, or convert_kernel(...) single kernels"
        )
    layers = {id(layer): layer for layer in model._flatten_layers() if _is_convolution(layer)}
    kernels = [(layer.kernel, convert_kernel(layer.kernel)) for layer in map(_checked, layers.values())]
    for kernel, converted in kernels:
        kernel.assign(converted)


def conv_output_length(
    input_length: int | None, filter_size: int, padding: str, stride: int, dilation: int = 1
) -> int | None:
    """Return the length of the output of a convolution along one axis.

    Args:
        input_length: The length of its input; ``None``: unknown.
        filter_size: The length of the kernel.
        padding: ``"valid"``, ``"same"``, ``"causal"`` or ``"full"``.
        stride: Steps from one output to the next.
        dilation: Steps from one element of the kernel to the next.

    Returns:
        The length, 0 or less where the kernel is longer than the input; ``None``: unknown.

    Raises:
        ArgumentError: an unknown ``padding``, or a number that is not whole or too small.

    Example:
        >>> conv_output_length(28, 3, "valid", stride=2), conv_output_length(28, 3, "same", stride=2)
        (13, 14)

    Source: Keras 2.1, ``keras.utils.conv_utils.conv_output_length``.
    """
    reach = (as_count("filter_size", filter_size) - 1) * as_count("dilation", dilation)
    step = as_count("stride", stride)
    grown = {"valid": -reach, "same": 0, "causal": 0, "full": reach}
    if padding not in grown:
        raise ArgumentError(f"padding is {padding!r}; write 'valid', 'same', 'causal' or 'full'")
    if input_length is None:
        return None
    positions = as_count("input_length", input_length, minimum=0) + grown[padding]
    return -(-positions // step)


def _is_convolution(layer: Any) -> bool:
    return not _CLASSES.isdisjoint(cls.__name__ for cls in type(layer).__mro__)


def _checked(layer: Any) -> Any:
    """Return a layer whose kernel is there and can be assigned."""
    if not layer.built:
        raise UnbuiltModelError(
            f"the layer {layer.name!r} has no kernel yet; call the model, or model.build(...), before"
        )
    if getattr(layer, "lora_enabled", False):
        raise UnsupportedObjectError(
            f"the kernel of the layer {layer.name!r} is a sum, since enable_lora() was called; convert the "
            "model before that"
        )
    return layer
