"""When a transfer is tried again, and how long to wait before."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_PAUSE = 0.5  # seconds
_LONGEST_PAUSE = 60.0  # seconds; also where a server asks for hours


class TransientError(Exception):
    """A transfer failed in a way that may pass; ``wait`` is how many seconds the server asked for."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def pause(attempt: int, wanted: float | None) -> float:
    """Return the seconds to wait after failed ``attempt`` (from 0).

    They double from attempt to attempt, with jitter so that many clients do not return at once. What a server
    wishes is a lower bound.
    """
    usual: float = _FIRST_PAUSE * 2.0 ** min(attempt, 16) * random.uniform(0.5, 1.0)
    return min(max(usual, wanted or 0.0), _LONGEST_PAUSE)


def wait(attempt: int, wanted: float | None) -> None:
    """Sleep for ``pause(attempt, wanted)``."""
    time.sleep(pause(attempt, wanted))


def retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for: a number, or a date.

    >>> retry_after("120")
    120.0
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the second: a day or a zone of twenty digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
