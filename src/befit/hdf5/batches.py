"""An HDF5 dataset, and labels beside it, as batches by number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from befit._internal.arguments import as_count, as_seed
from befit._internal.keras_input import KerasInput
from befit.errors import ArgumentError, OutOfWindowError
from befit.hdf5.order import EpochOrder, Shuffle, checked_shuffle
from befit.typing import Array, Batch

if TYPE_CHECKING:
    from befit.hdf5.matrix import HDF5Matrix


class _Orders:
    """The orders of a matrix's rows, epoch by epoch."""

    def __init__(
        self, x: HDF5Matrix, batch_size: int, shuffle: Shuffle, seed: int | None, window_rows: int | None
    ) -> None:
        self._x = x
        self._batch_size = as_count("batch_size", batch_size)
        self._shuffle = checked_shuffle(shuffle)
        self._seed: Any = np.random.SeedSequence().entropy if seed is None else as_seed(seed)
        self._window_rows = None if window_rows is None else as_count("window_rows", window_rows)
        self._epoch = 0
        self._order: EpochOrder | None = None  # of this epoch, made when it is first needed

    def __len__(self) -> int:
        return math.ceil(len(self._x) / self._batch_size)

    def _epoch_order(self) -> EpochOrder:
        order = self._order
        if order is None:
            order = self._order = self._x.epoch_order(
                self._batch_size, self._shuffle, self._seed, self._epoch, self._window_rows
            )
        return order

    def _to_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_order": None}  # made again from seed and epoch, cheaper than sent


class HDF5Batches(KerasInput, _Orders):
    """Batches of the rows of a matrix; satisfies ``befit.typing.BatchSource``, and ``fit`` of Keras takes it.

    Every row is in exactly one batch of an epoch. With ``shuffle`` each epoch has an order of its own, which
    ``seed`` and the epoch's number decide, so copies in other processes agree.
    """

    def __init__(
        self,
        x: HDF5Matrix,
        y: Any = None,
        batch_size: int = 32,
        *,
        shuffle: Shuffle = False,
        seed: int | None = None,
        window_rows: int | None = None,
    ) -> None:
        super().__init__(x, batch_size, shuffle, seed, window_rows)
        if y is not None and (y.ndim == 0 or len(y) != len(x)):
            rows = "a single value" if y.ndim == 0 else f"{len(y)} rows"
            raise ArgumentError(f"y has {rows} and x has {len(x)}; pass one row of y for every row of x")
        self._y = y

    def __getitem__(self, index: int) -> Batch:
        """Return batch number ``index``: ``x`` of shape ``(batch, ...)``, or ``(x, y)``."""
        if not 0 <= index < len(self):
            raise OutOfWindowError(f"batch {index} is outside [0, {len(self)})")
        batch = self._epoch_order()[index]
        x = self._x.read_rows(batch)
        if self._y is None:
            return x
        rows, start = batch.rows, self._x.start
        if isinstance(rows, range):
            return x, self._y[rows.start - start : rows.stop - start]
        return x, self._y[rows - start]

    def on_epoch_end(self) -> None:
        """Begin the next epoch, with an order of its own."""
        self._to_epoch(self._epoch + 1)


class HDF5Sampler(_Orders):
    """Row numbers, a batch at a time: what ``torch.utils.data.DataLoader`` takes as a sampler.

    Each pass over it is an epoch, with an order of its own.
    """

    def __iter__(self) -> Iterator[Array]:
        """Yield ``int64`` arrays of shape ``(batch,)``."""
        order, start = self._epoch_order(), self._x.start
        self._to_epoch(self._epoch + 1)
        for index in range(len(order)):
            rows = order[index].rows
            yield np.asarray(rows) - start

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass that of epoch number ``epoch``."""
        self._to_epoch(epoch)
