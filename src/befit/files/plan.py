"""Which bytes of a file are there, which are on their way, and which nobody has asked for yet.

Pure bookkeeping, shared by the threads of one transfer: each connection owns one ``Segment`` at a time and is
the only one that writes its bytes; ``front`` is how far the file is whole from its start, and what reads
behind it (a digest, an extraction) waits there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]

_UNKNOWN = 1 << 62  # where a file of unknown length ends: behind everything


class PlanAbandonedError(Exception):
    """The transfer that was followed failed, or began again from nothing."""


@dataclass(eq=False)
class Segment:
    """Bytes that one connection brings; those before ``position`` are written."""

    position: int
    end: int
    reads_on: bool = False
    """Whether the connection has an answer that goes on behind ``end``."""


class Plan:
    """The bytes of one file of ``total`` bytes (``None``: as many as come), of which some may be there."""

    def __init__(self, total: int | None, missing: Iterable[Interval] | None = None) -> None:
        self.total = total
        end = _UNKNOWN if total is None else total
        self._free = sorted((a, b) for a, b in ([(0, end)] if missing is None else missing) if a < b)
        self._active: list[Segment] = []
        self._changed = threading.Condition()
        self._is_abandoned = False
        self._wanted = _UNKNOWN  # the nearest front that somebody waits for
        self._front = self._first_missing()

    # For connections

    def claim(self, size: int, least: int = 1) -> Segment | None:
        """Return the first bytes that nobody has, at most ``size``; ``None`` if there are none.

        Behind a connection that could just read on, some are left for it.
        """
        with self._changed:
            ends = {segment.end for segment in self._active if segment.reads_on}
            for share in (1, 2):  # if there is nothing else, half of what was left
                for number, (start, end) in enumerate(self._free):
                    left = min(size, (end - start) // share) if start in ends else 0
                    first = start + left
                    if end - first < (least if left else 1):
                        continue
                    cut = end if self.total is None else min(first + size, end)
                    self._free[number : number + 1] = [
                        (a, b) for a, b in ((start, first), (cut, end)) if a < b
                    ]
                    return self._activate(first, cut)
            return None

    def extend(self, segment: Segment, size: int, limit: int) -> bool:
        """Give a finished ``segment`` the bytes right behind it, up to ``limit``, if nobody has them."""
        with self._changed:
            if segment not in self._active:
                return False
            for number, (start, end) in enumerate(self._free):
                if start == segment.end < min(end, limit):
                    segment.end = min(start + size, end, limit)
                    self._free[number : number + 1] = [(segment.end, end)] if segment.end < end else []
                    return True
            return False

    def split(self, least: int) -> Segment | None:
        """Return the second half of what the busiest connection still has to bring, if it is ``least`` bytes.

        That connection may be writing up to ``least`` bytes meanwhile.
        """
        with self._changed:
            busiest = max(self._active, key=lambda segment: segment.end - segment.position, default=None)
            if busiest is None or busiest.end >= _UNKNOWN:
                return None
            middle = (busiest.position + busiest.end + 1) // 2
            if busiest.end - middle < least:
                return None
            end, busiest.end = busiest.end, middle
            return self._activate(middle, end)

    def advance(self, segment: Segment, size: int) -> bool:
        """Note ``size`` more bytes of ``segment`` as written; return whether it still is the caller's."""
        with self._changed:
            if segment not in self._active:
                return False
            was_first = segment.position == self._front
            segment.position += size
            if was_first:
                self._step()
            return True

    def release(self, segment: Segment) -> None:
        """Take ``segment`` back, if that was not done yet; what it did not bring is free again."""
        with self._changed:
            if segment not in self._active:
                return
            self._active.remove(segment)
            if segment.position < segment.end:
                self._free = sorted([*self._free, (segment.position, segment.end)])
            self._step()

    def finish(self, total: int) -> None:
        """Note that a file of unknown length has ended."""
        with self._changed:
            self.total = total
            self._free.clear()
            for segment in self._active:
                segment.end = segment.position
            self._step()

    # For everybody

    @property
    def front(self) -> int:
        """How many bytes from the start of the file are written without a gap."""
        return self._front

    @property
    def is_whole(self) -> bool:
        """Whether every byte is written."""
        return self._front == self.total

    @property
    def remaining(self) -> int | None:
        """How many bytes are not written yet."""
        with self._changed:
            if self.total is None:
                return None
            return sum(b - a for a, b in self._missing())

    def missing(self) -> list[Interval]:
        """Return what is not written yet, in order."""
        with self._changed:
            return self._missing()

    def abandon(self) -> None:
        """Wake all that wait: nothing more will come."""
        with self._changed:
            self._is_abandoned = True
            self._changed.notify_all()

    def wait(self, beyond: int) -> int:
        """Wait until the front is at ``beyond`` or the file is whole, and return the front.

        Raises:
            PlanAbandonedError: that will not happen.
        """
        with self._changed:
            while self._front < beyond and not self.is_whole and not self._is_abandoned:
                self._wanted = min(self._wanted, beyond)
                self._changed.wait()
            if self._is_abandoned:
                raise PlanAbandonedError
            return self._front

    def _activate(self, start: int, end: int) -> Segment:
        segment = Segment(start, end)
        self._active.append(segment)
        return segment

    def _missing(self) -> list[Interval]:
        rest = [(segment.position, segment.end) for segment in self._active]
        return sorted((a, b) for a, b in [*self._free, *rest] if a < b)

    def _first_missing(self) -> int:
        starts = [start for start, _ in self._free]
        starts += [segment.position for segment in self._active if segment.position < segment.end]
        return min(starts, default=self.total if self.total is not None else 0)

    def _step(self) -> None:
        self._front = self._first_missing()
        if self._front >= self._wanted or self.is_whole:
            self._wanted = _UNKNOWN
            self._changed.notify_all()
