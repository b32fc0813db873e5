"""Strands, moved where they cross least, against trying out every place."""

from __future__ import annotations

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from befit.graph.layout.ordering import count_crossings
from befit.graph.layout.rows import Rows, cut_edges
from befit.graph.layout.strands import list_strands, move_strands

ROWS, WIDTH = 4, 3


@st.composite
def ordered_graphs(draw: st.DrawFn) -> Rows:
    """Boxes in rows of three, links to later rows, the rows in any order."""
    box = st.integers(0, ROWS * WIDTH - 1)
    pairs = draw(st.lists(st.tuples(box, box), min_size=1, max_size=14))
    ranks = [number // WIDTH for number in range(ROWS * WIDTH)]
    edges = [(min(pair), max(pair)) for pair in pairs if ranks[pair[0]] != ranks[pair[1]]]
    graph = cut_edges([(10, 10)] * len(ranks), edges, list(range(len(edges))), ranks)
    for row in range(ROWS):
        members = [vertex for vertex, rank in enumerate(graph.row_of) if rank == row]
        graph.rows.append(draw(st.permutations(members)))
    return graph


def places(graph: Rows, rows: list[list[int]]) -> list[int]:
    place = [0] * len(graph.sizes)
    for row in rows:
        for position, vertex in enumerate(row):
            place[vertex] = position
    return place


def crossings(graph: Rows, rows: list[list[int]]) -> int:
    return count_crossings(graph, rows, places(graph, rows))


@given(ordered_graphs())
def test_every_vertex_is_in_one_strand_that_leads_down_row_by_row(graph: Rows) -> None:
    strands = list_strands(graph)
    assert sorted(vertex for strand in strands for vertex in strand) == list(range(len(graph.sizes)))
    for strand in strands:
        for above, below in pairwise(strand):
            assert graph.lower[above] == [below]
            assert graph.upper[below] == [above]


@given(ordered_graphs())
def test_no_move_adds_crossings_or_loses_a_vertex(graph: Rows) -> None:
    rows = [list(row) for row in graph.rows]
    place = places(graph, rows)
    move_strands(graph, rows, place, list_strands(graph), range(ROWS))
    assert [sorted(row) for row in rows] == [sorted(row) for row in graph.rows]
    assert place == places(graph, rows)
    assert crossings(graph, rows) <= crossings(graph, [list(row) for row in graph.rows])


@given(ordered_graphs())
def test_one_strand_goes_where_it_crosses_least(graph: Rows) -> None:
    strand = list_strands(graph)[0]
    first = graph.row_of[strand[0]]
    rows = [list(row) for row in graph.rows]
    move_strands(graph, rows, places(graph, rows), [strand], range(ROWS))
    rest = [[vertex for vertex in row if vertex not in strand] for row in graph.rows]
    fewest = crossings(graph, [list(row) for row in graph.rows])
    for gaps in product(*(range(len(rest[first + number]) + 1) for number in range(len(strand)))):
        tried = [list(row) for row in rest]
        for number, gap in enumerate(gaps):
            tried[first + number].insert(gap, strand[number])
        fewest = min(fewest, crossings(graph, tried))
    assert crossings(graph, rows) == fewest


def test_a_long_edge_moves_as_a_whole() -> None:
    """No exchange of two neighbours in one row gains anything here."""
    edges = [(0, 2), (2, 4), (4, 6), (1, 3), (3, 5), (5, 7), (0, 7)]
    graph = cut_edges([(10, 10)] * 8, edges, list(range(7)), [0, 0, 1, 1, 2, 2, 3, 3])
    bends = list(range(8, len(graph.sizes)))
    rows = [[0, 1], [bends[0], 2, 3], [bends[1], 4, 5], [6, 7]]
    assert crossings(graph, rows) == 1
    move_strands(graph, rows, places(graph, rows), list_strands(graph), range(4))
    assert crossings(graph, rows) == 0
