"""Decoded blocks of rows, kept: all of them where they fit, else the ones used last.

A slab holds the blocks, each in a slot; a row is taken out of it by one vectorised gather. Who owns what: a
slot belongs to the thread that claimed it from the claim until it publishes the block, then to everybody, and
is never written again while its block is published. The lock is held to claim, to publish and, where blocks
are evicted, to gather; never while a block is decoded.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.ma

from befit.typing import Array

_CLAIMED = np.iinfo(np.int64).max  # the tick of a slot that is being filled
_FREE = -1


class Slab(Protocol):
    """The memory of a cache: in RAM, or a mapped scratch file."""

    slots: int
    in_memory: bool
    memory: Array
    """``uint8``, read only to the cache."""

    def fill(self, slots: list[int], blocks: list[int]) -> None:
        """Decode blocks into slots."""


Decode = Callable[[list[int], Array, list[int]], None]
"""Decodes blocks into an array of ``uint8`` at given places; in parallel, as far as it likes."""


class MemorySlab:
    """Slots in RAM. What was never filled costs no memory."""

    def __init__(self, slots: int, block_bytes: int, decode: Decode) -> None:
        self.slots = slots
        self.in_memory = True
        self.memory: Array = np.empty(slots * block_bytes, np.uint8)
        self._block_bytes = block_bytes
        self._decode = decode

    def fill(self, slots: list[int], blocks: list[int]) -> None:
        """Decode blocks straight into slots."""
        self._decode(blocks, self.memory, [slot * self._block_bytes for slot in slots])


class BlockCache:
    """Gathers rows out of decoded blocks, and has those decoded that are missing.

    Args:
        blocks: How many blocks the dataset has.
        block_rows: Rows of a block.
        row_bytes: Bytes of a row.
        slab: Where they are kept; with a slot for every block nothing is ever evicted.
    """

    def __init__(self, blocks: int, block_rows: int, row_bytes: int, slab: Slab) -> None:
        self.keeps_all = slab.slots >= blocks
        self.slots = slab.slots
        self._slab = slab
        self._block_rows = block_rows
        self._records: Array = slab.memory.view(np.dtype((np.void, row_bytes)))
        self._slot_of: Array = np.full(blocks, _FREE, np.int64)
        self._missing = blocks
        self._block_in: Array = np.full(slab.slots, _FREE, np.int64)
        self._ticks: Array = np.full(slab.slots, _FREE, np.int64)  # when each slot was used last
        self._now = 0
        self._lock = threading.Lock()
        self._coming: dict[int, threading.Event] = {}
        _caches[id(self)] = self

    @property
    def promised_bytes(self) -> int:
        """Bytes of memory that are not used yet, and will be."""
        if not self._slab.in_memory:
            return 0
        unused = self._missing if self.keeps_all else int((self._block_in < 0).sum())
        return unused * self._block_rows * self._records.itemsize

    def gather(self, rows: Array) -> Array | None:
        """Return records of rows in any order; ``None``: their blocks do not fit all at once."""
        if self.keeps_all:
            if self._missing:
                blocks = rows // self._block_rows
                while (self._slot_of[blocks] < 0).any():
                    self._bring(blocks)
            return self._records.take(rows)
        blocks = rows // self._block_rows
        for _ in range(3):  # other threads may evict what was brought before it is gathered
            with self._lock:
                slots = self._slot_of[blocks]
                if (slots >= 0).all():
                    self._now += 1
                    self._ticks[slots] = self._now
                    records: Array = self._records.take((slots - blocks) * self._block_rows + rows)
                    return records
            if not self._bring(blocks):
                return None
        return None

    def holds_any(self, first: int, stop: int) -> bool:
        """Return whether one of the blocks ``[first, stop)`` is here; it may be evicted at any time."""
        return bool((self._slot_of[first:stop] >= 0).any())

    def copy(self, block: int, start: int, stop: int, out: Array) -> bool:
        """Copy rows ``[start, stop)`` of a block into records; ``False``: it is not here."""
        if self.keeps_all:
            slot = int(self._slot_of[block])
            if slot < 0:
                return False
            out[:] = self._records[slot * self._block_rows + start : slot * self._block_rows + stop]
            return True
        with self._lock:
            slot = int(self._slot_of[block])
            if slot >= 0:
                out[:] = self._records[slot * self._block_rows + start : slot * self._block_rows + stop]
        return slot >= 0

    def bring(self, blocks: Array, keep: Array | None = None) -> None:
        """Decode what is missing of ``blocks``; ``keep`` are blocks that should not be evicted for them."""
        if self.keeps_all and not self._missing:
            return
        if keep is not None and not self.keeps_all:
            with self._lock:
                slots = self._slot_of[keep]
                self._now += 1
                self._ticks[slots[slots >= 0]] = self._now
        self._bring(blocks)

    def _bring(self, blocks: Array) -> bool:
        """Decode what is missing, or wait for other threads to; ``False``: there is no room for all."""
        came = threading.Event()
        mine: list[int] = []
        slots: list[int] | None = []
        try:
            with self._lock:
                wanted = np.unique(blocks[self._slot_of[blocks] < 0]).tolist()
                others = [self._coming[block] for block in wanted if block in self._coming]
                mine = [block for block in wanted if block not in self._coming]
                slots = mine if self.keeps_all else self._evict(len(mine), blocks)
                if slots is None:
                    return False
                self._coming.update(dict.fromkeys(mine, came))
            if mine:
                self._slab.fill(slots, mine)
        except BaseException:
            self._settle(mine, slots or [], came, filled=False)
            raise
        self._settle(mine, slots, came, filled=True)
        for other in others:
            other.wait()
        return True

    def _evict(self, count: int, needed: Array) -> list[int] | None:
        """Return slots for ``count`` blocks, taken from others than the ``needed`` ones."""
        if count > self.slots:
            return None
        if not count:
            return []
        slots = self._slot_of[needed]
        self._now += 1
        self._ticks[slots[slots >= 0]] = self._now
        oldest = np.argpartition(self._ticks, count - 1)[:count]
        if (self._ticks[oldest] >= self._now).any():
            return None
        left = self._block_in[oldest]
        self._slot_of[left[left >= 0]] = _FREE
        self._block_in[oldest] = _FREE
        self._ticks[oldest] = _CLAIMED
        taken: list[int] = oldest.tolist()
        return taken

    def _settle(self, blocks: list[int], slots: list[int], came: threading.Event, *, filled: bool) -> None:
        with self._lock:
            for block in blocks:
                if self._coming.get(block) is came:
                    del self._coming[block]
            if filled:
                self._slot_of[blocks] = slots
                self._missing -= len(blocks)
            if not self.keeps_all:
                self._missing = 1  # for ever: what is evicted is missing again
                self._block_in[slots] = blocks if filled else _FREE
                self._ticks[slots] = self._now if filled else _FREE
        came.set()

    def after_fork(self) -> None:
        """Start anew in a child: what threads of the parent were filling will never come."""
        self._lock = threading.Lock()
        self._coming = {}
        if self.keeps_all:
            self._missing = int((self._slot_of < 0).sum())
        else:  # a fork may have met the tables half written
            self._slot_of[:] = _FREE
            self._block_in[:] = _FREE
            self._ticks[:] = _FREE


def promised_bytes() -> int:
    """Return the bytes of memory that the caches of this process do not use yet, and will."""
    return sum(cache.promised_bytes for cache in list(_caches.values()))


_caches: weakref.WeakValueDictionary[int, BlockCache] = weakref.WeakValueDictionary()


def _after_fork() -> None:
    for reference in _caches.valuerefs():
        cache = reference()
        if cache is not None:
            cache.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
