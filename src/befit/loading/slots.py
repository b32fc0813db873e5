"""Slots: shared memory that batches travel in, used again and again.

New memory costs ten times what a copy into warm memory costs, so a slot is never given back to the system
while it may be of use. The worker owns its slots: it makes them, as large and as many as it needs, fills one
for each large batch, and gets it back when nobody looks at the batch any more.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterable

from befit._internal.memory import Descriptor, Lease, Memory, create

ALIGNMENT = 64  # bytes; what JAX and vector instructions ask of an array


def aligned(offset: int) -> int:
    """Return the next place where an array may begin."""
    return (offset + ALIGNMENT - 1) & -ALIGNMENT


class Slot:
    """Shared memory of a worker."""

    __slots__ = ("descriptor", "memory", "number")

    def __init__(self, number: int, nbytes: int) -> None:
        self.number = number
        self.descriptor: Descriptor | None = create(nbytes)
        self.memory = Memory(self.descriptor, nbytes)

    @property
    def is_known(self) -> bool:
        """Whether the loader has the memory."""
        return self.descriptor is None

    def view(self) -> memoryview:
        """Return all of its bytes."""
        return memoryview(self.memory.lease()).cast("B")

    def sent(self) -> None:
        """Note that the loader has the memory: mappings last without a descriptor."""
        self.descriptor = None


class SlotPool:
    """The slots of a worker process.

    Args:
        spare: How many slots may lie idle; what is free beyond them goes back to the system.
    """

    def __init__(self, spare: int) -> None:
        self._spare = spare
        self._numbers = itertools.count()
        self._slots: dict[int, Slot] = {}
        self._free: list[Slot] = []  # the one used last stands last, and is the warmest
        self._dropped: list[int] = []

    def take(self, nbytes: int) -> Slot:
        """Return a slot of at least ``nbytes`` bytes, a new one if need be.

        Raises:
            OSError: the system has no memory, or no descriptor, for another slot.
        """
        for place in reversed(range(len(self._free))):
            if self._free[place].memory.nbytes >= nbytes:
                return self._free.pop(place)
        if self._free:
            self._drop(0)  # batches have grown, it is too small
        slot = Slot(next(self._numbers), nbytes + nbytes // 8)  # the next batch may be a little larger
        self._slots[slot.number] = slot
        return slot

    def give_back(self, numbers: Iterable[int]) -> None:
        """Take back slots that the loader does not look at any more."""
        for number in numbers:
            self.put_back(self._slots[number])

    def lose(self, numbers: Iterable[int]) -> None:
        """Drop slots that the loader could not map."""
        for number in numbers:
            del self._slots[number]

    def put_back(self, slot: Slot, lease: Lease | None = None) -> None:
        """Make a slot free again: as soon as nothing uses ``lease``, if there is one."""
        if lease is not None:
            weakref.finalize(lease, self.put_back, slot).atexit = False
            return
        self._free.append(slot)
        while len(self._free) > self._spare:
            self._drop(0)

    def take_dropped(self) -> list[int]:
        """Return the slots that the loader should forget, each of them once."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _drop(self, place: int) -> None:
        slot = self._free.pop(place)
        del self._slots[slot.number]
        if slot.is_known:
            self._dropped.append(slot.number)
