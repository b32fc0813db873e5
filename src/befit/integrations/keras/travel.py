"""A Keras model in a pickle as it is, and not as a file of its configuration that not every model has."""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import Any

import keras
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.utils.tracking import TrackedDict, TrackedList

# What a model has from compile() and from training; a forward pass needs none of it.
_OF_TRAINING = (
    "_compile_config",
    "_compile_loss",
    "_compile_metrics",
    "_loss_tracker",
    "_optimizer",
    "history",
    "optimizer",
    "predict_function",
    "test_function",
    "train_function",
)


def of_training(model: Any) -> list[Any]:
    """Return the objects in ``model`` that only training needs."""
    found = (vars(model).get(name) for name in _OF_TRAINING)
    return [value for value in found if value is not None]


def reduce(value: Any) -> Any:
    """Return how a part of a Keras model is pickled, or ``NotImplemented``."""
    if isinstance(value, KerasSaveable):
        return copyreg.__newobj__, (type(value),), vars(value)  # type: ignore[attr-defined]
    # These ask their tracker at every item; it comes last, with the rest of their state.
    if isinstance(value, TrackedList):
        return _untracked, (type(value),), vars(value), iter(value)
    if isinstance(value, TrackedDict):
        return _untracked, (type(value),), vars(value), None, iter(value.items())
    return NotImplemented


class KerasSettings:
    """Keras's settings of this process that change results, to be entered in another."""

    contents: Iterable[object] = ()

    def __init__(self) -> None:
        config = keras.config
        self._values = config.floatx(), config.epsilon(), config.image_data_format()

    def __enter__(self) -> None:
        floatx, epsilon, image_data_format = self._values
        keras.config.set_floatx(floatx)
        keras.config.set_epsilon(epsilon)
        keras.config.set_image_data_format(image_data_format)

    def __exit__(self, *error: object) -> None:
        """Leave them: the next ones are set in their place."""


def _untracked(cls: Any) -> Any:
    container = cls.__new__(cls)
    container.tracker = None
    return container
