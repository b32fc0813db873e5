"""A model on its way to the processes of its replicas: a pickle of its structure, without its weights."""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized

from befit._internal.pickling import ByValuePickler, classes_by_value
from befit.errors import ReplicationError

Reduce = Callable[[Any], Any]
"""Returns how an object is pickled, or ``NotImplemented``."""


def dumps_model(
    value: Any,
    weights: Sequence[torch.Tensor] = (),
    *,
    classes: Iterable[object] = (),
    without: Sequence[Any] = (),
    reduce: Reduce = lambda value: NotImplemented,
) -> bytes:
    """Return the pickle of a model, or of a part of one, for another process.

    Args:
        value: What is pickled, as it is.
        weights: Tensors of which only the places are pickled.
        classes: Classes and functions in it, which travel whole where the other process cannot import them.
        without: Objects in it that become ``None``.
        reduce: How certain objects are pickled.

    Raises:
        ReplicationError: something in it cannot be pickled.
    """
    stream = io.BytesIO()
    try:
        with classes_by_value(*classes):
            _ModelPickler(stream, weights, without, reduce).dump(value)
    except Exception as error:  # pickle has no common error
        raise ReplicationError(
            f"the model cannot be sent to the processes of its replicas: {error}; take out what cannot be "
            "pickled (locks, connections, generators), or pass engine='threads'"
        ) from error
    return stream.getvalue()


def loads_model(pickled: bytes, weights: Sequence[torch.Tensor]) -> Any:
    """Return the model with ``weights`` for its own."""
    return _ModelUnpickler(io.BytesIO(pickled), weights).load()


class _ModelPickler(ByValuePickler):
    def __init__(
        self, stream: io.BytesIO, weights: Sequence[torch.Tensor], without: Sequence[Any], reduce: Reduce
    ) -> None:
        super().__init__(stream)
        self._weights = {id(weight): index for index, weight in enumerate(weights)}
        self._without = {id(one) for one in without}
        self._reduce = reduce

    def persistent_id(self, value: Any) -> Any:
        if id(value) in self._without:
            return -1
        return self._weights.get(id(value)) if isinstance(value, torch.Tensor) else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor) and (obj.requires_grad or obj.device.type != "cpu"):
            # Neither a weight nor a buffer: something that was kept. Its history does not travel.
            return _kept, (obj.detach().cpu(), obj.device.type == "cpu")
        if isinstance(obj, torch.nn.Module) and is_parametrized(obj):
            # Its class is made at run time, and refuses to be pickled, because files could not be read again.
            return copyreg.__newobj__, (type(obj),), vars(obj)  # type: ignore[attr-defined]
        reduced = self._reduce(obj)
        return super().reducer_override(obj) if reduced is NotImplemented else reduced


class _ModelUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, weights: Sequence[torch.Tensor]) -> None:
        super().__init__(stream)
        self._weights = weights

    def persistent_load(self, index: Any) -> Any:
        return None if index < 0 else self._weights[index]


def _kept(tensor: torch.Tensor, on_cpu: bool) -> torch.Tensor:
    return tensor if on_cpu else tensor.to(torch.device("cuda", torch.cuda.current_device()))
