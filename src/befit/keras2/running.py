"""Running a script or module with the old names installed, as ``python`` itself would run it."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

from befit._internal.backends import prepare_keras
from befit.errors import BefitError
from befit.keras2.installation import install

__all__ = ["run_script"]

FAILED = 1


def run_script(name: str, arguments: Sequence[str], *, is_module: bool = False) -> int:
    """Run a script written for Keras 2, unchanged, and return its exit code.

    Args:
        name: Path of the script, or of a folder or zip file with a ``__main__.py``.
        arguments: What the script finds in ``sys.argv[1:]``.
        is_module: ``name`` is the name of a module, as after ``python -m``.

    Raises:
        BefitError: There is no such script.
        MissingDependencyError: Keras, or its backend, is not installed.
        SystemExit: The script ended itself.
    """
    if not is_module and not os.path.exists(name):
        raise BefitError(f"there is no script {name!r}")
    prepare_keras()
    install()
    sys.argv = [name, *arguments]
    sys.path[:1] = [os.getcwd() if is_module else os.path.dirname(os.path.abspath(name))]
    try:
        if is_module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")
    except Exception as error:  # noqa: BLE001 - a script may raise anything; it is shown as python shows it
        sys.stdout.flush()
        traceback.print_exception(type(error), error, _from_script(error.__traceback__))
        return FAILED
    return 0


def _from_script(entry: TracebackType | None) -> TracebackType | None:
    """Leave out the frames that lead to the script's own."""
    first = entry
    while entry is not None and (entry.tb_frame.f_code is run_script.__code__ or _is_runpy(entry)):
        entry = entry.tb_next
    return entry or first


def _is_runpy(entry: TracebackType) -> bool:
    return entry.tb_frame.f_globals.get("__name__") == "runpy"
