"""Network simplex against trying out every assignment of ranks."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import GraphError
from befit.graph.layout.ranks import assign_ranks

Edges = list[tuple[int, int]]


@st.composite
def connected_graphs(draw: st.DrawFn, most: int) -> tuple[int, Edges]:
    count = draw(st.integers(2, most))
    order = draw(st.permutations(range(count)))
    tree = [(draw(st.integers(0, number - 1)), number) for number in range(1, count)]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    more = [(min(pair), max(pair)) for pair in draw(st.lists(pairs, max_size=count)) if pair[0] != pair[1]]
    return count, [(order[a], order[b]) for a, b in tree + more]


def total_length(ranks: list[int], edges: Edges) -> int:
    return sum(ranks[target] - ranks[source] for source, target in edges)


def shortest(count: int, edges: Edges) -> int:
    """The smallest total length that any ranks have."""
    return min(
        sum(ranks[target] - ranks[source] for source, target in edges)
        for ranks in product(range(count), repeat=count)
        if all(ranks[source] < ranks[target] for source, target in edges)
    )


@given(connected_graphs(most=5))
def test_edges_are_as_short_as_possible_in_total(graph: tuple[int, Edges]) -> None:
    assert total_length(assign_ranks(*graph), graph[1]) == shortest(*graph)


@given(connected_graphs(most=40))
def test_every_edge_leads_to_a_later_rank_and_ranks_begin_at_0(graph: tuple[int, Edges]) -> None:
    ranks = assign_ranks(*graph)
    assert min(ranks) == 0
    assert all(ranks[source] < ranks[target] for source, target in graph[1])


def test_a_late_input_stands_directly_above_the_layer_that_takes_it() -> None:
    chain = [(0, 1), (1, 2), (2, 3)]
    assert assign_ranks(5, [*chain, (4, 3)])[4] == 2


def test_repeated_edges_count_as_often_as_they_are_there() -> None:
    # Vertex 3 may stand anywhere between 0 and 2; two edges outweigh one.
    chain = [(0, 1), (1, 4), (4, 2)]
    assert assign_ranks(5, [*chain, (0, 3), (0, 3), (3, 2)])[3] == 1
    assert assign_ranks(5, [*chain, (0, 3), (3, 2), (3, 2)])[3] == 2


def test_a_cycle_is_an_error() -> None:
    with pytest.raises(GraphError, match="cycle"):
        assign_ranks(3, [(0, 1), (1, 2), (2, 1)])
