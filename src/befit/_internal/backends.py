"""Which Keras backend a command runs on."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import NamedTuple

from befit._internal import settings
from befit.errors import ArgumentError, MissingDependencyError

BACKENDS = ("tensorflow", "jax", "torch")  # Keras' own default first: a command takes what a script would get
KNOWN_TO_KERAS = (*BACKENDS, "numpy", "openvino")


class Choice(NamedTuple):
    """A backend, and who chose it."""

    backend: str
    origin: str


def installed_backends() -> list[str]:
    """Return the backends of Keras whose package is installed."""
    return [name for name in BACKENDS if find_spec(name) is not None]


def choose_backend(prefer: str | None = None) -> Choice | None:
    """Return what the environment, ``prefer`` or ``keras.json`` names, else the first backend installed.

    Keras writes ``tensorflow`` into ``keras.json`` by itself, so what stands there counts only if it is
    installed.
    """
    name = settings.keras_backend()
    if name is not None:
        return Choice(name, "KERAS_BACKEND")
    installed = installed_backends()
    if prefer in installed:
        return Choice(str(prefer), "this command")
    path = settings.keras_home() / "keras.json"
    try:
        configured = json.loads(path.read_text())["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        configured = None  # absent or damaged: Keras passes over it as well
    if configured in installed:
        return Choice(configured, str(path))
    return Choice(installed[0], "the first one installed") if installed else None


def prepare_keras(prefer: str | None = None) -> None:
    """Set the backend of this process, before Keras is imported.

    Raises:
        MissingDependencyError: Keras, or the backend chosen, or every backend is missing.
        ArgumentError: ``KERAS_BACKEND`` names no backend.
    """
    if find_spec("keras") is None:
        raise MissingDependencyError(
            'this command needs Keras, which is not installed; write: pip install "befit[keras,jax,plot]"'
        )
    choice = choose_backend(prefer)
    if choice is None:
        raise MissingDependencyError(
            'Keras has no backend here; write: pip install "befit[keras,jax]" (or torch, or tensorflow)'
        )
    if choice.backend in BACKENDS and choice.backend not in installed_backends():
        raise MissingDependencyError(
            f"Keras is set to the backend {choice.backend!r} by {choice.origin}, which is not installed; "
            f'write: pip install "befit[{choice.backend}]", or set KERAS_BACKEND to another'
        )
    if choice.backend not in KNOWN_TO_KERAS:
        raise ArgumentError(
            f"{choice.origin} is {choice.backend!r}, no backend of Keras; set it to one of: "
            f"{', '.join(BACKENDS)}"
        )
    settings.set_keras_backend(choice.backend)
