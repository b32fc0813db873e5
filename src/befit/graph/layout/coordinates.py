"""Positions along the rows: edges straight where possible, boxes in the middle of their neighbours.

Brandes, Köpf: Fast and Simple Horizontal Coordinate Assignment (2001). Vertices are aligned with their median
neighbours into vertical blocks, from above or from below, preferring the left or the right; the blocks are
pushed together. Each vertex goes to the mean of the two middle ones of its four positions.

The blocks are compacted as the longest path through the graph of blocks, instead of by the classes of the
paper, whose published form lets blocks overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from befit.graph.layout.rows import Rows
from befit.graph.layout.settling import settle


def place_along_rows(graph: Rows) -> list[float]:
    """Return the x of each vertex's centre; the leftmost side is at 0."""
    forbidden = _crossing_straight_edges(graph) | _leading_round_boxes(graph)
    candidates = []
    for from_above in (True, False):
        for from_left in (True, False):
            candidates.append(_align_and_compact(graph, forbidden, from_above, from_left))
    centres = [round(centre) for centre in settle(graph, _balance(graph, candidates))]
    left = min(centre - size[0] / 2 for centre, size in zip(centres, graph.sizes, strict=True))
    return [centre - left for centre in centres]


def _crossing_straight_edges(graph: Rows) -> set[tuple[int, int]]:
    """Return the pieces ``(above, below)`` that cross the inside of a long edge, which has to be straight."""
    place = _places(graph.rows)
    crossing: set[tuple[int, int]] = set()
    for above, below in pairwise(graph.rows):
        left_bound, start = 0, 0
        for position, vertex in enumerate(below):
            inner = _inner_piece(graph, vertex)
            if inner is None and position < len(below) - 1:
                continue
            right_bound = len(above) - 1 if inner is None else place[inner]
            for passed in below[start : position + 1]:
                for upper in graph.upper[passed]:
                    if not left_bound <= place[upper] <= right_bound:
                        crossing.add((upper, passed))
            start, left_bound = position + 1, right_bound
    return crossing


def _leading_round_boxes(graph: Rows) -> set[tuple[int, int]]:
    """Return the first and last pieces of edges that, like residual connections, only lead round some boxes.

    Those boxes are to stand straight, and the edge aside.
    """
    pieces = set()
    for path in graph.paths:
        if len(path) > 2:
            beside_start = set(graph.lower[path[0]])
            beside_end = set(graph.upper[path[-1]])
            if all(len(beside) == 2 and min(beside) < graph.boxes for beside in (beside_start, beside_end)):
                pieces |= {(path[0], path[1]), (path[-2], path[-1])}
    return pieces


def _inner_piece(graph: Rows, vertex: int) -> int | None:
    """Return the bend above ``vertex``, if both are bends."""
    if graph.is_bend(vertex) and graph.is_bend(graph.upper[vertex][0]):
        return graph.upper[vertex][0]
    return None


def _places(rows: Sequence[Sequence[int]]) -> dict[int, int]:
    return {vertex: position for row in rows for position, vertex in enumerate(row)}


def _align_and_compact(
    graph: Rows, forbidden: set[tuple[int, int]], from_above: bool, from_left: bool
) -> list[float]:
    """Return one of the four candidates."""
    rows = graph.rows if from_above else graph.rows[::-1]
    if not from_left:
        rows = [row[::-1] for row in rows]
    blocks = _align(graph, rows, forbidden, from_above)
    centres = _compact(graph, rows, blocks)
    return centres if from_left else [-centre for centre in centres]


def _align(
    graph: Rows, rows: Sequence[Sequence[int]], forbidden: set[tuple[int, int]], from_above: bool
) -> list[int]:
    """Return for each vertex the first vertex of the block that it belongs to."""
    neighbours = graph.upper if from_above else graph.lower
    place = _places(rows)
    block = list(range(len(graph.sizes)))
    has_follower = [False] * len(graph.sizes)
    for row in rows:
        reached = -1
        for vertex in row:
            nearby = sorted(neighbours[vertex], key=place.__getitem__)
            middle = len(nearby) // 2
            medians = nearby[middle - 1 : middle + 1] if len(nearby) % 2 == 0 else nearby[middle : middle + 1]
            for median in medians:
                piece = (median, vertex) if from_above else (vertex, median)
                if piece in forbidden or has_follower[median] or place[median] <= reached:
                    continue
                has_follower[median] = True
                block[vertex] = block[median]
                reached = place[median]
                break
    return block


def _compact(graph: Rows, rows: Sequence[Sequence[int]], block: Sequence[int]) -> list[float]:
    """Return the centres when every block is as far left as it can be, and then near what is right of it."""
    gaps: dict[int, dict[int, float]] = {vertex: {} for vertex in block}
    waiting = dict.fromkeys(gaps, 0)
    for row in rows:
        for left, right in pairwise(row):
            distance = graph.distance(left, right)
            towards = gaps[block[left]]
            waiting[block[right]] += block[right] not in towards
            towards[block[right]] = max(distance, towards.get(block[right], 0.0))
    leftmost = {vertex for vertex, count in waiting.items() if not count}
    centre = dict.fromkeys(gaps, 0.0)
    ready = sorted(leftmost)
    order = []
    while ready:
        left = ready.pop()
        order.append(left)
        for right, distance in gaps[left].items():
            centre[right] = max(centre[right], centre[left] + distance)
            waiting[right] -= 1
            if not waiting[right]:
                ready.append(right)
    for left in reversed(order):
        if gaps[left] and left in leftmost:
            centre[left] = min(centre[right] - distance for right, distance in gaps[left].items())
    return [centre[vertex] for vertex in block]


def _balance(graph: Rows, candidates: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of the two middle candidates, all shifted to one side of the narrowest."""
    halves = [width / 2 for width, _ in graph.sizes]
    spans = [
        (
            min(centre - half for centre, half in zip(centres, halves, strict=True)),
            max(centre + half for centre, half in zip(centres, halves, strict=True)),
        )
        for centres in candidates
    ]
    left, right = min(spans, key=lambda span: span[1] - span[0])
    shifts = [left - span[0] if number % 2 == 0 else right - span[1] for number, span in enumerate(spans)]
    balanced = []
    for vertex in range(len(halves)):
        middle = sorted(centres[vertex] + shift for centres, shift in zip(candidates, shifts, strict=True))
        balanced.append((middle[1] + middle[2]) / 2)
    return balanced
