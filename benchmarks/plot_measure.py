"""How good a drawing is: what overlaps, what runs through what, what crosses, how large it is.

Curves are judged as they are drawn, cut into short straight pieces; the same code judges every engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PIECES = 9
"""Of a curve; an odd number, as curves often meet in their middle, where no piece should end."""

TOUCH = 0.5
"""Pixels that a line may reach into a box before it counts."""


class Drawing(NamedTuple):
    """Boxes as rows of left, top, right, bottom; for each edge its ends and the points of its line."""

    width: float
    height: float
    boxes: Array
    edges: Sequence[tuple[int, int]]
    lines: Sequence[Array]


class Faults(NamedTuple):
    """What is wrong with a drawing, and its area in millions of square pixels."""

    overlaps: int
    through: int
    crossings: int
    area: float


def judge(drawing: Drawing) -> Faults:
    """Count what is wrong with a drawing."""
    return Faults(
        _overlaps(drawing.boxes),
        _through_boxes(drawing),
        _crossings(drawing.lines),
        drawing.width * drawing.height / 1e6,
    )


def bezier(points: Array) -> Array:
    """Return points along the cubic curves that ``points`` control, three to each after the first."""
    t = np.linspace(0, 1, PIECES + 1)[1:, None]
    parts = [points[:1]]
    for start in range(0, len(points) - 1, 3):
        a, b, c, d = points[start : start + 4]
        parts.append((1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d)
    return np.concatenate(parts)


def _overlaps(boxes: Array) -> int:
    found = 0
    for number, box in enumerate(boxes):
        others = boxes[number + 1 :]
        wide = np.minimum(others[:, 2], box[2]) - np.maximum(others[:, 0], box[0])
        high = np.minimum(others[:, 3], box[3]) - np.maximum(others[:, 1], box[1])
        found += int(((wide > TOUCH) & (high > TOUCH)).sum())
    return found


def _through_boxes(drawing: Drawing) -> int:
    """Return the number of pairs of an edge and a box that is none of its ends, but that it enters."""
    found = 0
    near, far = drawing.boxes[:, :2] + TOUCH, drawing.boxes[:, 2:] - TOUCH
    for ends, line in zip(drawing.edges, drawing.lines, strict=True):
        low, high = line.min(axis=0), line.max(axis=0)
        for box in np.flatnonzero(((near < high) & (far > low)).all(axis=1)):
            if box not in ends and _enters(line, near[box], far[box]):
                found += 1
    return found


def _enters(line: Array, near: Array, far: Array) -> bool:
    """Return whether a part of the line is inside: what is left of a piece after clipping."""
    starts, ways = line[:-1], np.diff(line, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (near - starts) / ways, (far - starts) / ways
    standing = ways == 0
    between = (near < starts) & (starts < far)
    low = np.where(standing, np.where(between, -np.inf, np.inf), np.minimum(first, second))
    high = np.where(standing, np.where(between, np.inf, -np.inf), np.maximum(first, second))
    return bool((np.maximum(low.max(axis=1), 0) < np.minimum(high.min(axis=1), 1)).any())


def _crossings(lines: Sequence[Array]) -> int:
    """Return how often the lines of two edges cross; those that run together or only touch do not."""
    starts = np.concatenate([line[:-1] for line in lines])
    ends = np.concatenate([line[1:] for line in lines])
    owner = np.repeat(np.arange(len(lines)), [len(line) - 1 for line in lines])
    order = np.argsort(np.minimum(starts[:, 1], ends[:, 1]), kind="stable")
    starts, ends, owner = starts[order], ends[order], owner[order]
    top, bottom = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    last = np.searchsorted(top, bottom)
    found = 0
    for number, (a, b) in enumerate(itertools.zip_longest(starts, ends)):
        others = slice(number + 1, last[number])
        c, d = starts[others], ends[others]
        apart = (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)
        found += int((apart & (owner[others] != owner[number])).sum())
    return found


def _side(start: Array, end: Array, point: Array) -> Array:
    """Return on which side of a line a point lies; 0 where it is on it, but for rounding."""
    way, to = end - start, point - start
    area = way[..., 0] * to[..., 1] - way[..., 1] * to[..., 0]
    return np.where(np.abs(area) < 1e-6, 0.0, area)
