"""How many connections a transfer gets, played by a clock and a line of a certain speed."""

import pytest

from befit.files.pace import Pace

MB = 1_000_000


def play(rate_of, *, total=2000 * MB, latency=0.02, most=8, seconds=5.0, step=0.05):
    """Return the numbers of connections wanted over time; ``rate_of(connections)``: bytes a second."""
    pace, received, now, seen = Pace(most), 0, 0.0, [1]
    while now < seconds and received < total:
        now += step
        received += int(rate_of(pace.wanted) * step)
        pace.look(now, received, total - received, latency)
        if pace.wanted != seen[-1]:
            seen.append(pace.wanted)
    return seen


def test_a_server_that_limits_each_connection_gets_as_many_as_allowed():
    assert play(lambda connections: 8 * MB * connections) == [1, 4, 8]
    assert play(lambda connections: 8 * MB * connections, most=2) == [1, 2]
    assert play(lambda connections: 8 * MB * connections, most=1) == [1]


def test_a_line_that_is_full_gets_no_more():
    assert play(lambda connections: 8 * MB) == [1, 4]
    assert play(lambda connections: 8 * MB * min(connections, 5)) == [1, 4, 8]
    assert play(lambda connections: 8 * MB * min(connections, 5), most=32) == [1, 4, 8]


@pytest.mark.parametrize(("rate", "total"), [(400 * MB, 4000 * MB), (8 * MB, 4 * MB)], ids=["fast", "short"])
def test_a_transfer_that_needs_no_help_has_one(rate, total):
    assert play(lambda connections: rate, total=total) == [1]


def test_the_first_look_is_soon_and_leaves_new_connections_time_to_begin():
    pace = Pace(8)
    pace.look(0.0, 0, 100 * MB, 0.1)
    pace.look(0.1, MB, 99 * MB, 0.1)
    assert pace.wanted == 1, "two latencies have not passed"
    pace.look(0.25, 2 * MB, 98 * MB, 0.1)
    assert pace.wanted == 4
    pace.look(0.5, 2 * MB, 98 * MB, 0.1)
    pace.look(0.56, 2 * MB, 98 * MB, 0.1)  # the first byte of the new ones may come now
    pace.look(0.77, 10 * MB, 90 * MB, 0.1)
    assert pace.wanted == 8


def test_what_the_server_does_not_give_is_not_asked_for_again():
    pace = Pace(8)
    pace.wanted = 8
    pace.settle(3)
    assert pace.wanted == 3
    pace.settle(0)
    assert pace.wanted == 1


def test_two_latencies_are_measured_and_three_pass_before_the_next_measurement():
    pace, latency = Pace(8), 0.125
    pace.look(0.0, 0, 900 * MB, latency)
    pace.look(0.24, 2 * MB, 900 * MB, latency)
    assert pace.wanted == 1
    pace.look(0.25, 2 * MB, 900 * MB, latency)
    assert pace.wanted == 4
    pace.look(0.6, 4 * MB, 900 * MB, latency)
    pace.look(0.625, 4 * MB, 900 * MB, latency)  # the new window begins
    pace.look(0.86, 10 * MB, 900 * MB, latency)
    assert pace.wanted == 4
    pace.look(0.875, 10 * MB, 900 * MB, latency)
    assert pace.wanted == 8


def test_more_that_were_no_faster_are_the_last_ones():
    pace = Pace(8)
    for now, received in [(0.0, 0), (0.25, 2), (0.5, 4), (0.75, 6)]:
        pace.look(now, received * MB, 900 * MB, 0.0)
    assert pace.wanted == 4
    for now, received in [(1.0, 20), (1.25, 40), (1.5, 60)]:
        pace.look(now, received * MB, 900 * MB, 0.0)
    assert pace.wanted == 4, "the line got faster, not its parts"


def test_what_was_fast_does_not_count_when_it_has_become_slow():
    pace = Pace(8)
    pace.look(0.0, 0, 900 * MB, 0.0)
    pace.look(0.25, 100 * MB, 900 * MB, 0.0)
    assert pace.wanted == 1
    pace.look(0.5, 102 * MB, 900 * MB, 0.0)
    assert pace.wanted == 4


def test_no_more_are_tried_after_the_server_gave_none():
    pace = Pace(8)
    pace.settle(1)
    for now, received in [(0.0, 0), (0.25, 2), (0.5, 8), (0.75, 20)]:
        pace.look(now, received * MB, 900 * MB, 0.0)
    assert pace.wanted == 1
