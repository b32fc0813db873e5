"""Segments: large arrays of the source in shared memory, written once, mapped by every worker.

A worker maps them so that what it writes stays its own.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import pickle
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import numpy as np

from befit._internal.memory import Descriptor, Memory, create, same_bytes
from befit._internal.pickling import Reducer, dumps, spelled, tensor_reducers
from befit.loading.slots import aligned
from befit.typing import Array

if TYPE_CHECKING:
    from befit.loading.transport import Message

LARGE = 64 * 1024  # bytes; a smaller array travels in the pickle

_numbers = itertools.count(1)


class Segment:
    """The large arrays of one attribute, one after the other in shared memory."""

    def __init__(self, arrays: list[Array]) -> None:
        self.number = next(_numbers)
        self._sizes = [array.nbytes for array in arrays]
        self.offsets = _offsets(self._sizes)
        self.nbytes = self.offsets[-1] + self._sizes[-1]
        self.descriptor: Descriptor = create(self.nbytes)
        self._memory = Memory(self.descriptor, self.nbytes)
        for array, offset in zip(arrays, self.offsets, strict=True):
            ctypes.memmove(self._memory.address + offset, array.ctypes.data, array.nbytes)

    def holds(self, arrays: list[Array]) -> bool:
        """Whether these arrays, as they are now, are what was written."""
        return [array.nbytes for array in arrays] == self._sizes and all(
            same_bytes(self._memory.address + offset, array.ctypes.data, array.nbytes)
            for array, offset in zip(arrays, self.offsets, strict=True)
        )


def _offsets(sizes: list[int]) -> list[int]:
    offsets, end = [], 0
    for size in sizes:
        offsets.append(aligned(end))
        end = offsets[-1] + size
    return offsets


class SegmentTable:
    """The segments of a source, and which array of the source is where."""

    def __init__(self) -> None:
        self._segments: dict[str, Segment] = {}
        self._places: dict[tuple[int, int], tuple[int, int]] = {}
        self._kept: list[Array] = []

    @property
    def segments(self) -> list[Segment]:
        """The segments that the source needs now."""
        return list(self._segments.values())

    def dumps(self, name: str, value: Any) -> tuple[bytes, int]:
        """Return the pickle of attribute ``name`` without its large arrays, and the segment that they are in.

        The arrays are compared with those of the last time, and written only if they differ.
        """
        arrays: list[Array] = []

        def share(array: Array) -> tuple[int, int] | None:
            arrays.append(array)
            return 0, len(arrays)

        pickled = _dumps(value, share)
        if not arrays:
            self._segments.pop(name, None)
            return pickled, 0
        segment = self._segments.get(name)
        if segment is None or not segment.holds(arrays):
            segment = self._segments[name] = Segment(arrays)
        for array, offset in zip(arrays, segment.offsets, strict=True):
            self._places[_place(array)] = (segment.number, offset)
        self._kept += arrays  # so that no other array can come to stand in their place
        return pickled, segment.number

    def dumps_placed(self, value: Any) -> bytes:
        """Return the pickle of ``value``; the arrays that ``dumps`` has seen are referred to."""
        return _dumps(value, lambda array: self._places.get(_place(array)))

    def settle(self, names: Container[str]) -> None:
        """Forget the segments of other attributes than ``names``; let go of the arrays, which may change."""
        self._segments = {name: segment for name, segment in self._segments.items() if name in names}
        self._places.clear()
        self._kept.clear()


def _place(array: Array) -> tuple[int, int]:
    return array.ctypes.data, array.nbytes


def _dumps(value: Any, share: Any) -> bytes:
    def reduce_array(array: Array) -> Any:
        if array.nbytes >= LARGE and not array.dtype.hasobject and array.flags.forc:
            fortran = not array.flags.c_contiguous
            place = share(array.T if fortran else array)
            if place is not None:
                order = "F" if fortran else "C"
                return _shared_array, (
                    *place,
                    array.shape,
                    spelled(array.dtype),
                    order,
                    array.flags.writeable,
                )
        return array.__reduce_ex__(5)

    reducers: dict[type, Reducer] = {
        **tensor_reducers(),
        np.ndarray: reduce_array,
        np.memmap: lambda mapped: _reduce_mapped(mapped, reduce_array),
    }
    return dumps(value, reducers)


def _reduce_mapped(mapped: np.memmap[Any, Any], otherwise: Any) -> Any:
    """Return a mapped file as its name: the worker maps it too, and nothing is read."""
    source: Any = mapped
    while isinstance(source.base, np.ndarray):
        source = source.base
    name = getattr(mapped, "filename", None)
    # What was written to a private mapping is in no file.
    if (
        not isinstance(source, np.memmap)
        or name is None
        or source.mode == "c"
        or not mapped.flags.c_contiguous
    ):
        return otherwise(np.asarray(mapped))
    offset = source.offset + mapped.ctypes.data - source.ctypes.data
    mode = "r" if source.mode == "r" else "r+"
    return _mapped_again, (os.fspath(name), mode, offset, mapped.shape, spelled(mapped.dtype))


def _mapped_again(name: str, mode: Any, offset: int, shape: tuple[int, ...], dtype: Any) -> Any:
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.memmap(name, dtype, mode, offset, shape)


_of_this_worker: dict[int, Memory] = {}


def _shared_array(
    segment: int, offset: int, shape: tuple[int, ...], dtype: Any, order: Any, writeable: bool
) -> Array:
    memory = _of_this_worker.get(segment)
    if memory is None:  # of an attribute that has changed since, and is about to be replaced
        return np.broadcast_to(np.zeros((), dtype), shape)
    array: Array = np.ndarray(shape, dtype, memory.lease(), offset, None, order)
    array.flags.writeable = writeable
    return array


def add_segment(message: Message) -> None:
    """Map, in a worker, a segment that was sent along with ``message``.

    Raises:
        OSError: this process has no descriptor, or no room, for it.
    """
    number, nbytes = pickle.loads(message.parts[0])
    if message.descriptor is None:
        raise OSError("this process has no room for another open file; raise the limit (ulimit -n)")
    _of_this_worker[number] = Memory(message.descriptor, nbytes, private=True)


def forget_segments(needed: Container[int]) -> None:
    """Forget, in a worker, all segments but those that are needed; arrays in use keep their memory."""
    for number in [number for number in _of_this_worker if number not in needed]:
        del _of_this_worker[number]
