"""Laws that hold for every layout, and layouts that one can check by eye."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit.errors import ArgumentError, GraphError
from befit.graph.layout import RANKDIRS, Layout, Point, Rectangle, lay_out, list_boxes

TOLERANCE = 1e-6


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Boxes of any size, edges from lower to higher numbers, some of them repeated."""
    count = draw(st.integers(1, 14))
    number = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(number, number), max_size=24))
    edges = [(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]]
    size = st.tuples(st.integers(1, 240), st.integers(1, 90))
    return {
        "sizes": draw(st.lists(size, min_size=count, max_size=count)),
        "edges": edges,
        "rankdir": draw(st.sampled_from(RANKDIRS)),
        "tensors": draw(st.lists(st.integers(0, 2), min_size=len(edges), max_size=len(edges))),
    }


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return (
        min(a.right, b.right) - max(a.x, b.x) > TOLERANCE
        and min(a.bottom, b.bottom) - max(a.y, b.y) > TOLERANCE
    )


def enters(start: Point, end: Point, box: Rectangle) -> bool:
    """Whether the line from start to end has a part inside the box: what is left after clipping."""
    low, high = 0.0, 1.0
    for axis, near, far in ((0, box.x, box.right), (1, box.y, box.bottom)):
        near, far = near + TOLERANCE, far - TOLERANCE
        way = end[axis] - start[axis]
        if way == 0:
            if not near < start[axis] < far:
                return False
            continue
        first, second = sorted(((near - start[axis]) / way, (far - start[axis]) / way))
        low, high = max(low, first), min(high, second)
    return low < high


def test_the_helpers_of_these_tests_see_what_is_wrong() -> None:
    assert overlap(Rectangle(0, 0, 10, 10), Rectangle(9, 9, 10, 10))
    assert not overlap(Rectangle(0, 0, 10, 10), Rectangle(10, 0, 10, 10))
    assert enters((5, -5), (5, 15), Rectangle(0, 0, 10, 10))
    assert enters((-5, 0), (15, 10), Rectangle(0, 0, 10, 10))
    assert not enters((0, -5), (0, 15), Rectangle(0, 0, 10, 10))


@given(graphs())
def test_no_boxes_overlap(graph: dict[str, Any]) -> None:
    for a, b in combinations(lay_out(**graph).boxes, 2):
        assert not overlap(a, b)


@given(graphs())
def test_no_route_runs_through_a_box(graph: dict[str, Any]) -> None:
    layout = lay_out(**graph)
    for route in layout.routes:
        for start, end in pairwise(route):
            assert not any(enters(start, end, box) for box in layout.boxes)


@given(graphs())
def test_routes_lead_from_border_to_border_in_the_direction_of_the_drawing(graph: dict[str, Any]) -> None:
    layout = lay_out(**graph)
    for (source, target), route in zip(graph["edges"], layout.routes, strict=True):
        start, end = layout.boxes[source], layout.boxes[target]
        match graph["rankdir"]:
            case "TB":
                expected = (start.bottom, end.y)
            case "BT":
                expected = (start.y, end.bottom)
            case "LR":
                expected = (start.right, end.x)
            case "RL":
                expected = (start.x, end.right)
        axis = 0 if layout.is_horizontal else 1
        assert (route[0][axis], route[-1][axis]) == pytest.approx(expected)
        for box, point in ((start, route[0]), (end, route[-1])):
            assert box.x - TOLERANCE <= point[0] <= box.right + TOLERANCE
            assert box.y - TOLERANCE <= point[1] <= box.bottom + TOLERANCE
        steps = [after[axis] - before[axis] for before, after in pairwise(route)]
        assert all(step > 0 for step in steps) or all(step < 0 for step in steps)


@given(graphs())
def test_everything_is_inside_the_drawing_and_sizes_are_kept(graph: dict[str, Any]) -> None:
    layout = lay_out(**graph)
    for box, size in zip(layout.boxes, graph["sizes"], strict=True):
        assert (box.width, box.height) == size
        assert box.x >= -TOLERANCE
        assert box.y >= -TOLERANCE
        assert box.right <= layout.width + TOLERANCE
        assert box.bottom <= layout.height + TOLERANCE
    for x, y in (point for route in layout.routes for point in route):
        assert -TOLERANCE <= x <= layout.width + TOLERANCE
        assert -TOLERANCE <= y <= layout.height + TOLERANCE


@settings(max_examples=30)
@given(graphs())
def test_the_same_graph_gets_the_same_layout(graph: dict[str, Any]) -> None:
    assert lay_out(**graph) == lay_out(**graph)


@settings(max_examples=50)
@given(graphs())
def test_repeated_edges_have_routes_of_their_own(graph: dict[str, Any]) -> None:
    layout = lay_out(**graph)
    routes = list(zip(graph["edges"], layout.routes, strict=True))
    for (edge, route), (other, other_route) in combinations(routes, 2):
        if edge == other:
            assert route != other_route


def crossings(layout: Layout) -> int:
    """The number of pairs of straight parts that cross, for layouts of two rows."""
    ends = [(route[0][0], route[-1][0]) for route in layout.routes]
    return sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(ends, 2))


def test_rows_are_sorted_so_that_edges_do_not_cross() -> None:
    edges = [(0, 7), (1, 6), (2, 5), (3, 4)]
    joined = [*edges, (0, 6), (1, 5), (2, 4)]
    assert crossings(lay_out([(60, 20)] * 8, joined)) == 0


def test_what_has_two_branches_stands_in_their_middle() -> None:
    layout = lay_out([(60, 20)] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    top, left, right, bottom = (box.x + box.width / 2 for box in layout.boxes)
    assert top == bottom == (left + right) / 2


def test_boxes_settle_in_the_middle_of_branches_of_any_width() -> None:
    sizes = [(width, 20) for width in (60, 100, 40, 160, 80, 60)]
    branches = (1, 2, 3, 4)
    edges = [(0, branch) for branch in branches] + [(branch, 5) for branch in branches]
    centres = [box.x + box.width / 2 for box in lay_out(sizes, edges).boxes]
    middle = sum(centres[branch] for branch in branches) / 4
    assert centres[0] == centres[5] == pytest.approx(middle, abs=1)


def test_long_edges_are_straight_inside() -> None:
    """Where other edges cross them, too: only their ends bend."""
    edges = [(3, 5), (2, 5), (1, 4), (0, 6), (3, 5), (0, 4), (1, 3), (0, 5), (0, 1), (3, 4)]
    layout = lay_out([(40, 20)] * 7, edges, tensors=range(10))
    assert max(len(route) for route in layout.routes) <= 6


def test_an_edge_that_can_be_straight_is_not_bent_by_its_neighbour() -> None:
    """Sideways, boxes offer little room for where edges meet them."""
    layout = lay_out([(80, 28)] * 3, [(0, 1), (1, 2), (0, 2)], "LR")
    assert [len(route) == 2 for route in layout.routes] == [True, True, False]


def test_a_residual_connection_leads_round_a_straight_chain() -> None:
    layout = lay_out([(60, 20), (90, 20), (50, 20), (60, 20)], [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert len({box.x + box.width / 2 for box in layout.boxes}) == 1
    assert all(len(route) == 2 for route in layout.routes[:3])
    assert max(x for x, _ in layout.routes[3]) > layout.boxes[1].right or (
        min(x for x, _ in layout.routes[3]) < layout.boxes[1].x
    )


def test_parts_without_connection_stand_side_by_side() -> None:
    layout = lay_out([(60, 20)] * 4, [(0, 1), (2, 3)])
    assert layout.boxes[0].right < layout.boxes[2].x
    assert layout.boxes[0].y == layout.boxes[2].y


def test_edges_of_one_tensor_run_together_and_others_apart() -> None:
    sizes, edges = [(60, 20)] * 6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 4), (0, 5)]
    together = lay_out(sizes, edges, tensors=[0] * 7)
    apart = lay_out(sizes, edges, tensors=[0] * 6 + [1])
    assert together.routes[5][:2] == together.routes[6][:2]
    assert not set(apart.routes[5]) & set(apart.routes[6])


def test_a_tensor_that_is_passed_twice_parts_in_front_of_the_box() -> None:
    layout = lay_out([(60, 20)] * 3, [(0, 1), (1, 2), (0, 2), (0, 2)])
    first, second = layout.routes[2:]
    assert first[:-2] == second[:-2]
    assert abs(first[-1][0] - second[-1][0]) >= 8
    assert first[-1][1] == second[-1][1]


def test_a_thousand_layers_in_a_row() -> None:
    layout = lay_out([(100, 30)] * 1000, [(index, index + 1) for index in range(999)])
    assert layout.width == 100
    assert all(above.bottom < below.y for above, below in pairwise(layout.boxes))


@pytest.mark.parametrize("rankdir", RANKDIRS)
def test_data_flows_in_the_direction_asked_for(rankdir: str) -> None:
    first, second = lay_out([(40, 20)] * 2, [(0, 1)], rankdir).boxes
    way = (second.x - first.x, second.y - first.y)
    assert (
        tuple((value > 0) - (value < 0) for value in way)
        == {
            "TB": (0, 1),
            "BT": (0, -1),
            "LR": (1, 0),
            "RL": (-1, 0),
        }[rankdir]
    )


def test_no_boxes_make_an_empty_drawing() -> None:
    assert lay_out([], []) == list_boxes([]) == Layout(0.0, 0.0, (), ())


def test_boxes_without_edges_are_listed() -> None:
    boxes = list_boxes([(10, 5), (30, 7), (20, 9)]).boxes
    assert [box.x for box in boxes] == [0, 0, 0]
    assert all(above.bottom < below.y for above, below in pairwise(boxes))


@pytest.mark.parametrize("edges", [[(0, 1), (1, 2), (2, 0)], [(1, 1)]])
def test_a_cycle_is_an_error(edges: list[tuple[int, int]]) -> None:
    with pytest.raises(GraphError):
        lay_out([(10, 10)] * 3, edges)


def test_an_unknown_direction_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="'LR'"):
        lay_out([(10, 10)], [], "XY")
