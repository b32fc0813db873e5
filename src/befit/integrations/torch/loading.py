"""A loader as a torch dataset: complete batches, in tensors that share the arrays' memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from befit.errors import ArgumentError
from befit.loading import Loader


class LoaderDataset(IterableDataset):
    """The epochs of a loader; give it to ``DataLoader(dataset, batch_size=None)``."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise ArgumentError(
                "torch's DataLoader would load every batch once in each of its workers; write num_workers=0, "
                "and befit.Loader(..., workers=...) for workers"
            )
        for batch in self.loader:
            yield as_tensors(batch)


def as_tensors(value: Any) -> Any:
    """Return ``value`` with its arrays as tensors; what torch has no dtype for stays as it is."""
    if isinstance(value, np.ndarray):
        return _as_tensor(value)
    if isinstance(value, Mapping):
        return {key: as_tensors(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(as_tensors, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(as_tensors, value))
    return value


def _as_tensor(array: np.ndarray[Any, Any]) -> Any:
    native = array.dtype.newbyteorder("=")
    strided_backwards = any(stride < 0 for stride in array.strides)
    if array.dtype != native or strided_backwards or not array.flags.writeable:
        array = array.astype(native, order="C", copy=True)  # torch takes none of these
    try:
        return torch.from_numpy(array)
    except TypeError:
        return array  # objects, strings
