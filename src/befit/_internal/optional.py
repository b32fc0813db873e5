"""Optional packages, asked for when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from befit.errors import MissingDependencyError


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Import and return ``module``, or say which extra of befit brings it.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise  # the package is there; something that it needs itself is not
        raise MissingDependencyError(
            f"{purpose} needs the package {module.partition('.')[0]!r}, which is not installed; "
            f'write: pip install "befit[{extra}]"',
            name=error.name,
        ) from error
