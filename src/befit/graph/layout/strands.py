"""Fewer crossings by moving whole strands: what exchanges of two neighbours in one row cannot find.

A strand is a run of vertices, one below the other, that are joined to nothing else in between: the bends of a
long edge, a chain of boxes. It is taken out and put back along the way with the fewest crossings, which is a
shortest path: its places are the gaps in each row, and the price of a step from a gap to one in the next row
is the number of edges on the way.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

from befit.graph.layout.rows import Rows

ROUNDS = 12


def move_strands(
    graph: Rows, rows: list[list[int]], place: list[int], strands: Sequence[Sequence[int]], span: range
) -> None:
    """Change the order in ``rows`` as long as moving one of ``strands``, all in ``span``, helps."""
    for _ in range(ROUNDS):
        crossed = _crossed(graph, rows, place, span)
        moves = [_move(graph, rows, place, strand) for strand in strands if not crossed.isdisjoint(strand)]
        if not any(moves):
            return


def list_strands(graph: Rows) -> list[list[int]]:
    """Return all vertices as strands, the longest first."""
    followed = [len(below) == 1 and len(graph.upper[below[0]]) == 1 for below in graph.lower]
    inside = {graph.lower[vertex][0] for vertex, is_followed in enumerate(followed) if is_followed}
    strands = []
    for start in range(len(followed)):
        if start in inside:
            continue
        strand = [start]
        while followed[strand[-1]]:
            strand.append(graph.lower[strand[-1]][0])
        strands.append(strand)
    return sorted(strands, key=len, reverse=True)


def _crossed(graph: Rows, rows: Sequence[Sequence[int]], place: Sequence[int], span: range) -> set[int]:
    """Return the ends of all pieces in ``span`` that cross another one."""
    found: set[int] = set()
    for above in rows[max(span.start - 1, 0) : span.stop]:
        pieces = sorted(
            (place[upper], place[lower], upper, lower) for upper in above for lower in graph.lower[upper]
        )
        # A piece crosses one further left whose lower end is further right, or the other way round.
        found.update(_behind(pieces))
        found.update(_behind([(-left, -right, a, b) for left, right, a, b in reversed(pieces)]))
    return found


def _behind(pieces: Iterable[tuple[int, int, int, int]]) -> Iterable[int]:
    """Yield the ends of the pieces that lead further back than one before them."""
    furthest = None
    for _, lower, *ends in pieces:
        if furthest is not None and lower < furthest:
            yield from ends
        furthest = lower if furthest is None else max(furthest, lower)


def _move(graph: Rows, rows: list[list[int]], place: list[int], strand: Sequence[int]) -> bool:
    """Put ``strand`` where it crosses least, if that is less than where it is."""
    first = graph.row_of[strand[0]]
    old = [place[vertex] for vertex in strand]
    for number, vertex in enumerate(strand):
        rows[first + number].remove(vertex)
        _number(rows[first + number], place)
    prices = [_end_prices(rows[first], graph.upper, strand[0], place)]
    steps = []
    for number in range(len(strand) - 1):
        step = _step_prices(graph, rows[first + number], rows[first + number + 1], place, strand[number])
        steps.append(step)
        before = prices[-1]
        prices.append([min(map(int.__add__, before, column)) for column in zip(*step, strict=True)])
    last = _end_prices(rows[first + len(strand) - 1], graph.lower, strand[-1], place)
    totals = list(map(int.__add__, prices[-1], last))
    present = prices[0][old[0]] + last[old[-1]]
    present += sum(step[a][b] for step, a, b in zip(steps, old, old[1:], strict=False))
    best = min(totals)
    gaps = old
    if best < present:
        gaps = [_nearest(totals, best, old[-1])]
        for number in reversed(range(len(steps))):
            sums = [price + row[gaps[0]] for price, row in zip(prices[number], steps[number], strict=True)]
            gaps.insert(0, _nearest(sums, min(sums), old[number]))
    for number, (vertex, gap) in enumerate(zip(strand, gaps, strict=True)):
        rows[first + number].insert(gap, vertex)
        _number(rows[first + number], place)
    return best < present


def _nearest(prices: Sequence[int], price: int, gap: int) -> int:
    """Return the gap of this price that is nearest to ``gap``."""
    return min((abs(number - gap), number) for number, other in enumerate(prices) if other == price)[1]


def _end_prices(
    row: Sequence[int], neighbours: Sequence[Sequence[int]], vertex: int, place: Sequence[int]
) -> list[int]:
    """Return for each gap in ``row`` what the edges to the vertex's neighbours would cross from there."""
    ends = sorted(place[neighbour] for neighbour in neighbours[vertex])
    price = 0
    changes = []
    for other in row:
        change = 0
        for end in (place[neighbour] for neighbour in neighbours[other]):
            smaller, larger = bisect_left(ends, end), len(ends) - bisect_right(ends, end)
            price += larger  # the vertex stands left of all others
            change += smaller - larger
        changes.append(change)
    prices = [price]
    for change in changes:
        prices.append(prices[-1] + change)
    return prices


def _step_prices(
    graph: Rows, above: Sequence[int], below: Sequence[int], place: Sequence[int], vertex: int
) -> list[list[int]]:
    """Return for each gap above and each gap below what an edge between the two would cross."""
    ends: list[int] = []
    for other in above:
        for lower in graph.lower[other]:
            insort(ends, place[lower])
    price = [bisect_left(ends, gap) for gap in range(len(below) + 1)]
    prices = [price]
    for other in above:
        price = price.copy()
        for end in (place[lower] for lower in graph.lower[other]):
            for gap in range(len(price)):
                price[gap] += 1 if gap <= end else -1
        prices.append(price)
    return prices


def _number(row: Sequence[int], place: list[int]) -> None:
    for position, vertex in enumerate(row):
        place[vertex] = position
