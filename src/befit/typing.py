"""The names of befit's contracts: what a batch, a source of batches or a reader of models has to offer.

A contract is a ``Protocol``: satisfy its shape, inherit nothing. Each has a test kit in ``befit.testing``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

if TYPE_CHECKING:
    from befit.graph.model_graph import ModelGraph

__all__ = [
    "Array",
    "ArrayAdapter",
    "Batch",
    "BatchSource",
    "CustomObjects",
    "GraphReader",
    "LoadEngine",
    "LoadResult",
    "LoadTask",
    "Normalizer",
    "PrintFunction",
]

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array of any dtype."""

Batch: TypeAlias = Any
"""One batch: an array, or a nesting of tuples, lists and dicts of arrays whose first axis counts samples."""

CustomObjects: TypeAlias = Mapping[str, Any]
"""Names and the objects they stand for."""

Normalizer: TypeAlias = Callable[[Any], Any]
"""Called on every slice of data that is read."""

PrintFunction: TypeAlias = Callable[[str], object]
"""Called once for every line of a summary, without a newline."""


@runtime_checkable
class BatchSource(Protocol):
    """Batches by number: what ``Loader`` takes and ``Sequence`` and ``HDF5Matrix.batches`` are.

    A source may also have ``on_epoch_end()``; it is called once an epoch, after the last batch was delivered.
    """

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""

    def __getitem__(self, index: int, /) -> Batch:
        """Return batch number ``index``, ``0 <= index < len(self)``."""


class LoadTask(NamedTuple):
    """One batch that an engine has to compute."""

    ticket: int
    """The name of the task; no two tasks of a loader have the same."""
    batch_index: int
    """The batch: the argument of ``source[batch_index]``."""
    seed: tuple[int, int] | None = None
    """Seed and epoch that, with the index, decide every random number of the batch; ``None``: unseeded."""


class LoadResult(NamedTuple):
    """What became of a task: a batch, or the error that came instead."""

    ticket: int
    batch: Batch
    error: BaseException | None = None
    seconds: float = 0.0
    """What ``source[batch_index]`` took, wherever it ran."""
    nbytes: int = 0
    """Bytes that travelled to bring the batch here; 0 where nothing had to."""
    cpu_seconds: float | None = None
    """The part of ``seconds`` in which the worker had a processor; ``None``: not measured."""
    worker_died: bool = False
    """Whether ``error`` says that the worker ended in the middle of the task."""


class LoadEngine(Protocol):
    """Computes batches for a ``Loader``, wherever it likes and in any order.

    The loader calls it from one thread at a time: ``start``, then ``submit`` and ``next_ready``, and
    ``start`` again for the next epoch. Results of an epoch that was abandoned may still come; the loader
    knows them by their tickets.
    """

    stretch: int
    """How many times ``prefetch`` may be ahead: 1, or more while batches are so small and quick that the
    messages about them cost more than they do. May change at any time."""

    def start(self, source: BatchSource) -> None:
        """Compute from ``source`` as it is now; called at the beginning of every epoch."""

    def submit(self, task: LoadTask) -> None:
        """Accept a task without waiting for it."""

    def next_ready(self, timeout: float | None) -> LoadResult:
        """Wait for any task to be done; exceptions of ``source`` are results, not raised.

        A task whose worker died comes back with a ``WorkerDiedError`` and ``worker_died`` set.

        Raises:
            TimeoutError: nothing was done within ``timeout`` seconds.
        """

    def close(self) -> None:
        """End all workers, also hung ones; a second call does nothing."""


class ArrayAdapter(Protocol):
    """How the arrays of one framework come to NumPy and back, and what is computed by the framework itself.

    A module ``integrations/<framework>/arrays.py``. What is traced, recorded for a gradient or not in main
    memory stays with the framework; NumPy does the rest.
    """

    def is_tensor(self, obj: object) -> bool:
        """Return whether ``obj``, whose class comes from the framework, is an array of it."""

    def has_values(self, tensor: Any) -> bool:
        """Return whether ``tensor`` has values now; it has none while the framework traces."""

    def on_host(self, tensor: Any) -> bool:
        """Return whether NumPy may compute the result: values in main memory, no gradient recorded."""

    def to_host(self, tensor: Any) -> Array:
        """Return the values of ``tensor`` as a NumPy array, without a copy where the framework allows."""

    def from_host(self, array: Array, like: Any) -> Any:
        """Return ``array`` as a tensor on the device of ``like``; the two may share memory."""

    def writable_view(self, tensor: Any) -> Array | None:
        """Return an array in the memory of ``tensor``; ``None`` where that cannot be written to."""

    def one_hot(self, labels: Any, num_classes: int, dtype: str) -> Any:
        """Return ``labels`` one-hot along a new last axis.

        Labels that have values were checked before. One without a class gives a row of NaN, of zeros where
        ``dtype`` has no NaN, or an error when the graph runs.
        """

    def argmax(self, tensor: Any) -> Any:
        """Return the index of the largest value along the last axis, as the framework's default integer."""

    def normalize(self, tensor: Any, axes: tuple[int, ...], order: float) -> Any:
        """Return ``tensor`` divided by its norm over ``axes``, as ``befit.normalize`` describes it."""


class GraphReader(Protocol):
    """Reads the models of one framework (a module ``integrations/<framework>/graph.py``)."""

    def read_graph(self, model: Any, inputs: Any = None) -> ModelGraph:
        """Return the graph of ``model``; ``inputs`` is an example input, where shapes are not known else."""
