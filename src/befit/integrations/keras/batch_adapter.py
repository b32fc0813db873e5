"""What Keras asks of an adapter whose batches are made elsewhere."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter

from befit.integrations.keras.batch_form import Failure, tf_dataset

__all__ = ["BatchAdapter"]


class BatchAdapter(DataAdapter):
    """The base of adapters for one ``EpochIterator``; a subclass makes the batches."""

    def __init__(self, epoch_iterator: Any) -> None:
        self._epoch_iterator = weakref.ref(epoch_iterator)
        self._failure = Failure()
        epoch_iterator._interrupted_warning = self._ran_out

    @property
    def batch_size(self) -> int | None:
        """Unknown: batches may differ."""
        return None

    @property
    def has_partial_batch(self) -> bool | None:
        """Unknown."""
        return None

    @property
    def partial_batch_size(self) -> int | None:
        """Unknown."""
        return None

    def get_numpy_iterator(self) -> Any:
        """Return an iterator over batches of NumPy arrays."""
        return data_adapter_utils.get_numpy_iterator(self._batches())

    def get_jax_iterator(self) -> Any:
        """Return an iterator over batches that JAX takes."""
        return data_adapter_utils.get_jax_iterator(self._batches())

    def get_torch_dataloader(self) -> Any:
        """Return a ``torch.utils.data.DataLoader`` over batches of tensors."""
        return data_adapter_utils.get_torch_dataloader(self._batches())

    def get_tf_dataset(self) -> Any:
        """Return a ``tf.data.Dataset`` of batches, typed by the first two of them."""
        return tf_dataset(self.get_numpy_iterator, self._first_batches(), self._failure)

    def _is_reset(self) -> bool:
        """Return whether Keras, which calls ``on_epoch_end``, resets its iterator, and no pass has ended."""
        epoch_iterator = self._epoch_iterator()
        return epoch_iterator is None or epoch_iterator._epoch_iterator is None

    @abstractmethod
    def _batches(self) -> Iterator[Any]:
        """Yield the batches of a pass, in the form that Keras takes."""

    @abstractmethod
    def _first_batches(self) -> list[Any]:
        """Return the first two batches, which stay to be used."""

    @abstractmethod
    def _ran_out(self) -> None:
        """Called by Keras where a batch is due and none comes."""
