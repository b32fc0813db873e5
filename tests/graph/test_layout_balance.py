"""The parts of the layout that make it calm: how columns settle, where edges meet boxes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.graph.layout.routing import _spread
from befit.graph.layout.settling import _Column, _force, _shared_forces


def side_by_side(gap: float) -> list[_Column]:
    """Two columns, 10 wide each, with a gap between them."""
    left, right = _Column(0.0), _Column(10.0 + gap)
    left.right[1] = right.left[0] = 10.0
    return [left, right]


def test_columns_that_touch_and_push_each_other_share_their_forces() -> None:
    assert _shared_forces(side_by_side(0), [3.0, -1.0], [1, 1]) == [1.0, 1.0]
    assert _shared_forces(side_by_side(0), [3.0, -1.0], [3, 1]) == [2.0, 2.0]


def test_columns_with_a_gap_or_drawn_apart_keep_their_forces() -> None:
    assert _shared_forces(side_by_side(5), [3.0, -1.0], [1, 1]) == [3.0, -1.0]
    assert _shared_forces(side_by_side(0), [-3.0, 1.0], [1, 1]) == [-3.0, 1.0]


@pytest.mark.parametrize(("x", "force"), [(5.0, 0.0), (-8.0, 0.0), (20.0, 12.0), (-20.0, -12.0)])
def test_an_edge_that_is_straight_within_its_play_draws_nobody(x: float, force: float) -> None:
    assert _force(_Column(0.0, pulls=[(0, 8.0)]), [_Column(x)]) == force


wishes = st.lists(st.floats(-200, 200), max_size=9).map(sorted)


@given(wishes, st.floats(0, 20), st.floats(1, 100))
def test_ports_keep_their_order_their_distance_and_the_bounds(
    wished: list[float], gap: float, reach: float
) -> None:
    ports = _spread(wished, gap, -reach, reach)
    assert len(ports) == len(wished)
    assert all(-reach - 1e-6 <= port <= reach + 1e-6 for port in ports)
    apart = min(gap, 2 * reach / max(len(ports) - 1, 2))
    assert all(right - left >= apart - 1e-6 for left, right in pairwise(ports))


def test_ports_with_room_are_where_they_wish() -> None:
    assert _spread([-30.0, 0.0, 30.0], 12, -50, 50) == [-30.0, 0.0, 30.0]


def test_ports_that_wish_for_the_same_place_stand_around_it() -> None:
    assert _spread([5.0, 5.0, 5.0], 12, -50, 50) == [-7.0, 5.0, 17.0]
    assert _spread([50.0, 50.0], 12, -50, 50) == [38.0, 50.0]
