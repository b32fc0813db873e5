"""Pauses between attempts."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from befit.files.retry import pause, retry_after


def test_pauses_grow_and_stay_below_a_minute():
    pauses = [pause(attempt, None) for attempt in range(20)]
    assert 0.25 <= pauses[0] <= 0.5
    assert all(0.25 * 2**attempt <= seconds for attempt, seconds in enumerate(pauses[:7]))
    assert max(pauses) <= 60


def test_a_server_may_ask_for_more_but_not_for_hours():
    assert pause(0, 7.0) == 7.0
    assert pause(0, 1e9) == 60.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (None, None),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
    ],
)
def test_retry_after_as_a_number_or_as_nonsense(value, seconds):
    assert retry_after(value) == seconds


def test_retry_after_as_a_date():
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < retry_after(in_a_minute) <= 60
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
