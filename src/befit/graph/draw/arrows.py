"""What one link looks like: a smooth line along its route, and an arrowhead."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from befit.graph.draw import theme
from befit.graph.draw.marks import Shape, Step
from befit.graph.layout import Point


def curve(points: Sequence[Point], is_horizontal: bool) -> tuple[Step, ...]:
    """Return a smooth line through ``points`` that leaves and enters each along the way of the data."""
    along = 0 if is_horizontal else 1
    steps: list[Step] = []
    for start, end in pairwise(points):
        if start[1 - along] == end[1 - along]:
            steps.append((end,))
            continue
        middle = (start[along] + end[along]) / 2
        if is_horizontal:
            steps.append(((middle, start[1]), (middle, end[1]), end))
        else:
            steps.append(((start[0], middle), (end[0], middle), end))
    return tuple(steps)


def draw_arrow(
    route: tuple[Point, ...], is_horizontal: bool, colour: str = theme.LIGHT.edge
) -> tuple[Shape, Shape]:
    """Return a smooth line along ``route``, and an arrowhead."""
    tip, before = route[-1], route[-2]
    along = 0 if is_horizontal else 1
    forwards = 1.0 if tip[along] > before[along] else -1.0

    def behind_tip(length: float, aside: float) -> Point:
        back = tip[along] - forwards * length
        return (back, tip[1] + aside) if is_horizontal else (tip[0] + aside, back)

    steps = curve((*route[:-1], behind_tip(theme.ARROW_LENGTH - 1, 0.0)), is_horizontal)
    half = theme.ARROW_WIDTH / 2
    wings = (behind_tip(theme.ARROW_LENGTH, half), behind_tip(theme.ARROW_LENGTH, -half))
    return (
        Shape(route[0], steps, stroke=colour, stroke_width=theme.EDGE_WIDTH),
        Shape(tip, tuple((wing,) for wing in wings), fill=colour, is_closed=True),
    )
