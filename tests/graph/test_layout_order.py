"""Crossings, counted and avoided."""

from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit.graph.layout.ordering import count_crossings, order_rows
from befit.graph.layout.rows import Rows, cut_edges

SIDE = 3


def two_rows(edges: list[tuple[int, int]]) -> Rows:
    """Boxes 0 to 2 above boxes 3 to 5."""
    return cut_edges([(10, 10)] * 2 * SIDE, edges, [0] * len(edges), [0] * SIDE + [1] * SIDE)


def crossings_pair_by_pair(edges: list[tuple[int, int]], place: list[int]) -> int:
    ends = [(place[above], place[below]) for above, below in edges]
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(ends, 2))


edge_lists = st.lists(
    st.tuples(st.integers(0, SIDE - 1), st.integers(SIDE, 2 * SIDE - 1)), min_size=1, max_size=10
)


@given(edge_lists, st.permutations(range(SIDE)), st.permutations(range(SIDE, 2 * SIDE)))
def test_crossings_are_counted_as_one_would_pair_by_pair(
    edges: list[tuple[int, int]], above: list[int], below: list[int]
) -> None:
    place = [0] * 2 * SIDE
    for row in (above, below):
        for position, vertex in enumerate(row):
            place[vertex] = position
    assert count_crossings(two_rows(edges), [above, below], place) == crossings_pair_by_pair(edges, place)


@settings(max_examples=60, derandomize=True)
@given(edge_lists)
def test_small_rows_get_the_best_of_all_orders(edges: list[tuple[int, int]]) -> None:
    graph = two_rows(edges)
    order_rows(graph)
    place = [0] * 2 * SIDE
    for row in graph.rows:
        for position, vertex in enumerate(row):
            place[vertex] = position
    fewest = min(
        crossings_pair_by_pair(edges, [*above, *below])
        for above in permutations(range(SIDE))
        for below in permutations(range(SIDE))
    )
    assert crossings_pair_by_pair(edges, place) == fewest


@pytest.mark.parametrize(
    "edges",
    [
        [(0, 4), (1, 7), (1, 4), (1, 4), (3, 4)],  # not without exchanging neighbours
        [(0, 7), (1, 6), (0, 4), (3, 7)],  # not without turning equal medians round
    ],
)
def test_orders_that_sorting_by_medians_alone_does_not_find(edges: list[tuple[int, int]]) -> None:
    graph = cut_edges([(10, 10)] * 8, edges, [0] * len(edges), [0] * 4 + [1] * 4)
    order_rows(graph)
    place = {vertex: position for row in graph.rows for position, vertex in enumerate(row)}
    assert count_crossings(graph, graph.rows, place) == 0


def test_an_order_that_is_found_only_from_another_beginning() -> None:
    edges = [(0, 6), (0, 7), (1, 4), (1, 4), (4, 9), (5, 8), (5, 11), (7, 8)]
    edges += [(10, 12), (9, 12), (8, 15), (10, 15), (11, 14)]
    ranks = [number // 4 for number in range(16)]
    graph = cut_edges([(10, 10)] * 16, edges, list(range(len(edges))), ranks)
    order_rows(graph)
    place = {vertex: position for row in graph.rows for position, vertex in enumerate(row)}
    assert count_crossings(graph, graph.rows, place) == 0


def test_every_vertex_gets_a_place_in_its_row() -> None:
    edges = [(0, 1), (1, 2), (2, 3), (0, 3), (0, 3)]
    graph = cut_edges([(10, 10)] * 4, edges, [0] * 5, [0, 1, 2, 3])
    order_rows(graph)
    assert [sorted(row) for row in graph.rows] == [[0], [1, 4], [2, 5], [3]]
