"""The argument ``MODULE:NAME`` of a command: an object in a Python module, or what makes one when called."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from befit._internal.backends import prepare_keras
from befit.errors import ArgumentError, BefitError


def load_object(name: str, noun: str, *, is_one: Callable[[Any], bool], instead: str = "MODULE:NAME") -> Any:
    """Return the object that ``name`` names; a class, or a function that is not one itself, is called.

    Args:
        name: What stands on the command line.
        noun: What is asked for, such as ``"model"``.
        is_one: Whether an object is one already, though it may be callable.
        instead: What to write where ``name`` is not of the form ``MODULE:NAME``.

    Raises:
        ArgumentError: ``name`` is not of that form.
        BefitError: It names nothing that is there, or what cannot be called without arguments.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ArgumentError(f"{name!r} names no {noun}; write {instead}")
    if find_spec("keras") is not None:
        prepare_keras()  # the module may import it
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")  # as `python -m` does: modules of the current folder are found
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BefitError(f"cannot import {module_name!r}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise BefitError(f"module {module_name!r} has no {attribute!r}")
        value = getattr(value, part)
    if callable(value) and (isinstance(value, type) or not is_one(value)):
        try:
            inspect.signature(value).bind()
        except TypeError as error:
            raise BefitError(
                f"{name} cannot be called without arguments: {error}; name a function that makes the {noun}"
            ) from error
        value = value()
    return value
