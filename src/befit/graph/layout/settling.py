"""Boxes settle in the middle of what they are connected to.

After Sander: A Fast Heuristic for Hierarchical Manhattan Layout (1995), the "pendulum". What stands straight
below each other is one rigid column. Columns are drawn towards the columns that they are connected to; those
that would push each other move together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from befit.graph.layout.rows import Rows

ROUNDS = 80
STEP = 0.7
STILL = 0.25
TOUCHING = 0.01


@dataclass(slots=True)
class _Column:
    x: float
    pulls: list[tuple[int, float]] = field(default_factory=list)  # the other column, and the play of the edge
    left: dict[int, float] = field(default_factory=dict)  # neighbours, and how far away they have to be
    right: dict[int, float] = field(default_factory=dict)


def settle(graph: Rows, centres: Sequence[float]) -> list[float]:
    """Return better centres for vertices that stand in order, and far enough apart, already."""
    column_of = _number_columns(graph, centres)
    columns = [_Column(0.0) for _ in range(max(column_of) + 1)]
    for vertex, centre in enumerate(centres):
        columns[column_of[vertex]].x = centre
        for other in graph.lower[vertex]:
            above, below = column_of[vertex], column_of[other]
            if above != below:
                play = _play(graph, vertex, other)
                columns[above].pulls.append((below, play))
                columns[below].pulls.append((above, play))
    for row in graph.rows:
        for vertex, other in pairwise(row):
            left, right = column_of[vertex], column_of[other]
            distance = max(graph.distance(vertex, other), columns[left].right.get(right, 0.0))
            columns[left].right[right] = columns[right].left[left] = distance
    for _ in range(ROUNDS):
        if _swing(columns) < STILL:
            break
    return [columns[column].x for column in column_of]


def _number_columns(graph: Rows, centres: Sequence[float]) -> list[int]:
    """Return the number of each vertex's column: those that edges lead straight to belong to one."""
    column_of = [-1] * len(centres)
    count = 0
    for row in graph.rows:
        for vertex in row:
            if column_of[vertex] < 0:
                column_of[vertex] = count
                count += 1
            for other in graph.lower[vertex]:
                if column_of[other] < 0 and centres[other] == centres[vertex]:
                    column_of[other] = column_of[vertex]
    return column_of


def _play(graph: Rows, above: int, below: int) -> float:
    """Return how far apart the centres may be without any need to come closer."""
    if graph.is_bend(above) == graph.is_bend(below):
        return 0.0
    return graph.port_reach(below if graph.is_bend(above) else above)


def _swing(columns: Sequence[_Column]) -> float:
    """Let every column give way to its pulls once, and return the longest way that one went."""
    forces = [_force(column, columns) for column in columns]
    weights = [max(len(column.pulls), 1) for column in columns]
    forces = _shared_forces(columns, forces, weights)
    order = sorted(range(len(columns)), key=lambda number: columns[number].x)
    longest = 0.0
    for number in reversed(order):
        column, way = columns[number], STEP * forces[number]
        if way > 0:
            limits = [columns[other].x - distance for other, distance in column.right.items()]
            target = min([column.x + way, *limits])
            longest = max(longest, target - column.x)
            column.x = max(column.x, target)
    for number in order:
        column, way = columns[number], STEP * forces[number]
        if way < 0:
            limits = [columns[other].x + distance for other, distance in column.left.items()]
            target = max([column.x + way, *limits])
            longest = max(longest, column.x - target)
            column.x = min(column.x, target)
    return longest


def _force(column: _Column, columns: Sequence[_Column]) -> float:
    """Return how far the pulls draw a column on average."""
    total = 0.0
    for other, play in column.pulls:
        way = columns[other].x - column.x
        total += max(way - play, 0.0) + min(way + play, 0.0)
    return total / max(len(column.pulls), 1)


def _shared_forces(
    columns: Sequence[_Column], forces: Sequence[float], weights: Sequence[int]
) -> list[float]:
    """Return the forces after columns that touch and push each other have joined theirs."""
    region = list(range(len(columns)))
    sums = [force * weight for force, weight in zip(forces, weights, strict=True)]
    sizes = list(weights)

    def top(number: int) -> int:
        while region[number] != number:
            region[number] = region[region[number]]
            number = region[number]
        return number

    touching = [
        (left, right)
        for left, column in enumerate(columns)
        for right, distance in column.right.items()
        if columns[right].x - column.x - distance < TOUCHING
    ]
    is_changed = True
    while is_changed:
        is_changed = False
        for left, right in touching:
            a, b = top(left), top(right)
            if a != b and sums[a] / sizes[a] > sums[b] / sizes[b]:
                region[b] = a
                sums[a] += sums[b]
                sizes[a] += sizes[b]
                is_changed = True
    return [sums[top(number)] / sizes[top(number)] for number in range(len(columns))]
