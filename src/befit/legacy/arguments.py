"""Arguments: whether a function takes one, and a number that stands for several."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

from befit._internal.arguments import as_count
from befit.errors import ArgumentError, UnsupportedObjectError

__all__ = ["has_arg", "normalize_tuple"]


def has_arg(fn: Callable[..., Any], name: str, accept_all: bool = False) -> bool:
    """Return whether ``fn`` can be called with ``name=...``.

    Args:
        fn: A function, a class or another callable.
        name: The name of the argument. One that can be given by its position only does not count.
        accept_all: What to return where only ``**kwargs`` would take it.

    Raises:
        UnsupportedObjectError: Python cannot tell which arguments ``fn`` has.

    Example:
        >>> def call(x, *, training=False, **kwargs): ...
        >>> has_arg(call, "training"), has_arg(call, "mask"), has_arg(call, "mask", accept_all=True)
        (True, False, True)

    Source: Keras 2.2, ``keras.utils.generic_utils.has_arg``.
    """
    try:
        parameters = inspect.signature(fn).parameters
    except (TypeError, ValueError) as error:
        raise UnsupportedObjectError(
            f"has_arg({fn!r}, {name!r}): Python does not know its arguments; pass a function or class that "
            "is written in Python"
        ) from error
    parameter = parameters.get(name)
    if parameter is not None and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return True
    return accept_all and any(other.kind is other.VAR_KEYWORD for other in parameters.values())


def normalize_tuple(value: Any, n: int, name: str) -> tuple[int, ...]:
    """Return ``n`` whole numbers, given them or one that stands for all.

    Args:
        value: A whole number, or ``n`` of them.
        n: How many.
        name: What the error calls them, such as ``"strides"``.

    Raises:
        ArgumentError: they are not ``n``, or one of them is no whole number.

    Example:
        >>> normalize_tuple(3, 2, "kernel_size"), normalize_tuple([1, 2], 2, "strides")
        ((3, 3), (1, 2))

    Source: Keras 2.2, ``keras.utils.conv_utils.normalize_tuple``, which let numbers that are not whole pass.
    """
    count = as_count("n", n)
    try:
        if hasattr(value, "__index__") and not getattr(value, "shape", ()):
            return (operator.index(value),) * count
        numbers = tuple(operator.index(number) for number in value)
    except TypeError:
        numbers = ()
    if len(numbers) != count:
        raise ArgumentError(
            f"{name} is {value!r}; write one whole number, or {count} of them, such as {(1,) * count}"
        )
    return numbers
