"""The messages about batches: orders to compute them, and the batches, as bytes or as places in a slot."""

from __future__ import annotations

import struct
import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from befit._internal.memory import Descriptor, Memory
from befit.loading.transport import Message

# Seconds of work, seconds of those with a core, slot, its bytes if it is new, number of slots to forget.
_META = struct.Struct("<ddqQI")
_NO_SLOT = -1


class Order(NamedTuple):
    """What a task message says to a worker."""

    tasks: list[tuple[int, int, tuple[int, int] | None, bool]]
    """For each task: ticket, batch index, seed, and whether the loader has no room for another slot."""
    released: list[int]
    """Slots that the worker has back."""
    lost: list[int]
    """Slots that the loader could not map."""


class Arrived(NamedTuple):
    """What a batch message says; its parts are decoded by ``SlotViews.open``."""

    seconds: float
    cpu_seconds: float
    slot: int
    new_nbytes: int
    """The size of a slot that is sent along for the first time; 0 otherwise."""
    places: list[tuple[int, int]]
    parts: list[memoryview]

    @property
    def in_slot(self) -> bool:
        """Whether the batch is in a slot, not in the message."""
        return self.slot != _NO_SLOT

    @property
    def nbytes(self) -> int:
        """The size of the batch."""
        return sum(size for _, size in self.places) or sum(part.nbytes for part in self.parts)


def meta(
    times: tuple[float, float],
    dropped: list[int],
    slot: int = _NO_SLOT,
    new_nbytes: int = 0,
    places: Iterable[tuple[int, int]] = (),
) -> bytes:
    """Return the first part of a batch message."""
    numbers = [*dropped, *(number for place in places for number in place)]
    return _META.pack(*times, slot, new_nbytes, len(dropped)) + struct.pack(f"<{len(numbers)}Q", *numbers)


class SlotViews:
    """The slots of one worker as the loader sees them: mapped, leased to batches, and released."""

    def __init__(self, *, copy: bool) -> None:
        self._copy = copy
        self._memories: dict[int, Memory] = {}
        self._leases: dict[int, weakref.ref[Any]] = {}
        self.released: deque[int] = deque()
        """Slots that nobody looks at any more; the worker may have them back."""

    def read(self, message: Message) -> Arrived:
        """Return what ``message`` says, and forget the slots that it says are gone."""
        head = message.parts[0]
        *times, slot, new_nbytes, gone = _META.unpack_from(head)
        numbers = head[_META.size :].cast("Q").tolist()
        for number in numbers[:gone]:
            self._memories.pop(number, None)
            self._leases.pop(number, None)
        places = list(zip(numbers[gone::2], numbers[gone + 1 :: 2], strict=True))
        return Arrived(times[0], times[1], slot, new_nbytes, places, message.parts[1:])

    def open(self, arrived: Arrived, descriptor: Descriptor | None) -> tuple[Any, list[Any]]:
        """Return the pickle and the buffers of a batch, ready for ``decode``.

        Raises:
            OSError: this process has no descriptor, or no room, for the slot that the batch is in.
        """
        if not arrived.in_slot:
            return arrived.parts[0], arrived.parts[1:]
        number, released = arrived.slot, self.released
        if arrived.new_nbytes:
            if descriptor is None:
                raise OSError("this process has no room for another open file")
            self._memories[number] = Memory(descriptor, arrived.new_nbytes)
        lease = self._memories[number].lease()
        # When the last array in it is gone. The callback is all that refers to this object: where the worker
        # is gone before, nobody needs to know, and the lease keeps its memory by itself.
        self._leases[number] = weakref.ref(lease, lambda _: released.append(number))
        whole = memoryview(lease).cast("B")
        buffers: list[Any] = [whole[place : place + size] for place, size in arrived.places]
        pickled = buffers.pop()
        if self._copy:
            buffers = [
                np.array(np.frombuffer(buffer, np.uint8)) if buffer else bytearray() for buffer in buffers
            ]
        return pickled, buffers
