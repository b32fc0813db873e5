"""Saved Keras models."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras

from befit.errors import BefitError


def load_model(path: Path) -> Any:
    """Load a saved model for reading; its optimizer is left out.

    Raises:
        BefitError: Keras cannot read it; the message is Keras' own.
    """
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise BefitError(f"{str(path)!r} is no .keras file, or a damaged one: it is not a zip archive")
    try:
        return keras.saving.load_model(path, compile=False)
    except (OSError, TypeError, ValueError) as error:
        raise BefitError(f"Keras cannot load {str(path)!r}: {error}") from error
