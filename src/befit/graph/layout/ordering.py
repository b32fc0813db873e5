"""The order within each row: few crossings, by weighted medians and exchanges of neighbours.

Gansner et al. (1993), section 3: rows are sorted by the median position of their neighbours, downwards and
upwards in turn; after each pass neighbours change places where that removes crossings. The best order stays.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

from befit.graph.layout.rows import Rows

PASSES = 40
PATIENCE = 8  # passes without a better order


def order_rows(graph: Rows) -> None:
    """Fill ``graph.rows``."""
    best: list[list[int]] = []
    fewest = -1
    for downwards in (True, False):
        rows = _first_order(graph, downwards)
        crossings = _improve(graph, rows)
        if fewest < 0 or crossings < fewest:
            best, fewest = rows, crossings
        if not fewest:
            break
    graph.rows = best


def _first_order(graph: Rows, downwards: bool) -> list[list[int]]:
    """Return the rows in the order of a depth-first walk, so that what hangs together stands together."""
    following = graph.lower if downwards else graph.upper
    before = graph.upper if downwards else graph.lower
    rows: list[list[int]] = [[] for _ in range(max(graph.row_of) + 1)]
    seen = [False] * len(graph.sizes)
    starts = [vertex for vertex in range(graph.boxes) if not before[vertex]]
    for start in starts:
        stack = [start]
        while stack:
            vertex = stack.pop()
            if not seen[vertex]:
                seen[vertex] = True
                rows[graph.row_of[vertex]].append(vertex)
                stack.extend(reversed(following[vertex]))
    return rows


def _improve(graph: Rows, rows: list[list[int]]) -> int:
    """Sort ``rows`` in place for few crossings, and return how many are left."""
    place = [0] * len(graph.sizes)
    for row in rows:
        _number(row, place)
    _exchange_neighbours(graph, rows, place)
    fewest = count_crossings(graph, rows, place)
    best = [row.copy() for row in rows]
    idle = 0
    for step in range(PASSES):
        if not fewest or idle == PATIENCE:
            break
        downwards = step % 2 == 0
        neighbours = graph.upper if downwards else graph.lower
        for row in rows[1:] if downwards else rows[-2::-1]:
            _sort_by_medians(row, neighbours, place, turn_ties=step % 4 >= 2)
        _exchange_neighbours(graph, rows, place)
        crossings = count_crossings(graph, rows, place)
        idle += 1
        if crossings < fewest:
            fewest, idle = crossings, 0
            best = [row.copy() for row in rows]
    rows[:] = best
    return fewest


def count_crossings(
    graph: Rows, rows: Sequence[Sequence[int]], place: Sequence[int] | Mapping[int, int]
) -> int:
    """Return how many pairs of edge pieces cross."""
    crossings = 0
    for row in rows[1:]:
        passed: list[int] = []
        for vertex in row:
            places = [place[neighbour] for neighbour in graph.upper[vertex]]
            crossings += sum(len(passed) - bisect_right(passed, upper) for upper in places)
            for upper in places:
                insort(passed, upper)
    return crossings


def _number(row: Sequence[int], place: list[int]) -> None:
    for position, vertex in enumerate(row):
        place[vertex] = position


def _sort_by_medians(
    row: list[int], neighbours: Sequence[Sequence[int]], place: list[int], *, turn_ties: bool
) -> None:
    """Sort ``row`` by the medians of the vertices' neighbours; those without neighbours keep their place.

    Turning round vertices with equal medians leads out of orders that no exchange of two neighbours betters.
    """
    medians = {vertex: _median(neighbours[vertex], place) for vertex in row if neighbours[vertex]}
    movable = iter(sorted(reversed(medians) if turn_ties else medians, key=medians.__getitem__))
    row[:] = [next(movable) if vertex in medians else vertex for vertex in row]
    _number(row, place)


def _median(neighbours: Sequence[int], place: Sequence[int]) -> float:
    """Return the median position; of two, the one on the side where the neighbours stand closer together."""
    places = sorted(place[neighbour] for neighbour in neighbours)
    middle = len(places) // 2
    if len(places) % 2:
        return places[middle]
    left, right = places[middle - 1], places[middle]
    left_spread, right_spread = left - places[0], places[-1] - right
    if not left_spread + right_spread:
        return (left + right) / 2
    return (left * right_spread + right * left_spread) / (left_spread + right_spread)


def _exchange_neighbours(graph: Rows, rows: list[list[int]], place: list[int]) -> None:
    """Let neighbours in a row change places as long as that removes crossings."""
    waiting = [len(row) > 1 for row in rows]
    while any(waiting):
        for number, row in enumerate(rows):
            if not waiting[number]:
                continue
            waiting[number] = False
            for position in range(len(row) - 1):
                left, right = row[position], row[position + 1]
                gain = _crossings_saved(graph.upper[left], graph.upper[right], place)
                gain += _crossings_saved(graph.lower[left], graph.lower[right], place)
                if gain > 0:
                    row[position], row[position + 1] = right, left
                    place[left], place[right] = position + 1, position
                    for near in range(max(number - 1, 0), min(number + 2, len(rows))):
                        waiting[near] = len(rows[near]) > 1


def _crossings_saved(left: Sequence[int], right: Sequence[int], place: Sequence[int]) -> int:
    """Return how many crossings go away if vertices with these neighbours change places."""
    saved = 0
    for a in left:
        for b in right:
            saved += (place[a] > place[b]) - (place[a] < place[b])
    return saved
