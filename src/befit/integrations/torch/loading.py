"""A loader as a torch dataset, in tensors that share the arrays' memory; and its batches on a device."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading import Loader


class LoaderDataset(IterableDataset):
    """The epochs of a loader; give it to ``DataLoader(dataset, batch_size=None)``."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        refuse_worker()
        for batch in self.loader:
            yield as_tensors(batch)


def accept(loader_class: type) -> None:
    """Make instances of ``loader_class`` an ``IterableDataset`` to torch, without inheritance.

    ``DataLoader`` asks ``isinstance(dataset, IterableDataset)``, whose metaclass is ``abc.ABCMeta``. A second
    call does nothing.
    """
    IterableDataset.register(loader_class)


def refuse_worker(made_in: int | None = None) -> None:
    """Raise where torch would repeat every batch: in a worker process of a ``DataLoader``.

    ``made_in`` is the process that made the loader; in a worker that made its own, nothing is repeated.
    """
    if get_worker_info() is not None and made_in != os.getpid():
        raise ArgumentError(
            "torch's DataLoader would load every batch once in each of its workers; write num_workers=0, and "
            "befit.Loader(..., workers=...) for workers"
        )


def as_tensors(value: Any) -> Any:
    """Return ``value`` with its arrays as tensors; what torch has no dtype for stays as it is."""
    return _map_leaves(_as_tensor, value)


def _map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [_map_leaves(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return function(value)


def _as_tensor(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    array = np.asarray(value)
    native = array.dtype.newbyteorder("=")
    strided_backwards = any(stride < 0 for stride in array.strides)
    if array.dtype != native or strided_backwards or not array.flags.writeable:
        array = array.astype(native, order="C", copy=True)  # torch takes none of these
    try:
        return torch.from_numpy(array)
    except TypeError:
        return value  # objects, strings


def checked_place(target: Any) -> torch.device:
    """Return the device that ``target`` is or names; ``None``: torch's default device."""
    if target is None:
        return torch.get_default_device()
    if not isinstance(target, (str, torch.device)):
        raise UnsupportedObjectError(
            f"target is {target!r}; torch takes one device for a batch: write a torch.device or its name"
        )
    try:
        device = torch.device(target)
    except RuntimeError as error:
        raise ArgumentError(f"target is {target!r}, no device of torch: {error}") from error
    if device.type != "cuda":
        return device
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise ArgumentError(
            f"target is {target!r}, and torch has {count} CUDA devices; write another, or 'cpu'"
        )
    # A stream belongs to one device, so "cuda" is pinned down here.
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


class Transfers:
    """Batches on a device of torch (contract ``befit.loading.prefetch.Transfers``).

    CUDA: each batch is copied into page-locked memory, and from there to the device on a stream of its own,
    beside the computation. Who takes the batch lets the current stream wait for that copy; its tensors are
    marked as used there, or the allocator would give their memory to the next copy while the step still reads
    it. The page-locked memory is kept until its copy is over.
    """

    def __init__(self, place: torch.device, private: bool) -> None:
        self._device = place
        self._private = private
        self._stream = torch.cuda.Stream(place) if place.type == "cuda" else None
        self._in_flight: deque[tuple[Any, Any]] = deque()  # event of a copy, what it reads

    def begin(self, batch: Any) -> Any:
        """Return the tensors on the device, and the event that tells that they are there."""
        tensors = as_tensors(batch)
        if self._stream is None:
            return _map_tensors(self._copied, tensors), None
        locked = _map_tensors(self._locked, tensors)
        with torch.cuda.stream(self._stream):
            moved = _map_tensors(lambda tensor: tensor.to(self._device, non_blocking=True), locked)
            event = self._stream.record_event()
        while self._in_flight and self._in_flight[0][0].query():
            self._in_flight.popleft()
        self._in_flight.append((event, locked))
        return moved, event

    def finish(self, begun: Any) -> Any:
        """Return the tensors; the current stream waits for them, the caller does not."""
        tensors, event = begun
        if event is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(event)
            _map_tensors(lambda tensor: tensor.record_stream(current), tensors)
        return tensors

    def close(self) -> None:
        """Wait for copies that nobody waited for, and let their page-locked memory go."""
        for event, _ in self._in_flight:
            event.synchronize()
        self._in_flight.clear()

    def _locked(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            return tensor.to(self._device)  # on the stream that made it
        return torch.empty_like(tensor, pin_memory=True).copy_(tensor)

    def _copied(self, tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.to(self._device)
        if moved is tensor and not self._private:
            return tensor.clone()  # the batch may be a view of what the sequence overwrites
        return moved


def _map_tensors(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    return _map_leaves(lambda leaf: function(leaf) if isinstance(leaf, torch.Tensor) else leaf, value)
