"""A sequence whose batches are rows of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from befit._internal.adapters import framework_of
from befit._internal.arguments import as_count, as_seed
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading.randomness import entropy, permutation
from befit.loading.sequence import Sequence
from befit.typing import Array, Batch

# The order of an epoch is a function of three numbers, so it is neither kept in the object nor sent to
# workers.
_order = lru_cache(maxsize=8)(permutation)


class ArraySequence(Sequence):
    """What ``Sequence.from_arrays`` returns."""

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        transform: Callable[..., Any] | None,
    ) -> None:
        self.x = _map("x", _as_array_like, x)
        self.y = None if y is None else _map("y", _as_array_like, y)
        self.batch_size = as_count("batch_size", batch_size)
        self.samples = _common_length(self.x, self.y)
        self.transform = transform
        self.epoch = 0
        self.seed: int | None = None
        if shuffle:
            self.seed = entropy() if seed is None else as_seed(seed)

    def __len__(self) -> int:
        return math.ceil(self.samples / self.batch_size)

    def __getitem__(self, idx: int, /) -> Batch:
        if not 0 <= idx < len(self):
            raise IndexError(f"batch index {idx} is outside [0, {len(self)})")
        rows: slice | Array = slice(idx * self.batch_size, min((idx + 1) * self.batch_size, self.samples))
        if self.seed is not None:
            rows = _order(self.samples, self.seed, self.epoch)[rows]
        x = _map("x", lambda name, array: _take(name, array, rows), self.x)
        if self.y is None:
            # A bare tuple would be read as (inputs, targets).
            batch = (x,) if isinstance(x, tuple) and self.transform is None else x
            return batch if self.transform is None else self.transform(x)
        y = _map("y", lambda name, array: _take(name, array, rows), self.y)
        return (x, y) if self.transform is None else self.transform(x, y)

    def on_epoch_end(self) -> None:
        """Go on to the order of the next epoch."""
        self.epoch += 1

    def state_dict(self) -> dict[str, int | None]:
        """Return what decides the order of the samples."""
        return {"epoch": self.epoch, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to the order of the samples that ``state`` was saved in."""
        self.epoch, self.seed = state["epoch"], state["seed"]

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.samples} samples in {len(self)} batches of {self.batch_size}>"
        )


def _map(name: str, function: Callable[[str, Any], Any], nest: Any) -> Any:
    """Apply ``function`` to the name and the value of each array in a nesting of tuples and dicts."""
    if isinstance(nest, Mapping):
        return {key: _map(f"{name}[{key!r}]", function, value) for key, value in nest.items()}
    if isinstance(nest, tuple):
        mapped = [_map(f"{name}[{position}]", function, value) for position, value in enumerate(nest)]
        return type(nest)(*mapped) if hasattr(nest, "_fields") else tuple(mapped)
    return function(name, nest)


def _leaves(name: str, nest: Any) -> Iterator[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    _map(name, lambda leaf_name, leaf: found.append((leaf_name, leaf)), nest)
    return iter(found)


def _as_array_like(name: str, value: Any) -> Any:
    """Return ``value`` in a form whose rows ``_take`` can take."""
    if framework_of(value) == "tensorflow" or hasattr(value, "iloc"):
        value = np.asarray(value)  # TensorFlow cannot index by rows, pandas indexes by labels
    if isinstance(value, (str, bytes)) or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        raise UnsupportedObjectError(
            f"{name} is {type(value).__qualname__}, which has no rows to take; pass an array, a list of "
            "samples, or a tuple or dict of those"
        )
    if getattr(value, "shape", None) == ():
        raise UnsupportedObjectError(f"{name} is a single number; pass an array of shape (samples, ...)")
    return value


def _common_length(x: Any, y: Any) -> int:
    leaves = [*_leaves("x", x), *(() if y is None else _leaves("y", y))]
    if not leaves:
        raise ArgumentError("x holds no array")
    lengths = {name: len(array) for name, array in leaves}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ArgumentError(
            f"the arrays have different numbers of samples ({listed}); they must have the same"
        )
    return next(iter(lengths.values()))


def _take(name: str, array: Any, rows: slice | Array) -> Any:
    """Return a copy of some rows, so that a consumer that modifies its batch does not modify the data."""
    if isinstance(array, list):
        samples = array[rows] if isinstance(rows, slice) else [array[row] for row in rows]
        try:
            return np.asarray(samples)
        except ValueError as error:
            raise ArgumentError(
                f"the samples in the list {name} differ in shape; pad them, or write a Sequence: {error}"
            ) from error
    taken = array[rows]
    if isinstance(rows, slice):
        if isinstance(taken, np.ndarray):
            return taken.copy()
        if hasattr(taken, "clone"):  # a torch tensor
            return taken.clone()
    return taken
