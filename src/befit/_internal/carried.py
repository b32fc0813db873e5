"""What code finds around it and workers should find too, such as open ``CustomObjectScope`` blocks.

A capability that has something of the kind registers a function that captures it; the loader, which does not
know that capability, carries the result to its workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol


class Carried(Protocol):
    """A context manager that travels by cloudpickle; a worker enters it around all its work."""

    @property
    def contents(self) -> Iterable[object]:
        """The objects in it, whose classes have to reach the worker too."""

    def __enter__(self) -> object:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End."""


_captures: list[Callable[[], Carried | None]] = []


def carry(capture: Callable[[], Carried | None]) -> Callable[[], Carried | None]:
    """Register ``capture``, which returns ``None`` where there is nothing to be carried. A decorator."""
    _captures.append(capture)
    return capture


def surroundings() -> list[Carried]:
    """Return what is around the running code now."""
    return [carried for capture in _captures if (carried := capture()) is not None]
