"""Which Keras backend a command runs on."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

from befit._internal import settings
from befit.errors import MissingDependencyError

BACKENDS = ("jax", "torch", "tensorflow")


def installed_backends() -> list[str]:
    """Return the backends of Keras whose package is installed."""
    return [name for name in BACKENDS if find_spec(name) is not None]


def configured_backend() -> tuple[str, str] | None:
    """Return ``(backend, where it is set)``, or ``None`` where the user has chosen none."""
    name = settings.keras_backend()
    if name is not None:
        return name, "KERAS_BACKEND"
    path = settings.keras_home() / "keras.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return "unknown", f"{path} (unreadable: {error})"
    return (config["backend"], str(path)) if "backend" in config else None


def prepare_keras() -> str:
    """Choose a backend for this process if the user has not, and return it; Keras is not imported yet.

    Raises:
        MissingDependencyError: Keras, or every backend of it, is missing.
    """
    if find_spec("keras") is None:
        raise MissingDependencyError(
            'this command needs Keras, which is not installed; write: pip install "befit[keras,jax,plot]"'
        )
    configured = configured_backend()
    if configured is not None:
        return configured[0]
    installed = installed_backends()
    if not installed:
        raise MissingDependencyError(
            'Keras has no backend here; write: pip install "befit[keras,jax]" (or torch, or tensorflow)'
        )
    settings.set_keras_backend(installed[0])
    return installed[0]
