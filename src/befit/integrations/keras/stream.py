"""Streams as data of Keras 3 models: each batch of a generator exactly once, on every backend.

Keras' ``EpochIterator`` draws batches to learn their types, and to build a model; they are put back. With
``steps_per_epoch`` it goes through all its epochs with one iterator, of which it, JAX on a device, or tf.data
may draw more than the epoch needs; here each epoch gets an iterator of its own, which ends with it.
"""

from __future__ import annotations

import contextvars
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from keras.src.trainers.data_adapters import data_adapter_utils

from befit.errors import ArgumentError
from befit.integrations.keras.batch_adapter import BatchAdapter
from befit.integrations.keras.batch_form import LOOK, as_keras_data
from befit.loading import Stream
from befit.typing import Batch

__all__ = ["StreamAdapter", "TrainerCall"]


@dataclass(frozen=True)
class TrainerCall:
    """The call to a model that data is read for."""

    method: str = ""
    """``"fit"``, ``"evaluate"`` or ``"predict"``; ``""``: unknown."""
    trainer: Any = None
    """The model, of which ``stop_training`` ends ``fit``."""
    is_training: bool = False
    """The data are those that ``fit`` trains with."""
    epochs: int = 1
    """The passes over the data that were asked for."""


class StreamAdapter(BatchAdapter):
    """The batches of a stream, for one ``EpochIterator``."""

    def __init__(
        self,
        stream: Stream,
        epoch_iterator: Any,
        call: TrainerCall,
        *,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__(epoch_iterator)
        self._stream = stream
        self._is_training = call.is_training
        self._epochs = call.epochs
        self._trainer: Callable[[], Any] = weakref.ref(call.trainer) if call.is_training else lambda: None
        self._context = contextvars.copy_context()  # tf.data asks for batches in a thread of its own
        self._as_data = partial(
            as_keras_data,
            class_weight=class_weight,
            copy=False,  # a stream has done it
            predict=call.method == "predict",
        )
        executed = epoch_iterator.steps_per_execution or 1
        steps = epoch_iterator.steps_per_epoch
        self._steps: int | None = steps or None
        # Keras always completes an execution.
        self._limit = -(-steps // executed) * executed if steps else None
        # The batches of the first pass, as long as Keras may only have looked at them; a device may have
        # one more.
        self._looked: list[Batch] | None = []
        self._most_looked = max(LOOK, executed + 1)
        self._passes = 0
        self._taken = 0  # in the pass that runs
        # Who has no batch at all hears of it now; who has too few, when Keras has used them.
        stream.peek()

    @property
    def num_batches(self) -> int | None:
        """Unknown: Keras goes by its steps, or to the end."""
        return None

    def on_epoch_begin(self) -> None:
        """Called by Keras before a pass."""
        epoch_iterator = self._epoch_iterator()
        if epoch_iterator is not None and self._steps is not None:
            epoch_iterator._current_iterator = None  # that of the epoch before is at its end

    def on_epoch_end(self) -> None:
        """Called by Keras after a pass, and at a reset."""
        if self._is_reset() and self._looked:
            self._stream.put_back(self._looked)
            self._passes = 0
        self._looked = None  # Keras looks at the data before anything else

    def _batches(self) -> Iterator[Any]:
        """Yield the batches of one pass."""
        self._passes += 1
        self._taken = 0
        for batch in self._stream.take(self._limit, context=self._context):
            self._taken += 1
            if self._looked is not None:
                self._looked.append(batch)
                if len(self._looked) > self._most_looked:
                    self._looked = None
            yield self._as_data(batch)

    def _first_batches(self) -> list[Any]:
        first = self._stream.peek(LOOK if self._limit is None else min(LOOK, self._limit))
        return list(data_adapter_utils.get_numpy_iterator(map(self._as_data, first)))

    def _ran_out(self) -> None:
        """Called by Keras where a batch is due and none comes."""
        self._failure.raise_it()
        name = type(self._stream.source).__qualname__
        if not self._is_training:
            if not self._taken:
                raise ArgumentError(
                    f"{name} has no batches any more; let it repeat its data, and pass validation_steps="
                )
            if self._steps is not None:
                warnings.warn(
                    f"{name} ended after {self._taken} batches; steps={self._steps} were asked for",
                    stacklevel=2,
                )
            return
        trainer = self._trainer()
        if trainer is not None:
            trainer.stop_training = True
        if self._steps is not None:
            warnings.warn(
                f"{name} ended in epoch {self._passes} of {self._epochs}, after {self._taken} of "
                f"steps_per_epoch={self._steps} batches, and training ends with that epoch",
                stacklevel=2,
            )
        elif self._passes < self._epochs:
            warnings.warn(
                f"{name} ended, and training ends with epoch {self._passes} of {self._epochs}; let it repeat "
                "its data, and pass steps_per_epoch=",
                stacklevel=2,
            )
