"""``fit(shuffle="batch")`` of Keras 2: batches in random order, and rows within each as they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from befit._internal.adapters import framework_of
from befit._internal.keras_input import KerasArray
from befit.loading import Loader
from befit.typing import Array, Batch

__all__ = ["ShuffledBatches", "shuffle_batches"]

_BATCH_SIZE = 32  # Keras'


class ShuffledBatches:
    """Batches of arrays, in an order that is drawn from NumPy's global generator, a new one for each epoch.

    A batch that is not full stays the last one.

    Source: Keras 2.1, ``Model.fit``, ``shuffle="batch"``.
    """

    def __init__(self, parts: tuple[Any, ...], rows: int, batch_size: int) -> None:
        self._parts = parts
        self._rows = rows
        self._size = batch_size
        self._order: Array | None = None

    def __len__(self) -> int:
        return math.ceil(self._rows / self._size)

    def __getitem__(self, index: int, /) -> Batch:
        if self._order is None:
            full = self._rows // self._size
            self._order = np.append(np.random.permutation(full), np.arange(full, len(self)))
        start = int(self._order[index]) * self._size
        return tuple(_rows(part, start, min(start + self._size, self._rows)) for part in self._parts)

    def on_epoch_end(self) -> None:
        """Draw another order, when the next batch is asked for."""
        self._order = None


def shuffle_batches(given: dict[str, Any]) -> bool:
    """Replace the arrays among the arguments of ``fit`` by ``ShuffledBatches``, if they are such.

    Others stay: matrices shuffle so themselves, and what does not fit together is for Keras to refuse.
    """
    parts = [given.get("x"), given.get("y"), given.get("sample_weight")]
    while parts[-1] is None and len(parts) > 1:
        parts.pop()
    leaves = _leaves(parts)
    rows = _length(leaves[0])
    if rows is None or any(_length(leaf) != rows for leaf in leaves) or given.get("steps_per_epoch"):
        return False
    split = given.get("validation_split") or 0.0
    if split and given.get("validation_data") is None:
        kept = math.floor(rows * (1.0 - split))
        if not 0 < kept < rows:
            return False
        given["validation_data"] = tuple(_rows(part, kept, rows) for part in parts)
        rows = kept
    size = given.pop("batch_size", None) or _BATCH_SIZE
    if given.get("validation_batch_size") is None:
        given["validation_batch_size"] = size
    for name in ("y", "sample_weight", "shuffle", "validation_split"):
        given.pop(name, None)
    given["x"] = Loader(ShuffledBatches(tuple(parts), rows, size))
    return True


def _leaves(data: Any) -> list[Any]:
    if isinstance(data, (list, tuple)):
        return [leaf for part in data for leaf in _leaves(part)]
    if isinstance(data, dict):
        return _leaves(list(data.values()))
    return [data]


def _length(leaf: Any) -> int | None:
    """Return the rows of an array that NumPy can slice; ``None``: it is something else."""
    is_array = hasattr(leaf, "__array__") and hasattr(leaf, "shape") and len(leaf.shape) > 0
    if not is_array or isinstance(leaf, KerasArray) or framework_of(leaf) is not None:
        return None
    return int(leaf.shape[0])


def _rows(data: Any, start: int, stop: int) -> Any:
    if isinstance(data, (list, tuple)):
        return type(data)(_rows(part, start, stop) for part in data)
    if isinstance(data, dict):
        return {key: _rows(part, start, stop) for key, part in data.items()}
    return np.asarray(data[start:stop])
