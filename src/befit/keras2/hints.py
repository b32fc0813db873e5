"""Hints: what to write today, once for each place in the user's code that uses an old name."""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from befit._internal import settings
from befit.legacy.names import OldMethod, OldName

__all__ = ["Keras2Hint", "hint", "method_hint", "name_hint"]


class Keras2Hint(FutureWarning):
    """An old spelling, of use while ``befit.keras2`` is installed; ``BEFIT_KERAS2_HINTS=0`` silences it."""


_NOT_THE_USER = ("befit.", "importlib.", "_frozen_importlib.")
_given: set[tuple[str, int, str]] = set()


def name_hint(row: OldName, module: str) -> None:
    """Say where a name is imported from today."""
    since = f" since Keras {row.gone}" if row.gone else ""
    hint(f"{module}.{row.name} is gone{since}; write: {row.write}")


def method_hint(row: OldMethod) -> None:
    """Say what replaces a method, or arguments of one."""
    if row.gone:
        hint(f"model.{row.name}() is gone since Keras {row.gone}; write: {row.write}")
    else:
        hint(f"these arguments of model.{row.name}() are gone since Keras 3.0; write: {row.write}")


def hint(text: str) -> None:
    """Say ``text`` where the user's code is, unless that was said there before."""
    if not settings.keras2_hints():
        return
    frame = _user_frame()
    if frame is None:
        return
    file, line = frame.f_code.co_filename, frame.f_lineno
    if (file, line, text) not in _given:
        _given.add((file, line, text))
        # Not warnings.warn: that forgets what it has shown whenever somebody changes a filter.
        warnings.warn_explicit(text, Keras2Hint, file, line, module=frame.f_globals.get("__name__"))


def _user_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if not f"{module}.".startswith(_NOT_THE_USER):
            return frame
        frame = frame.f_back
    return None
