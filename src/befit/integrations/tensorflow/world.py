"""TensorFlow computes in one process here."""

from __future__ import annotations

from typing import NoReturn

from befit._internal import settings
from befit.errors import ReplicationError


def live_rank() -> None:
    """Say that there are no others."""


def processes() -> None:
    """Say that there are no others."""


def join(launched: settings.Launch | None, timeout: float) -> None:
    """Raise if there should be others."""
    del timeout
    if launched is not None and launched.size > 1:
        _refuse(launched)


def _refuse(launched: settings.Launch) -> NoReturn:
    raise ReplicationError(
        f"{launched.launcher} has started {launched.size} processes, and TensorFlow's replicas are those "
        "of one; use the torch or the JAX backend, start the program plainly, or use "
        "tf.distribute.MultiWorkerMirroredStrategy without befit"
    )
