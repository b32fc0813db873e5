"""The values that the layout works with and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]
"""``(x, y)``; y grows downwards."""

Size: TypeAlias = tuple[float, float]
"""``(width, height)``."""

Edge: TypeAlias = tuple[int, int]
"""The numbers of the box that an edge leaves and of the box that it enters."""


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A box: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower side."""
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the boxes are, and the way of every edge between them.

    Attributes:
        width: of the whole drawing, which begins at ``(0, 0)``.
        height: of the whole drawing.
        boxes: one rectangle for each box, in the order they were given in.
        routes: for each edge the corners of its way, from the border of its source to that of its target.
        is_horizontal: the rows run from top to bottom, so that edges leave and enter boxes sideways.
    """

    width: float
    height: float
    boxes: tuple[Rectangle, ...]
    routes: tuple[tuple[Point, ...], ...]
    is_horizontal: bool = False
