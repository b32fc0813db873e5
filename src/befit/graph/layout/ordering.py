"""The order within each row: few crossings, by weighted medians and exchanges of neighbours.

Gansner et al. (1993), section 3: rows are sorted by the median position of their neighbours, downwards and
upwards in turn; after each pass neighbours change places where that removes crossings. The best order stays,
and whole strands are moved. Where crossings are left, a few more tries begin with the rows there shuffled.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from itertools import groupby
from random import Random

from befit.graph.layout.rows import Rows
from befit.graph.layout.strands import list_strands, move_strands

PASSES = 40
PATIENCE = 4  # passes without a better order
TRIES = 3
NARROW = 3
"""Rows of so few vertices divide the graph into parts that hardly concern each other."""


def order_rows(graph: Rows) -> None:
    """Fill ``graph.rows``."""
    strands = list_strands(graph)
    rows: list[list[int]] = []
    place = [0] * len(graph.sizes)
    fewest = -1
    for downwards in (True, False):
        order = _first_order(graph, downwards)
        for row in order:
            _number(row, place)
        crossings = _improve(graph, order, place, strands, range(len(order)))
        if fewest < 0 or crossings < fewest:
            rows, fewest = order, crossings
        if not fewest:
            break
    if fewest:
        for row in rows:
            _number(row, place)
        _try_again(graph, rows, place, strands)
    graph.rows = rows


def _try_again(
    graph: Rows, rows: list[list[int]], place: list[int], strands: Sequence[Sequence[int]]
) -> None:
    """Begin anew, from chance, in each run of wide rows that have crossings between them."""
    for is_wide, run in groupby(range(len(rows)), key=lambda number: len(rows[number]) > NARROW):
        numbers = list(run)
        span = range(numbers[0], numbers[-1] + 1)
        fewest = count_crossings(graph, rows, place, span)
        if not is_wide or not fewest:
            continue
        inside = [s for s in strands if graph.row_of[s[0]] in span and graph.row_of[s[-1]] in span]
        best = rows[span.start : span.stop]
        for seed in range(TRIES):
            chance = Random(seed)
            for number, row in zip(span, best, strict=True):
                rows[number] = chance.sample(row, len(row))
                _number(rows[number], place)
            crossings = _improve(graph, rows, place, inside, span)
            if crossings < fewest:
                best, fewest = rows[span.start : span.stop], crossings
        _put_back(rows, best, place, span)


def _put_back(rows: list[list[int]], best: list[list[int]], place: list[int], span: range) -> None:
    rows[span.start : span.stop] = best
    for row in best:
        _number(row, place)


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


def _improve(
    graph: Rows, rows: list[list[int]], place: list[int], strands: Sequence[Sequence[int]], span: range
) -> int:
    """Sort the rows of ``span`` in place for few crossings, and return how many are left there."""
    _exchange_neighbours(graph, rows, place, span)
    fewest = count_crossings(graph, rows, place, span)
    best = [rows[number].copy() for number in span]
    idle = 0
    for step in range(PASSES):
        if not fewest or idle == PATIENCE:
            break
        downwards = step % 2 == 0
        neighbours = graph.upper if downwards else graph.lower
        for number in span if downwards else reversed(span):
            _sort_by_medians(rows[number], neighbours, place, turn_ties=step % 4 >= 2)
        _exchange_neighbours(graph, rows, place, span)
        crossings = count_crossings(graph, rows, place, span)
        idle += 1
        if crossings < fewest:
            fewest, idle = crossings, 0
            best = [rows[number].copy() for number in span]
    _put_back(rows, best, place, span)
    if fewest:
        move_strands(graph, rows, place, strands, span)
        fewest = count_crossings(graph, rows, place, span)
    return fewest


def count_crossings(
    graph: Rows,
    rows: Sequence[Sequence[int]],
    place: Sequence[int] | Mapping[int, int],
    span: range | None = None,
) -> int:
    """Return how many pairs of edge pieces cross: in all, or between the rows of ``span`` and beside them."""
    span = range(len(rows)) if span is None else span
    within = range(span.start, min(span.stop + 1, len(rows)))
    return sum(_crossings_above(graph, rows[number], place) for number in within if len(rows[number]) > 1)


def _crossings_above(graph: Rows, row: Sequence[int], place: Sequence[int] | Mapping[int, int]) -> int:
    crossings = 0
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


def _exchange_neighbours(graph: Rows, rows: list[list[int]], place: list[int], span: range) -> None:
    """Let neighbours in the rows of ``span`` change places as long as that removes crossings."""
    waiting = {number for number in span if len(rows[number]) > 1}
    while waiting:
        for number in sorted(waiting):
            waiting.discard(number)
            row = rows[number]
            for position in range(len(row) - 1):
                left, right = row[position], row[position + 1]
                gain = _crossings_saved(graph.upper[left], graph.upper[right], place)
                gain += _crossings_saved(graph.lower[left], graph.lower[right], place)
                if gain > 0:
                    row[position], row[position + 1] = right, left
                    place[left], place[right] = position + 1, position
                    waiting.update(near for near in range(number - 1, number + 2) if near in span)


def _crossings_saved(left: Sequence[int], right: Sequence[int], place: Sequence[int]) -> int:
    """Return how many crossings go away if vertices with these neighbours change places."""
    saved = 0
    for a in left:
        for b in right:
            saved += (place[a] > place[b]) - (place[a] < place[b])
    return saved
