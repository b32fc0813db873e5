"""Where a worker builds its batches, and how they get into a slot: with one copy, or with none."""

from __future__ import annotations

import ctypes
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from befit._internal.memory import Lease
from befit._internal.pickling import Pickled
from befit.loading.slots import Slot, SlotPool, aligned
from befit.typing import Array

_BLOCK = 512 * 1024  # bytes
INLINE = 48 * 1024  # bytes; smaller batches go through the socket, in one piece

# Of the batch in work. One a process and no context variable, so that threads of __getitem__ see it too.
_workspace: Workspace | None = None


def empty(shape: int | tuple[int, ...], dtype: npt.DTypeLike = float) -> Array:
    """Return a new array, not initialized, for a batch to be built in.

    In ``__getitem__`` in a worker process its memory is the memory that the batch travels in, so a batch that
    is written there is not copied again. Anywhere else it is ``numpy.empty``. What is allocated and not
    returned costs room, nothing else; what is kept after the return is safe, and costs a copy.

    Args:
        shape: The shape of the array, for example ``(batch, height, width, channels)``.
        dtype: Its dtype.

    Returns:
        An array of arbitrary values, C-contiguous.

    Example:
        >>> import numpy as np
        >>> from befit import Sequence
        >>> from befit.loading import empty
        >>> class Pictures(Sequence):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, idx):
        ...         batch = empty((32, 28, 28), np.uint8)
        ...         batch[:] = idx  # np.copyto, cv2.imdecode, file.readinto … straight into the batch
        ...         return batch
        >>> Pictures()[2].shape
        (32, 28, 28)
    """
    if _workspace is None:
        return np.empty(shape, dtype)
    return _workspace.allocate(shape, np.dtype(dtype))


class Workspace:
    """The memory for one batch, from the call of ``__getitem__`` until the batch is in a slot.

    A context manager: inside of it, ``empty`` takes from this slot.

    Args:
        pool: Where slots come from.
        expected: Bytes that the batch before took; the slot is at least as large.
    """

    def __init__(self, pool: SlotPool, expected: int) -> None:
        self._pool = pool
        self._expected = expected
        self._slot: Slot | None = None
        self._lease: Lease | None = None
        self._used = 0  # bytes of the slot that were handed out
        self._asked = 0  # bytes that were asked for, also in vain
        self._lock = threading.Lock()

    def __enter__(self) -> Workspace:
        global _workspace
        _workspace = self
        return self

    def __exit__(self, *_: object) -> None:
        global _workspace
        _workspace = None

    def allocate(self, shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array in the slot, or an ordinary one where it has no room."""
        array = np.empty(shape, dtype)  # checks the arguments; its memory is not touched, so costs nothing
        if dtype.hasobject or not array.nbytes:
            return array
        with self._lock:
            self._asked = aligned(self._asked) + array.nbytes
            if self._slot is None:
                if max(self._expected, self._asked) <= INLINE:
                    return array
                try:
                    self._slot = self._pool.take(max(self._expected, array.nbytes))
                except OSError:
                    return array
                self._lease = self._slot.memory.lease()
            place = aligned(self._used)
            if place + array.nbytes > self._slot.memory.nbytes:
                return array  # the next slot will be large enough
            self._used = place + array.nbytes
            return np.ndarray(array.shape, dtype, self._lease, place)

    def discard(self) -> None:
        """Give up the batch."""
        if self._slot is not None:
            self._pool.put_back(self._slot, self._lease)
            self._slot = self._lease = None

    def fill(self, pickled: Pickled) -> Filled | None:
        """Put a batch into a slot; ``None``: it is small and should go as it is.

        ``pickled.arrays`` is emptied: nothing here may refer to the slot when it is asked whether anybody
        else does. So the caller must not hold the batch either.

        Raises:
            OSError: there is no memory for a slot.
        """
        places, copies, end = self._plan(pickled)
        if self._slot is None and end <= INLINE:
            return None
        slot = self._slot_for(end)
        lease = slot.memory.lease()
        _write_all(copies, lease)
        pickle_place, pickle_size = places[-1]
        # Not the ctypes array itself, which would take the bytes one by one.
        memoryview(lease).cast("B")[pickle_place : pickle_place + pickle_size] = pickled.pickle
        copies.clear()
        pickled.arrays.clear()
        return Filled(*self._exclusive(slot, end), places, max(end, self._asked))

    def _plan(self, pickled: Pickled) -> tuple[list[tuple[int, int]], list[tuple[Array, int]], int]:
        """Return the place and size of each array and the pickle, what must be copied where, and the end."""
        places: list[tuple[int, int]] = []
        copies: list[tuple[Array, int]] = []
        start = 0 if self._slot is None else self._slot.memory.address
        end = self._used
        for array in pickled.arrays:
            if self._used and array.flags.c_contiguous:
                place = array.ctypes.data - start
                if 0 <= place < self._used:
                    places.append((place, array.nbytes))
                    continue
            end = aligned(end)
            places.append((end, array.nbytes))
            copies.append((array, end))
            end += array.nbytes
        places.append((end, len(pickled.pickle)))
        return places, copies, end + len(pickled.pickle)

    def _slot_for(self, nbytes: int) -> Slot:
        """Return this slot if it is large enough, else another with the same content so far."""
        slot = self._slot
        if slot is not None and slot.memory.nbytes >= nbytes:
            return slot
        larger = self._pool.take(nbytes)
        if slot is not None:
            ctypes.memmove(larger.memory.address, slot.memory.address, self._used)
            self.discard()
        return larger

    def _exclusive(self, slot: Slot, nbytes: int) -> tuple[Slot | None, memoryview]:
        """Return ``slot``, or a copy if arrays in it were kept by the code that built the batch."""
        if slot is not self._slot:
            return slot, slot.view()
        assert self._lease is not None
        kept, self._lease = weakref.ref(self._lease), None
        self._slot = None
        lease = kept()
        if lease is None:
            return slot, slot.view()
        self._pool.put_back(slot, lease)
        try:
            copy = self._pool.take(nbytes)
        except OSError:
            return None, memoryview(bytes(lease))
        ctypes.memmove(copy.memory.address, slot.memory.address, nbytes)
        return copy, copy.view()


def _write_all(copies: list[tuple[Array, int]], lease: Lease) -> None:
    # A function of its own, whose variables do not go on referring to the last array.
    for array, place in copies:
        _write(array, lease, place)


def _write(array: Array, lease: Lease, place: int) -> None:
    if not array.flags.c_contiguous:
        np.copyto(np.ndarray(array.shape, array.dtype, lease, place), array)
        return
    # In blocks: beyond the size of a cache the C library writes past it, which takes a fifth longer when
    # another worker, or the consumer, uses the memory at the same time.
    flat = array.reshape(-1).view(np.uint8) if array.nbytes else array.reshape(-1)
    target: Array = np.ndarray(array.nbytes, np.uint8, lease, place)
    for start in range(0, array.nbytes, _BLOCK):
        target[start : start + _BLOCK] = flat[start : start + _BLOCK]


class Filled(NamedTuple):
    """A batch in one piece."""

    slot: Slot | None
    """The slot that it is in; ``None``: there was no memory for one."""
    data: memoryview
    places: list[tuple[int, int]]
    """Offset and size in bytes of each array, in order, and of the pickle."""
    nbytes: int
    """What the next batch probably takes."""

    def parts(self) -> list[bytes]:
        """Return the pickle and the arrays one by one, to be sent through the socket."""
        *arrays, pickled = [bytes(self.data[place : place + size]) for place, size in self.places]
        return [pickled, *arrays]
