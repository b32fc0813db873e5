"""The names of befit's contracts: what a batch, a source of batches or a reader of models has to offer.

A contract is a ``Protocol``: satisfy its shape, inherit nothing. Each has a test kit in ``befit.testing``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

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


class ArrayAdapter(Protocol):
    """How a framework's arrays come to NumPy and back (a module ``integrations/<framework>/arrays.py``)."""

    def to_host(self, tensor: Any) -> Array:
        """Return the values of ``tensor`` as a NumPy array, without a copy where the framework allows."""

    def from_host(self, array: Array, like: Any) -> Any:
        """Return ``array`` as a tensor of the framework, on the device of ``like``."""


class GraphReader(Protocol):
    """Reads the models of one framework (a module ``integrations/<framework>/graph.py``)."""

    def read_graph(self, model: Any, inputs: Any = None) -> ModelGraph:
        """Return the graph of ``model``; ``inputs`` is an example input, where shapes are not known else."""
