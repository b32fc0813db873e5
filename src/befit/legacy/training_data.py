"""What Keras 2 took as data of its models, made data of Keras 3 models, for the time of one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import Any, Literal, TypeAlias

import numpy as np

from befit._internal.adapters import framework_of
from befit.errors import ArgumentError, BefitError
from befit.legacy.names import LOADING
from befit.loading import Loader, Sequence, Stream, as_batches

__all__ = ["Loading", "TrainingData", "kind_of", "rows_of", "steps_for", "takes_itself"]

Kind: TypeAlias = Literal["arrays", "sequence", "iterator", "other"]

_PATIENCE = 5.0  # seconds for a generator's batch in hand; its thread ends after that batch in any case
_SETTINGS = set(LOADING.values())
_IN_MEMORY = ("core", "fileobj")


@dataclass(frozen=True)
class Loading:
    """How Keras 2 read its sequences and generators."""

    workers: int = 1
    use_multiprocessing: bool = False
    max_queue_size: int = 10

    def of(self, data: Any, given: Mapping[str, Any]) -> Loading:
        """Return the settings for ``data``: those that were given, then its own, then these."""
        own = {name: getattr(data, name) for name in _SETTINGS if hasattr(data, name)}
        return replace(self, **{**own, **given})


def kind_of(data: Any) -> Kind:
    """Return what ``data`` is; ``"other"``: something that Keras or befit reads in its own way."""
    if isinstance(data, (Loader, Stream)):
        return "other"
    if data is None or isinstance(data, (list, tuple, Mapping, str, bytes)):
        return "arrays"
    if hasattr(data, "__array__") or hasattr(data, "shape"):
        return "arrays"
    if hasattr(data, "__next__"):
        return "iterator"
    is_numbered = hasattr(data, "__len__") and hasattr(data, "__getitem__")
    return "sequence" if is_numbered and not type(data).__module__.startswith("grain.") else "other"


def takes_itself(data: Any) -> bool:
    """Return whether Keras 3, with befit installed, takes ``data`` as Keras 2 did."""
    kind = kind_of(data)
    if kind == "iterator":
        return isinstance(data, GeneratorType)
    if kind == "sequence":
        is_befits = isinstance(data, Sequence) and not any(hasattr(data, name) for name in _SETTINGS)
        return is_befits or framework_of(data) == "keras"
    return True


class TrainingData(ExitStack):
    """Makes data, and ends with the call what reads them: threads, processes, files.

    Args:
        hint: Is told what to write today.
    """

    def __init__(self, hint: Callable[[str], None]) -> None:
        super().__init__()
        self._hint = hint

    def batches(self, data: Any, loading: Loading, *, shuffle: bool = False) -> Any:
        """Return a ``Loader`` or ``Stream`` for a sequence or an iterator, and anything else as it is."""
        kind = kind_of(data)
        if kind not in ("sequence", "iterator"):
            return data
        if kind == "iterator" and loading.use_multiprocessing:
            self._hint(
                "use_multiprocessing=True has no effect on a generator, which one thread reads; make it a "
                "befit.Sequence for workers"
            )
        batches = as_batches(
            data,
            workers=loading.workers,
            engine="processes" if loading.use_multiprocessing else "auto",
            prefetch=max(1, loading.max_queue_size),
            shuffle=shuffle,
        )
        if isinstance(batches, Stream):
            self.callback(batches.close, _PATIENCE)
        else:
            self.callback(batches.close)
        return batches

    def matrices(self, data: Any) -> Any:
        """Return ``data`` with an ``HDF5Matrix`` for each ``h5py.Dataset``; the same, if there is none."""
        if type(data) in (list, tuple):
            parts = [self.matrices(part) for part in data]
            return data if all(map(_is, parts, data)) else type(data)(parts)
        if type(data) is dict:
            values = {key: self.matrices(part) for key, part in data.items()}
            return data if all(map(_is, values.values(), data.values())) else values
        if _is_dataset(data):
            return self._matrix(data)
        return data

    def _matrix(self, dataset: Any) -> Any:
        file = dataset.file
        if file.driver in _IN_MEMORY or file.mode != "r":
            where = "in memory" if file.driver in _IN_MEMORY else f"open with mode {file.mode!r}"
            return _whole(dataset, f"its file is {where}; open the file with mode 'r'")
        from befit.hdf5 import HDF5Matrix  # the room imports h5py, which is there by now

        try:
            matrix = HDF5Matrix(file.filename, dataset.name)
        except BefitError as error:
            return _whole(dataset, str(error))
        self.callback(matrix.close)
        self._hint(f"an h5py.Dataset is loaded whole today; write: HDF5Matrix(path, {dataset.name!r})")
        return matrix


def rows_of(batch: Any) -> int:
    """Return the number of samples in a batch: of its first array."""
    while isinstance(batch, (list, tuple, Mapping)):
        parts = list(batch.values()) if isinstance(batch, Mapping) else batch
        if not len(parts):
            break
        if np.isscalar(parts[0]):
            return len(parts)
        batch = parts[0]
    shape = np.shape(batch)
    if not shape or not shape[0]:
        raise ArgumentError("the first batch has no rows, so samples cannot be counted in batches")
    return int(shape[0])


def steps_for(samples: int, batches: Any) -> int:
    """Return how many batches hold ``samples``, going by the first one, which stays to be used."""
    if isinstance(batches, Stream):
        first = batches.peek()[0]
    elif isinstance(batches, Loader):
        first = batches.sequence[0]
    else:
        first = next(iter(batches))
    return -(-int(samples) // rows_of(first))


def _is(one: Any, other: Any) -> bool:
    return one is other


def _is_dataset(data: Any) -> bool:
    return type(data).__name__ == "Dataset" and type(data).__module__.partition(".")[0] == "h5py"


def _whole(dataset: Any, reason: str) -> Any:
    warnings.warn(
        f"the h5py.Dataset {dataset.name} is loaded whole, not a batch at a time: {reason}", stacklevel=2
    )
    return dataset
