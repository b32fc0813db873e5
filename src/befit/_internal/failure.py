"""Exceptions that travel from a worker process: with type, message and traceback, picklable or not."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, NamedTuple

from befit._internal.pickling import dumps
from befit.errors import LoaderError


class Failure(NamedTuple):
    """An exception as plain text, and as bytes where it can be pickled."""

    kind: str
    message: str
    trace: str
    pickled: bytes | None


def describe(error: BaseException) -> Failure:
    """Return what can be sent of ``error``."""
    return Failure(
        kind=f"{type(error).__module__}.{type(error).__qualname__}",
        message=_message(error),
        trace="".join(traceback.format_exception(error)),
        pickled=_pickled(error),
    )


def restore(failure: Failure) -> BaseException:
    """Return the exception, or a ``LoaderError`` in its place, with the worker's traceback as a note."""
    error: BaseException | None = None
    if failure.pickled is not None:
        try:
            error = pickle.loads(failure.pickled)
        except Exception:  # noqa: BLE001 - the worker could read it, this process cannot: the text remains
            error = None
    if not isinstance(error, BaseException):
        error = LoaderError(f"{failure.kind}: {failure.message} (the exception itself cannot be pickled)")
    error.add_note(f"befit: raised in a worker process:\n\n{failure.trace}")
    return error


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - an exception whose __str__ raises is still worth its type
        return f"<no message: __str__ raised {type(broken).__name__}>"


def _pickled(error: BaseException) -> bytes | None:
    """Return ``error`` in a form that was seen to load again."""
    # The second form is for classes whose __init__ takes other arguments than the ones in args.
    for form in (error, _Rebuilt(error)):
        try:
            pickled = dumps(form)
            if type(pickle.loads(pickled)) is type(error):
                return pickled
        except Exception:  # noqa: BLE001, S112 - anything at all may be inside an exception
            continue
    return None


class _Rebuilt:
    """Pickles as an exception that is made again without a call of its ``__init__``."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self._error), self._error.args, self._error.__dict__)


def _rebuild(kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any]) -> BaseException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(attributes)
    return error
