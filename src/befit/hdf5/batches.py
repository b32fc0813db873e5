"""An HDF5 dataset, and labels beside it, as batches by number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from befit.errors import ArgumentError, OutOfWindowError
from befit.typing import Array, Batch

if TYPE_CHECKING:
    from befit.hdf5.matrix import HDF5Matrix


class HDF5Batches:
    """Batches of the rows of a matrix; satisfies ``befit.typing.BatchSource``.

    Every row is in exactly one batch of an epoch. With ``shuffle`` each epoch has an order of its own, which
    ``seed`` and the epoch's number decide, so copies in other processes agree.
    """

    def __init__(
        self,
        x: HDF5Matrix,
        y: Any = None,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        seed: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ArgumentError(f"batch_size is {batch_size}; write 1 or more")
        if y is not None and (y.ndim == 0 or len(y) != len(x)):
            rows = "a single value" if y.ndim == 0 else f"{len(y)} rows"
            raise ArgumentError(f"y has {rows} and x has {len(x)}; pass one row of y for every row of x")
        self._x = x
        self._y = y
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed: Any = np.random.SeedSequence().entropy if seed is None else seed
        self._epoch = 0
        self._order: Array | None = None  # of this epoch, made when it is first needed

    def __len__(self) -> int:
        return math.ceil(len(self._x) / self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Return batch number ``index``: ``x`` of shape ``(batch, ...)``, or ``(x, y)``."""
        if not 0 <= index < len(self):
            raise OutOfWindowError(f"batch {index} is outside [0, {len(self)})")
        start = index * self._batch_size
        stop = min(start + self._batch_size, len(self._x))
        rows = self._epoch_order()[start:stop] if self._shuffle else slice(start, stop)
        return self._x[rows] if self._y is None else (self._x[rows], self._y[rows])

    def on_epoch_end(self) -> None:
        """Begin the next epoch, with an order of its own."""
        self._epoch += 1
        self._order = None

    def _epoch_order(self) -> Array:
        order = self._order
        if order is None:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._x))
            self._order = order
        return order

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_order": None}  # made again from seed and epoch, cheaper than sent
