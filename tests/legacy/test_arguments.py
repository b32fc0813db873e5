"""``has_arg`` against calls that work or do not, and ``normalize_tuple``."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from befit.errors import ArgumentError, UnsupportedObjectError
from befit.legacy import has_arg, normalize_tuple


def plain(a, b=1): ...
def keyword_only(*, b): ...
def positional_only(b, /): ...
def star(*b): ...
def double_star(**kwargs): ...
def both(b, /, **kwargs): ...


class Built:
    def __init__(self, a=1, b=2): ...


class Called:
    def __call__(self, b): ...


@pytest.mark.parametrize(
    ("function", "named", "accepting"),
    [
        (plain, True, True),
        (keyword_only, True, True),
        (positional_only, False, False),
        (star, False, False),
        (double_star, False, True),
        (both, False, True),
        (Built, True, True),
        (Called(), True, True),
        (functools.partial(plain, 1), True, True),
        (lambda a: a, False, False),
    ],
)
def test_an_argument_counts_if_it_can_be_given_by_name(function, named, accepting):
    assert has_arg(function, "b") is named
    assert has_arg(function, "b", accept_all=True) is accepting


@pytest.mark.parametrize("value", [3, dict.update])
def test_what_has_no_known_arguments_is_refused(value):
    with pytest.raises(UnsupportedObjectError, match="does not know its arguments"):
        has_arg(value, "b")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3, 3)),
        (np.int64(3), (3, 3)),
        ([1, 2], (1, 2)),
        (np.array([1, 2]), (1, 2)),
        (iter((1, 2)), (1, 2)),
    ],
)
def test_a_number_stands_for_all(value, expected):
    result = normalize_tuple(value, 2, "strides")
    assert result == expected
    assert all(type(number) is int for number in result)


@pytest.mark.parametrize("value", [(1, 2, 3), (1,), (), 1.5, (1, 2.5), "12", None, [1, None], {}])
def test_what_is_not_as_many_whole_numbers_is_refused(value):
    with pytest.raises(ArgumentError, match=r"strides is .*; write one whole number, or 2 of them"):
        normalize_tuple(value, 2, "strides")
