"""The argument MODEL of a command: a saved Keras model, or an object in a Python module."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from befit._internal.adapters import framework_of, integration
from befit._internal.backends import prepare_keras
from befit.cli.object_argument import load_object
from befit.errors import BefitError

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add MODEL and ``--input-shape``."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a saved Keras model (.keras, .h5), or MODULE:NAME, a model or what makes one when called",
    )
    parser.add_argument(
        "--input-shape",
        type=_shape,
        action="append",
        metavar="N,C,H,W",
        help="shape of an example input, batch axis included; once for each input",
    )


def load(options: argparse.Namespace) -> tuple[Any, Any]:
    """Return the model that MODEL names and its example inputs (``None``: none were given).

    Raises:
        ArgumentError: MODEL is neither a file nor ``MODULE:NAME``.
        BefitError: it names nothing that is there, or nothing that loads.
    """
    shapes = options.input_shape
    inputs = None if not shapes else shapes[0] if len(shapes) == 1 else tuple(shapes)
    return (_load_file if options.model.endswith(KERAS_SUFFIXES) else _load_object)(options.model), inputs


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(length) for length in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no shape; write whole numbers such as 32,10") from None


def _load_file(name: str) -> Any:
    path = Path(name)
    if not path.is_file():
        raise BefitError(f"there is no file {name!r}")
    prepare_keras()
    return integration("keras", "models").load_model(path)


def _load_object(name: str) -> Any:
    return load_object(
        name,
        "model",
        is_one=lambda value: framework_of(value) is not None,
        instead=f"a file ending in {', '.join(KERAS_SUFFIXES)}, or MODULE:NAME",
    )
