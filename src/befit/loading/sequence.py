"""The documented base class for data that comes in batches by number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from befit._internal.keras_input import KerasInput
from befit.typing import Batch

if TYPE_CHECKING:
    from befit.loading.array_sequence import ArraySequence


class Sequence(KerasInput):
    """Base object for fitting to a sequence of data, such as a dataset.

    A subclass implements ``__getitem__(idx)``, which returns a complete batch, for example ``(x, y)`` with
    ``x`` of shape ``(batch, features)``, and ``__len__()``, the number of batches in an epoch. It may
    implement ``on_epoch_end()`` to modify the dataset between epochs. It need not call
    ``super().__init__()``.

    Give it to ``fit``, ``evaluate`` or ``predict`` of a Keras model, or to a ``Loader`` for workers: in each
    epoch every batch is used exactly once, and ``on_epoch_end`` is called once, after the last of them. A
    plain ``for`` over the sequence itself only reads it, in order; ``on_epoch_end`` is not called.

    Example:
        >>> import numpy as np
        >>> from befit import Sequence
        >>> class Squares(Sequence):
        ...     def __len__(self):
        ...         return 2
        ...     def __getitem__(self, idx):
        ...         x = np.arange(idx * 3, idx * 3 + 3)
        ...         return x, x**2
        >>> [y.tolist() for x, y in Squares()]
        [[0, 1, 4], [9, 16, 25]]

    Source: Keras 2.1 documentation, ``keras.utils.Sequence``.
    """

    def __getitem__(self, idx: int, /) -> Batch:
        """Return the batch at position ``idx``."""
        raise NotImplementedError(
            f"{type(self).__qualname__} does not define __getitem__(self, idx); return batch number idx "
            "there, for example a tuple (x, y)"
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        raise NotImplementedError(
            f"{type(self).__qualname__} does not define __len__(self); return the number of batches in an "
            "epoch there"
        )

    def on_epoch_end(self) -> None:
        """Modify the dataset between epochs; does nothing unless a subclass defines it."""

    def __iter__(self) -> Iterator[Batch]:
        for idx in range(len(self)):
            yield self[idx]

    @staticmethod
    def from_arrays(
        x: Any,
        y: Any = None,
        *,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int | None = None,
        transform: Callable[..., Any] | None = None,
    ) -> ArraySequence:
        """Return a sequence of batches taken from arrays.

        Args:
            x: An array-like of shape ``(samples, ...)``: NumPy array, ``HDF5Matrix``, list of samples, torch
                tensor or anything else with ``__len__`` and ``__getitem__``; or any nesting of tuples and
                dicts of those.
            y: The targets, in the same forms; ``None``: the batches hold ``x`` only.
            batch_size: Samples in a batch; the last batch may have fewer.
            shuffle: Take the samples in a new random order in each epoch.
            seed: Decides those orders; ``None``: the operating system does.
            transform: Called with the batch of ``x``, and of ``y`` if there is one; what it returns is the
                batch.

        Returns:
            A ``Sequence`` whose batches are ``(x, y)``, or ``x`` alone; they are copies, free to be modified.

        Raises:
            ArgumentError: arrays have different lengths, or ``batch_size`` or ``seed`` is out of range.
            UnsupportedObjectError: something is no array-like.

        Example:
            >>> from befit import Sequence
            >>> batches = Sequence.from_arrays([1, 2, 3], [10, 20, 30], batch_size=2)
            >>> [(x.tolist(), y.tolist()) for x, y in batches]
            [([1, 2], [10, 20]), ([3], [30])]
        """
        from befit.loading.array_sequence import ArraySequence  # its base class is defined here

        return ArraySequence(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed, transform=transform)
