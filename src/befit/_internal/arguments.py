"""Checks of numbers that users pass."""

from __future__ import annotations

import operator
from typing import Any

from befit.errors import ArgumentError


def as_count(name: str, value: Any, *, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or count < minimum:
        raise ArgumentError(f"{name} is {value!r}; write a whole number of at least {minimum}")
    return count


def as_seed(value: Any) -> int:
    """Return ``value`` as a seed."""
    return as_count("seed", value, minimum=0)
