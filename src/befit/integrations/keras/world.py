"""The processes of Keras's backend."""

from __future__ import annotations

from typing import Any

import keras

from befit._internal.adapters import integration

_SEVERAL = ("jax", "torch", "tensorflow")


def __getattr__(name: str) -> Any:
    """Answer as the backend does."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    backend = keras.config.backend()
    return getattr(integration(backend if backend in _SEVERAL else "tensorflow", "world"), name)
