"""Where edges meet their boxes, and the corners of their ways.

Within a row an edge runs straight; between two rows it leads from one x to another. So the only boxes that it
meets are its own, and two edges cross only where the order of the rows makes them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

from befit.graph.layout.rows import Rows
from befit.graph.layout.values import Point

ROW_GAP = 26.0
WIDE_ROW_GAP = 72.0
SLOPE = 0.1
"""How much a gap between rows grows with the way that an edge goes sideways in it, up to ``WIDE_ROW_GAP``."""

ARROW = 10.0
"""The last stretch before a row, where edges run straight so that their arrowheads do."""

PORT_GAP = 12.0

Piece: TypeAlias = tuple[int, int, int]
"""A part of an edge from one row to the next: vertex above, vertex below, number among parallel ones."""


def route_edges(graph: Rows, centres: Sequence[float]) -> tuple[list[float], list[tuple[Point, ...]]]:
    """Return the y of each vertex's upper side, and the route of each edge."""
    leaving, entering = _ports(graph, centres)
    heights = [max(graph.sizes[vertex][1] for vertex in row) for row in graph.rows]
    sideways = [0.0] * len(graph.rows)
    for piece, start in leaving.items():
        row = graph.row_of[piece[0]]
        sideways[row] = max(sideways[row], abs(entering[piece] - start))
    tops = [0.0]
    for height, way in zip(heights, sideways, strict=True):
        tops.append(tops[-1] + height + round(min(ROW_GAP + SLOPE * way, WIDE_ROW_GAP)))

    # Boxes stand in the middle of their row, unless that is far below its beginning.
    upper_sides = [
        tops[row] + min((heights[row] - size[1]) / 2, ROW_GAP)
        for row, size in zip(graph.row_of, graph.sizes, strict=True)
    ]
    parallel: Counter[tuple[int, int]] = Counter()
    routes = []
    for path in graph.paths:
        corners: list[Point] = []
        for above, below in pairwise(path):
            piece = (above, below, parallel[above, below])
            if below == path[-1]:
                parallel[above, below] += 1
            row = graph.row_of[above]
            start, end = leaving[piece], entering[piece]
            if not graph.is_bend(above):
                corners.append((start, upper_sides[above] + graph.sizes[above][1]))
            corners.append((start, tops[row] + heights[row]))
            corners.append((end, tops[row + 1] - ARROW))
        corners.append((end, upper_sides[path[-1]]))
        routes.append(_without_idle_corners(corners))
    return upper_sides, routes


def _ports(graph: Rows, centres: Sequence[float]) -> tuple[dict[Piece, float], dict[Piece, float]]:
    """Return the x where each piece leaves its upper vertex, and where it enters its lower one."""
    leaving: dict[Piece, float] = {}
    entering: dict[Piece, float] = {}
    place = {vertex: position for row in graph.rows for position, vertex in enumerate(row)}
    ranges = []
    for vertex, centre in enumerate(centres):
        reach = graph.port_reach(vertex)
        ranges.append((centre - reach, centre + reach))
    for vertex, (low, high) in enumerate(ranges):
        for ports, neighbours in ((leaving, graph.lower[vertex]), (entering, graph.upper[vertex])):
            pieces = []
            numbers: Counter[int] = Counter()
            for neighbour in sorted(neighbours, key=place.__getitem__):
                ends = (vertex, neighbour) if ports is leaving else (neighbour, vertex)
                pieces.append((*ends, numbers[neighbour]))
                numbers[neighbour] += 1
            wishes = [_wish(ranges, centres, above, below, vertex) for above, below, _ in pieces]
            gap = 0.0 if graph.is_bend(vertex) else PORT_GAP
            ports.update(zip(pieces, _spread(wishes, gap, low, high), strict=True))
    return leaving, entering


def _wish(
    ranges: Sequence[tuple[float, float]], centres: Sequence[float], above: int, below: int, vertex: int
) -> float:
    """Return where a piece had best meet ``vertex``: on a straight line in the middle of the narrower end."""
    narrow = min(above, below, key=lambda end: ranges[end][1] - ranges[end][0])
    wide = below if narrow == above else above
    straight = _clamp(_clamp(centres[narrow], *ranges[wide]), *ranges[narrow])
    return _clamp(straight, *ranges[vertex])


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _spread(wishes: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions near ``wishes``, in their order, ``gap`` apart if there is room within the bounds.

    Positions minus their share of the gaps must not fall; the nearest such sequence comes from pooling
    neighbours that are out of order (isotonic regression).
    """
    count = len(wishes)
    gap = min(gap, (high - low) / max(count - 1, 2))
    pools: list[tuple[float, int]] = []
    for number, wish in enumerate(wishes):
        mean, size = wish - number * gap, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    limit = max(high - (count - 1) * gap, low)
    return [_clamp(mean, low, limit) + number * gap for number, mean in enumerate(flat)]


def _without_idle_corners(corners: Sequence[Point]) -> tuple[Point, ...]:
    """Return ``corners`` without repeated ones and those in the middle of a vertical line."""
    kept = [corners[0]]
    for corner, following in pairwise(corners[1:]):
        if corner != kept[-1] and not kept[-1][0] == corner[0] == following[0]:
            kept.append(corner)
    kept.append(corners[-1])
    return tuple(kept)
