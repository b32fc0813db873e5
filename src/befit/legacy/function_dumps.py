"""Functions as text, the way Keras 2 kept the function of a ``Lambda`` layer."""

from __future__ import annotations

import base64
import binascii
import builtins
import importlib.util
import marshal
import sys
import types
import zlib
from typing import Any, TypeAlias

import numpy as np

from befit.errors import ArgumentError, SerializationError, UnsupportedObjectError

__all__ = ["func_dump", "func_load"]

FunctionDump: TypeAlias = tuple[str, tuple[Any, ...] | None, tuple[Any, ...] | None]

# Behind the code, where marshal does not look, stand the mark, the version of Python's byte code and a
# checksum: byte code of another version, or with a flipped bit, may end the interpreter instead of failing.
_MARK = b"befit"
_VERSION = importlib.util.MAGIC_NUMBER
_CHECKSUM_BYTES = 4


def func_dump(func: types.FunctionType) -> FunctionDump:
    """Return a function as ``(code, defaults, closure)``, for ``func_load`` in the same Python version.

    What the code finds in its module is not in it, nor are the modules that it imported. To keep a function
    for longer, write it into a module and store its name (``befit.serialize``), or send it with
    ``cloudpickle``.

    Args:
        func: A function that is written in Python, lambdas included.

    Returns:
        The byte code as base64 text; the defaults of the arguments or ``None``; the values of the variables
        of enclosing functions or ``None``.

    Raises:
        UnsupportedObjectError: not a function that is written in Python.
        SerializationError: it has defaults of keyword-only arguments, for which there is no place, or a
            variable of an enclosing function that has no value yet.

    Example:
        >>> code, defaults, closure = func_dump(lambda x, factor=2: x * factor)
        >>> defaults, closure
        ((2,), None)
        >>> func_load(code, defaults)(21)
        42

    Source: Keras 2.1, ``keras.utils.generic_utils.func_dump``.
    """
    if not isinstance(func, types.FunctionType):
        raise UnsupportedObjectError(
            f"func_dump({func!r}): only a function that is written in Python has byte code; pass a def or a "
            "lambda (of a method: its __func__)"
        )
    if func.__kwdefaults__:
        raise SerializationError(
            f"func_dump({func.__qualname__}): the defaults of its keyword-only arguments "
            f"{', '.join(func.__kwdefaults__)} would be lost; drop the * in front of them"
        )
    data = marshal.dumps(func.__code__)
    text = base64.encodebytes(data + _MARK + _VERSION + _checksum(data)).decode("ascii")
    return text, func.__defaults__, _closure(func)


def func_load(
    code: str | FunctionDump | list[Any],
    defaults: tuple[Any, ...] | list[Any] | None = None,
    closure: tuple[Any, ...] | list[Any] | None = None,
    globs: dict[str, Any] | None = None,
) -> types.FunctionType:
    """Return the function that ``func_dump`` wrote down.

    Calling it runs whatever the text contains, with all your rights: load only what you, or somebody you
    trust, wrote. It is byte code, which only the Python version that wrote it can run; functions that are to
    last belong into a module, under a name (``befit.register``, ``befit.deserialize``).

    Args:
        code: The text, or all three results of ``func_dump`` in a tuple or list.
        defaults: The defaults of the arguments.
        closure: The values of the variables of enclosing functions; cells are taken as they are.
        globs: What the code sees as the names of its module; ``None``: Python's builtins, and ``np``.

    Raises:
        ArgumentError: the text is damaged or not of ``func_dump``, another Python version wrote it, or
            ``closure`` does not fit the code.

    Example:
        >>> scale = 10
        >>> func_load(func_dump(lambda x: x * scale), globs={"scale": 3})(2)
        6

    Source: Keras 2.1, ``keras.utils.generic_utils.func_load``.
    """
    if isinstance(code, (tuple, list)):
        if len(code) != 3:
            raise ArgumentError(
                f"a dump of {len(code)} parts is none; func_dump returns (code, defaults, closure)"
            )
        code, defaults, closure = code
    cells = None if closure is None else tuple(_as_cell(value) for value in closure)
    loaded = _code(_data(code))
    expected = len(loaded.co_freevars)
    if expected != len(cells or ()):
        raise ArgumentError(
            f"the code of {loaded.co_name} needs the values of {expected} variables of enclosing functions "
            f"({', '.join(loaded.co_freevars) or 'none'}), and closure has {len(cells or ())}; pass all that "
            "func_dump returned"
        )
    if globs is None:
        globs = {"__builtins__": builtins, "np": np}
    return types.FunctionType(
        loaded, globs, loaded.co_name, None if defaults is None else tuple(defaults), cells
    )


def _closure(func: types.FunctionType) -> tuple[Any, ...] | None:
    if not func.__closure__:
        return None
    try:
        return tuple(cell.cell_contents for cell in func.__closure__)
    except ValueError as error:  # an empty cell
        raise SerializationError(
            f"func_dump({func.__qualname__}): one of {', '.join(func.__code__.co_freevars)} has no value "
            "yet; dump it after the enclosing function has assigned them all"
        ) from error


def _as_cell(value: Any) -> types.CellType:
    return value if isinstance(value, types.CellType) else types.CellType(value)


def _data(text: Any) -> bytes:
    """Return what the text encodes, if it is not damaged and of this Python version."""
    if not isinstance(text, str):
        raise ArgumentError(_no_function(text, "it is no text"))
    try:
        data = base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ArgumentError(_no_function(text, "it is not base64 text")) from error
    end = len(data) - len(_MARK) - len(_VERSION) - _CHECKSUM_BYTES
    if end < 0 or not data.startswith(_MARK, end):
        return data  # Keras wrote it, and no mark
    if data[-_CHECKSUM_BYTES:] != _checksum(data[:end]):
        raise ArgumentError(_no_function(text, "its checksum does not fit"))
    if data[-_CHECKSUM_BYTES - len(_VERSION) : -_CHECKSUM_BYTES] != _VERSION:
        raise ArgumentError(_no_function(text, "another version of Python wrote it"))
    return data[:end]


def _code(data: bytes) -> types.CodeType:
    try:
        code = marshal.loads(data)
    except (ValueError, EOFError, TypeError, MemoryError, SystemError) as error:
        raise ArgumentError(
            _no_function(data, "it is damaged, or another version of Python wrote it")
        ) from error
    if not isinstance(code, types.CodeType):
        raise ArgumentError(_no_function(data, f"it is {type(code).__name__}, no byte code"))
    return code


def _no_function(found: object, why: str) -> str:
    shown = repr(found)
    return (
        f"{shown if len(shown) <= 60 else shown[:57] + '...'} is no function for Python "
        f"{sys.version_info.major}.{sys.version_info.minor}: {why}; dump it again with this version, or "
        "import the function by its name"
    )


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big")
