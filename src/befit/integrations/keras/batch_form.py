"""Batches in the form that the models of Keras 3 take, on every backend."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from numbers import Number
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters import data_adapter_utils

from befit.errors import ArgumentError
from befit.typing import Batch

__all__ = ["LOOK", "Failure", "as_keras_data", "tf_dataset"]

LOOK = data_adapter_utils.NUM_BATCHES_FOR_TENSOR_SPEC
"""The batches that decide the types of a ``tf.data.Dataset``."""

_SCALARS = (Number, np.generic, str)


def as_keras_data(
    batch: Batch, class_weight: Mapping[int, float] | None, *, copy: bool, predict: bool = False
) -> tuple[Any, ...]:
    """Return ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.

    For ``predict``, a list is several inputs, as in Keras 2.
    """
    if predict and isinstance(batch, list):
        batch = (batch,)
    data = _nest(batch, copy)
    if not isinstance(data, tuple):
        data = (data,)
    if not 1 <= len(data) <= 3:
        raise ArgumentError(
            f"a batch has {len(data)} parts; Keras takes x, (x, y) or (x, y, sample_weight), where x and y "
            "may be tuples or dicts of arrays"
        )
    if class_weight is None:
        return (*data,)
    if len(data) != 2:
        raise ArgumentError(
            f"class_weight= needs batches (x, y), and these have {len(data)} parts; leave out class_weight, "
            "or the sample weights"
        )
    if isinstance(data[1], (tuple, Mapping)):
        raise ArgumentError(
            "class_weight= is for models with one output; let the batches be (x, y, sample_weight), with "
            "weights for each output"
        )
    return (*data, data_adapter_utils.class_weight_to_sample_weights(data[1], class_weight))


class Failure:
    """An error in the batches of a ``tf.data.Dataset``, of which TensorFlow keeps no more than the text.

    The dataset ends instead. Keras then warns that it ran out of data; who warns for it calls ``raise_it``.
    """

    def __init__(self) -> None:
        self._error: Exception | None = None

    def end(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield ``batches``; an error ends them, and is kept."""
        try:
            yield from batches
        except Exception as error:  # noqa: BLE001 - raise_it raises it
            self._error = error

    def raise_it(self) -> None:
        """Raise the error, if there was one."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame


def tf_dataset(batches: Callable[[], Iterator[Any]], first: list[Any], failure: Failure) -> Any:
    """Return a ``tf.data.Dataset``, typed by the batches ``first``; each pass over it calls ``batches()``.

    ``batches`` is a method of the adapter, which Keras holds as long as it reads.
    """
    import tensorflow as tf

    signature = data_adapter_utils.get_tensor_spec(first)
    # TensorFlow never lets go of the function; the adapter's workers end when the adapter goes.
    method = weakref.WeakMethod(batches)

    def tensors() -> Iterator[Any]:
        read = method()
        if read is None:
            return iter(())  # nobody reads any more
        return failure.end(keras.tree.map_structure(_tf_value, batch, signature) for batch in read())

    dataset = tf.data.Dataset.from_generator(tensors, output_signature=signature)
    # Batches are read ahead already. If tf.data did it too, nobody could say when an epoch of them ends.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)


def _nest(value: Any, copy: bool) -> Any:
    """Turn lists into tuples, which all backends take apart, and arrays into what ``fit`` makes of arrays."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and value.dtype.name != keras.config.floatx():
            return value.astype(keras.config.floatx())
        return value.copy() if copy else value
    if isinstance(value, Mapping):
        return {key: _nest(item, copy) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, _SCALARS) for item in value):
        return _nest(np.asarray(value), False)
    if isinstance(value, list) and len(value) == 1:
        return _nest(value[0], copy)  # the list of inputs, or outputs, of a model that has one
    if isinstance(value, (list, tuple)):
        return tuple(_nest(item, copy) for item in value)
    return value


def _tf_value(value: Any, spec: Any) -> Any:
    import tensorflow as tf

    if value is None:
        return tf.experimental.Optional.empty(None)
    if data_adapter_utils.is_scipy_sparse(value):
        return data_adapter_utils.scipy_sparse_to_tf_sparse(value)
    if not spec.shape.is_compatible_with(np.shape(value)):
        raise ArgumentError(
            f"a batch holds an array of shape {np.shape(value)} where the first {LOOK} batches had "
            f"{spec.shape}; let those two differ along each axis that varies"
        )
    return value
