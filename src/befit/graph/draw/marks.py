"""What pictures are made of: shapes and texts. Every writer knows these two, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from befit.graph.fonts import TextWidth
from befit.graph.layout import Point

Step: TypeAlias = tuple[Point, ...]
"""The next part of an outline: one point ends a straight line; three are a cubic Bézier curve's."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An outline, filled or stroked or both; colours are ``"#rrggbb"``."""

    start: Point
    steps: tuple[Step, ...]
    fill: str | None = None
    stroke: str | None = None
    stroke_width: float = 0.0
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text: ``x`` is its beginning, ``y`` its baseline, ``width`` what it was measured as."""

    x: float
    y: float
    text: str
    size: float
    width: float
    colour: str


Mark: TypeAlias = Shape | Text


@dataclass(frozen=True, slots=True)
class Picture:
    """Shapes and texts, in the order in which they are painted, on a sheet of this size and colour."""

    width: float
    height: float
    marks: tuple[Mark, ...]
    background: str = "#ffffff"


def moved(marks: Iterable[Mark], right: float, down: float) -> list[Mark]:
    """Return ``marks`` at another place."""
    return [_moved(mark, right, down) for mark in marks]


def _moved(mark: Mark, right: float, down: float) -> Mark:
    if isinstance(mark, Text):
        return Text(mark.x + right, mark.y + down, mark.text, mark.size, mark.width, mark.colour)
    return Shape(
        (mark.start[0] + right, mark.start[1] + down),
        tuple([tuple([(x + right, y + down) for x, y in step]) for step in mark.steps]),
        mark.fill,
        mark.stroke,
        mark.stroke_width,
        mark.is_closed,
    )


def text_mark(text: str, size: float, colour: str, text_width: TextWidth) -> Text:
    """Return ``text``, measured, with its baseline beginning at ``(0, 0)``."""
    return Text(0.0, 0.0, text, size, text_width(text, size), colour)


def line(start: Point, end: Point, colour: str, width: float) -> Shape:
    """Return a straight line."""
    return Shape(start, ((end,),), stroke=colour, stroke_width=width)


def rounded(
    width: float, height: float, radius: float, *, upper: bool = True, lower: bool = True
) -> tuple[Point, tuple[Step, ...]]:
    """Return start and steps of a rectangle at ``(0, 0)``; its upper and lower corners may be round."""
    pull = radius * 0.4477  # with its control points here, a Bézier curve is a quarter of a circle
    upper_right: tuple[Step, ...] = (((width, 0.0),),)
    upper_left: tuple[Step, ...] = (((0.0, 0.0),),)
    below: tuple[Step, ...] = (((width, height),), ((0.0, height),))
    if upper:
        upper_right = (((width - radius, 0.0),), ((width - pull, 0.0), (width, pull), (width, radius)))
        upper_left = (((0.0, radius),), ((0.0, pull), (pull, 0.0), (radius, 0.0)))
    if lower:
        below = (
            ((width, height - radius),),
            ((width, height - pull), (width - pull, height), (width - radius, height)),
            ((radius, height),),
            ((pull, height), (0.0, height - pull), (0.0, height - radius)),
        )
    return (radius if upper else 0.0, 0.0), (*upper_right, *below, *upper_left)
