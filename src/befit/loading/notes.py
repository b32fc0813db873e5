"""A page of memory that the loader and one worker share, for what must be known without a message."""

from __future__ import annotations

from befit._internal.memory import Descriptor, Memory

NBYTES = 16
_IN_WORK, _SKIP_BELOW = 0, 1


class Notes:
    """Two numbers, each written by one side and read by the other."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._numbers = memoryview(Memory(descriptor, NBYTES).lease()).cast("B").cast("Q")

    @property
    def in_work(self) -> int | None:
        """The ticket that the worker is at, or was at last; ``None``: it has not had any."""
        return self._numbers[_IN_WORK] - 1 if self._numbers[_IN_WORK] else None

    @in_work.setter
    def in_work(self, ticket: int) -> None:
        self._numbers[_IN_WORK] = ticket + 1

    @property
    def skip_below(self) -> int:
        """Tasks with tickets below this one are of no interest any more."""
        return self._numbers[_SKIP_BELOW]

    @skip_below.setter
    def skip_below(self, ticket: int) -> None:
        self._numbers[_SKIP_BELOW] = ticket
