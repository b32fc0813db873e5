"""The open ``with`` blocks of the running thread or task, and what they say about a name.

Each block is a ``Layer``. The layers that code runs inside stand in a context variable, outermost first, so
threads and asyncio tasks have their own, and a task sees the layers of the code that started it. A layer
belongs to its block: everything that runs inside the block shares it, and once the block has ended it counts
for nobody, in whatever order and from whatever context it was ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from operator import attrgetter
from typing import Any, Final, NamedTuple

__all__ = [
    "DELETED",
    "UNDECIDED",
    "Changes",
    "Layer",
    "close_layer",
    "find",
    "is_inside",
    "merged",
    "open_layers",
    "push",
]


class _Mark(Enum):
    DELETED = "a block deleted the name"
    UNDECIDED = "no open block says anything about the name"


DELETED: Final = _Mark.DELETED
UNDECIDED: Final = _Mark.UNDECIDED


@dataclass(slots=True, eq=False)
class Layer:
    """What one ``with`` block says about names."""

    owner: object
    """The scope that opened the block."""

    changes: dict[str, Any]
    """Names and their objects, or ``DELETED``."""

    hides_below: bool = False
    """True after ``clear()``: what lies below, the process-wide names too, is not seen."""

    covered: Mapping[str, Any] = field(default_factory=dict)
    """Names of a framework's own scope that was open around the block."""

    is_open: bool = True

    stack: tuple[Layer, ...] = ()
    """The layers around the block, outermost first, and itself. Empty before and after its time."""


class Changes(NamedTuple):
    """Several layers as one."""

    changes: dict[str, Any]
    hides_below: bool


_stack: ContextVar[tuple[Layer, ...]] = ContextVar("befit.objects", default=())
_is_open = attrgetter("is_open")  # in C, where every look-up of Keras passes


def open_layers() -> tuple[Layer, ...]:
    """Return the layers that the running code is inside of, outermost first."""
    return tuple(filter(_is_open, _stack.get()))


def is_inside() -> bool:
    """Return whether the running code is inside of a block."""
    return any(map(_is_open, _stack.get()))


def push(layer: Layer) -> None:
    """Begin the block of ``layer`` in this context."""
    layer.stack = (*open_layers(), layer)
    _stack.set(layer.stack)


def close_layer(layer: Layer) -> None:
    """End the block of ``layer`` in every context."""
    layer.is_open = False
    layer.stack = ()
    _stack.set(open_layers())


def find(name: str) -> Any:
    """Return what ``name`` stands for in the open blocks, or ``DELETED``, or ``UNDECIDED``."""
    for layer in reversed(_stack.get()):
        if not layer.is_open:
            continue
        if name in layer.changes:
            return layer.changes[name]
        if layer.hides_below:
            return DELETED
        if name in layer.covered:
            return layer.covered[name]
    return UNDECIDED


def merged(layers: Iterable[Layer]) -> Changes:
    """Return what ``layers``, outermost first, say together."""
    changes: dict[str, Any] = {}
    hides_below = False
    for layer in layers:
        if layer.hides_below:
            changes.clear()
            hides_below = True
        else:
            changes.update(layer.covered)
        changes.update(layer.changes)
    return Changes(changes, hides_below)
