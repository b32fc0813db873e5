"""Matrices as data of Keras 3 models: read a batch at a time, on every backend.

Keras' own ``ArrayDataAdapter`` checks the arguments of ``fit``, ``evaluate`` and ``predict`` and counts their
batches. While it is made it asks of which kind its arrays are; one that has a matrix among them becomes a
``MatrixAdapter`` then, which reads the batches of each pass in another way and changes nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from types import CodeType, FrameType
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import tree
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

from befit.hdf5 import HDF5Matrix
from befit.hdf5.order import EpochOrder, Rows, checked_shuffle
from befit.loading import Loader
from befit.typing import Array, Batch

__all__ = ["MatrixAdapter", "introduce", "splits"]

_Order: TypeAlias = list[slice] | list[Array] | EpochOrder

_MAKES_ADAPTER = ArrayDataAdapter.__init__.__code__
_SPLITS = array_slicing.train_validation_split.__code__
_LOADS_WHOLE = "convert_single_array"
_NEAR = 16  # frames; Keras asks about arrays from inside its walks over nested structures

# Batches that are read while the model works on one: by one thread, since decoding leaves the interpreter's
# lock, and the normalizer may be nothing for two at a time.
_AHEAD = 2


def introduce(matrix: Any, frame: FrameType) -> type:
    """Return the class that ``matrix`` has for Keras, whose function in ``frame`` asks.

    An adapter that is being made there is made a ``MatrixAdapter``.
    """
    adapter_frame = _caller(frame, _MAKES_ADAPTER)
    if adapter_frame is not None:
        adapter = adapter_frame.f_locals["self"]
        if type(adapter) is ArrayDataAdapter:
            adapter.__class__ = MatrixAdapter
    elif splits(frame):
        return np.ndarray  # anything else is loaded before it is split
    elif frame.f_code.co_name == _LOADS_WHOLE:
        warnings.warn(
            f"befit does not know how Keras {keras.__version__} reads arrays, and {matrix!r} is loaded "
            "whole; please report it, and pass Loader(matrix.batches(y)) to the model until it does",
            stacklevel=3,
        )
    return type(matrix)


def splits(frame: FrameType) -> bool:
    """Return whether the function in ``frame`` works for ``validation_split``."""
    return _caller(frame, _SPLITS) is not None


def _caller(frame: FrameType | None, code: CodeType) -> FrameType | None:
    for _ in range(_NEAR):
        if frame is None or frame.f_code is code:
            return frame
        frame = frame.f_back
    return None


class MatrixAdapter(ArrayDataAdapter):
    """Keras' adapter for arrays, some of which are matrices.

    Each pass has an order of its own, drawn from NumPy's global generator, as Keras draws it on JAX. ``True``
    shuffles all rows; ``"batch"`` whole batches, as Keras 2 had it for HDF5; ``"chunks"`` the rows of some
    chunks of the first matrix at a time, as ``HDF5Matrix.batches`` does.
    """

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Return an iterator over batches of NumPy arrays."""
        return self._batches("numpy")

    def get_jax_iterator(self) -> Iterator[Any]:
        """Return an iterator over batches that JAX takes."""
        return self._batches("jax")

    def get_torch_dataloader(self) -> Any:
        """Return a ``torch.utils.data.DataLoader`` over batches of tensors."""
        return data_adapter_utils.get_torch_dataloader(self._batches("torch"))

    def get_tf_dataset(self) -> Any:
        """Return a ``tf.data.Dataset`` of batches; each iteration over it is a pass."""
        import tensorflow as tf

        first_row = tree.lists_to_tuples(_BatchesByNumber(self._inputs, [slice(0, 1)], "numpy")[0])
        signature = tree.map_structure(_tf_spec, first_row)

        def batches() -> Iterator[Any]:
            for batch in self._batches("numpy"):
                yield tree.map_structure(_tf_value, tree.lists_to_tuples(batch))

        dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
        options = tf.data.Options()
        # Batches are read ahead already. If tf.data did it too, it would begin passes that nobody asks for,
        # and nobody could say when orders are drawn.
        options.autotune.enabled = False
        options.experimental_optimization.inject_prefetch = False
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
        return dataset.with_options(options)

    def _batches(self, backend: str) -> Iterator[Any]:
        """Yield the batches of one pass; nothing is drawn or read before the first is asked for."""
        source = _BatchesByNumber(self._inputs, self._order(), backend)
        with Loader(source, workers=1, prefetch=_AHEAD) as loader:
            yield from loader

    def _order(self) -> _Order:
        """Return the rows of each batch of a pass."""
        shuffle, samples, size = self._shuffle, self._num_samples, self._batch_size
        if isinstance(shuffle, str):
            shuffle = checked_shuffle(shuffle)
        if shuffle == "chunks":
            matrix = _first_matrix(self._inputs)
            return matrix.epoch_order(size, shuffle, int(np.random.randint(1 << 31)), 0)
        starts = range(0, samples, size)
        if shuffle and shuffle != "batch":
            order = np.random.permutation(samples)
            return [order[start : start + size] for start in starts]
        batches = [slice(start, min(start + size, samples)) for start in starts]
        if shuffle:
            full = samples // size  # a batch that is not full stays the last
            batches[:full] = [batches[number] for number in np.random.permutation(full)]
        return batches


class _BatchesByNumber:
    """The batches of one pass over arrays and matrices, in a form that ``backend`` takes."""

    def __init__(self, inputs: Any, order: _Order, backend: str) -> None:
        self._backend = backend
        self._order = order
        self._inputs = tree.map_structure(self._prepared, inputs, none_is_leaf=False)
        self._first_matrix = _first_matrix(inputs)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Batch:
        batch = self._order[index]
        rows = np.asarray(batch.rows) - self._first_matrix.start if isinstance(batch, Rows) else batch
        return tree.map_structure(partial(self._taken, batch, rows), self._inputs, none_is_leaf=False)

    def _prepared(self, leaf: Any) -> Any:
        return leaf if isinstance(leaf, HDF5Matrix) else self._sliceable(leaf)

    def _taken(self, batch: slice | Array | Rows, rows: slice | Array, leaf: Any) -> Any:
        if isinstance(leaf, HDF5Matrix):
            if isinstance(batch, Rows) and leaf is self._first_matrix:
                read = leaf.read_rows(batch)
            else:
                read = leaf[rows]
            leaf = self._sliceable(read)  # casts and converts, as Keras does with arrays
            taken = leaf.array
        else:
            taken = leaf[rows]
        if self._backend == "jax":
            return leaf.convert_to_jax_compatible(taken)
        if self._backend == "torch":
            return leaf.convert_to_torch_compatible(taken)
        return leaf.convert_to_numpy(taken)

    def _sliceable(self, array: Any) -> Any:
        return array_slicing.convert_to_sliceable(array, target_backend=self._backend)


def _first_matrix(inputs: Any) -> HDF5Matrix:
    return next(leaf for leaf in tree.flatten(inputs) if isinstance(leaf, HDF5Matrix))


def _tf_spec(rows: Any) -> Any:
    import tensorflow as tf

    if rows is None:
        return tf.OptionalSpec(None)
    tensor = tf.convert_to_tensor(rows)
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)


def _tf_value(rows: Any) -> Any:
    import tensorflow as tf

    return tf.experimental.Optional.empty(None) if rows is None else rows
