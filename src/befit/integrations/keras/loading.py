"""Sequences and loaders as data of Keras 3 models: each batch exactly once an epoch, on every backend.

Keras drives data through an ``EpochIterator``, which owns a ``DataAdapter``. Two of its habits are met here:

- to build a model it begins a pass, draws a batch, and resets. The batches of such a look are kept and
  delivered again, so nothing is loaded twice and no epoch is counted;
- it calls ``on_epoch_end`` of the adapter at that reset too. The ``on_epoch_end`` of the sequence is called
  by the loader, once its epoch is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from types import FrameType
from typing import Any

import keras
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

from befit.errors import ArgumentError, LoaderError
from befit.integrations.keras.batch_adapter import BatchAdapter
from befit.integrations.keras.batch_form import LOOK, as_keras_data
from befit.integrations.keras.stream import StreamAdapter, TrainerCall
from befit.loading import Loader, Stream
from befit.typing import Batch

__all__ = ["DataAdapter", "LoaderAdapter", "take_over"]

_METHODS = ("fit", "evaluate", "predict")


def take_over(source: Any, frame: FrameType) -> int | None:
    """Put an adapter for ``source`` where Keras keeps ``source`` itself, and return its ``num_batches``.

    ``frame`` is the frame of ``EpochIterator.__init__``, which reads ``num_batches`` right after it has
    stored its data adapter. The arguments that Keras does not hand to custom adapters are in that frame as
    well.
    """
    epoch_iterator = frame.f_locals.get("self")
    if not isinstance(epoch_iterator, EpochIterator) or epoch_iterator.data_adapter is not source:
        raise LoaderError(
            f"befit does not know how Keras {keras.__version__} reads its data; please report it, and pass a "
            "generator with steps_per_epoch until it does: def batches(): while True: yield from loader"
        )
    given = frame.f_locals
    for name in ("y", "sample_weight"):
        if given.get(name) is not None:
            raise ArgumentError(
                f"{name}= was passed beside a {type(source).__qualname__}; leave it out and return it as "
                "part of the batch: (x, y) or (x, y, sample_weight)"
            )
    call = _call(frame)
    class_weight = given.get("class_weight")
    adapter: StreamAdapter | LoaderAdapter
    if isinstance(source, Stream):
        adapter = StreamAdapter(source, epoch_iterator, call, class_weight=class_weight)
    else:
        adapter = LoaderAdapter(
            source if isinstance(source, Loader) else Loader(source),
            epoch_iterator,
            class_weight=class_weight,
            predict=call.method == "predict",
        )
    epoch_iterator.data_adapter = adapter
    return adapter.num_batches


def _call(frame: FrameType) -> TrainerCall:
    """Return which call to a model the ``EpochIterator`` is made for."""
    caller = frame.f_back
    while caller is not None and str(caller.f_globals.get("__name__")).startswith("keras.src."):
        here = caller.f_locals
        if caller.f_code.co_name in _METHODS and "self" in here:
            # fit keeps its own iterator in this variable, and makes the one for validation later
            is_training = caller.f_code.co_name == "fit" and "epoch_iterator" not in here
            epochs = here["epochs"] - here["initial_epoch"] if is_training else 1
            return TrainerCall(caller.f_code.co_name, here["self"], is_training, epochs)
        caller = caller.f_back
    return TrainerCall()


class LoaderAdapter(BatchAdapter):
    """The batches of a loader, for one ``EpochIterator``.

    Without ``steps_per_epoch`` an epoch of Keras is an epoch of the loader. With it, the epochs of the loader
    are one endless stream, cut into epochs of Keras of any length.
    """

    def __init__(
        self,
        loader: Loader,
        epoch_iterator: Any,
        *,
        class_weight: Mapping[int, float] | None = None,
        predict: bool = False,
    ) -> None:
        super().__init__(epoch_iterator)
        self._loader = loader
        self._endless = bool(epoch_iterator.steps_per_epoch)
        self._class_weight = class_weight
        self._predict = predict
        # A batch from this process may be a view of the sequence's own arrays, and JAX reads the memory of a
        # batch long after it was given: until then on_epoch_end may have shuffled it in place.
        self._copy = loader.engine != "processes"
        self._epoch: Any = None
        self._seen: list[Batch] | None = (
            None  # all batches of the epoch, while they may have been only looked at
        )
        self._replay: list[Batch] | None = None
        self._length()  # an empty sequence is an error now, not after the first epoch

    @property
    def num_batches(self) -> int | None:
        """The batches of an epoch; ``None`` with ``steps_per_epoch``, which then decides."""
        return None if self._endless else self._length()

    def on_epoch_begin(self) -> None:
        """Called by Keras before a pass."""
        self._end_complete_epoch()
        epoch_iterator = self._epoch_iterator()
        if epoch_iterator is not None and not self._endless:
            epoch_iterator._num_batches = self._length()  # it may have changed since the last epoch

    def on_epoch_end(self) -> None:
        """Called by Keras after a pass, and at a reset."""
        if self._is_reset():
            self._rewind()  # a reset, not the end of a pass
            return
        self._use()
        self._end_complete_epoch()

    def _length(self) -> int:
        if not len(self._loader):
            raise ArgumentError(f"{type(self._loader.sequence).__qualname__} has no batches: its len() is 0")
        rest = self._loader.remaining()
        if not rest:  # the state that was loaded was saved with the last batch of an epoch
            for _ in self._loader:
                pass
            rest = self._loader.remaining()
        return rest

    def _batches(self) -> Iterator[Any]:
        while True:
            for batch in self._one_epoch():
                yield as_keras_data(batch, self._class_weight, copy=self._copy, predict=self._predict)
            if not self._endless:
                return  # on_epoch_begin or on_epoch_end will end the epoch, when the last batch is used
            self._end_complete_epoch()

    def _one_epoch(self) -> Iterator[Batch]:
        if self._replay is None:
            if self._epoch is not None:
                self._epoch.close()
            self._epoch, self._seen = iter(self._loader), []
            self._epoch.only_looked_at = True
        else:
            replay, self._replay = self._replay, None
            yield from replay
        epoch = self._epoch
        while not epoch.all_delivered:
            batch = next(epoch)
            if self._seen is not None and len(self._seen) < LOOK:
                self._seen = [*self._seen, batch]
            else:
                self._use()
            yield batch

    def _ran_out(self) -> None:
        """Called by Keras where a batch is due and none comes."""
        self._failure.raise_it()
        epoch_iterator = self._epoch_iterator()
        if epoch_iterator is not None:
            type(epoch_iterator)._interrupted_warning(epoch_iterator)

    def _first_batches(self) -> list[Any]:
        batches = list(islice(self._batches(), min(LOOK, self._length())))
        self._rewind()
        return batches

    def _rewind(self) -> None:
        if self._epoch is None:
            return
        if self._seen is None:
            self._epoch.close()
            self._epoch = None
        else:
            self._replay = self._seen

    def _use(self) -> None:
        """Note that the batches of this epoch were more than a look at the data."""
        self._seen = None
        if self._epoch is not None:
            self._epoch.only_looked_at = False

    def _end_complete_epoch(self) -> None:
        if self._epoch is not None and self._epoch.all_delivered and self._replay is None:
            self._use()
            self._epoch.close()
            self._epoch = self._seen = self._replay = None
