"""``befit demo``: the main job, on real data."""

from __future__ import annotations

import argparse
from typing import Any

from befit._internal.backends import prepare_keras


def add_parser(commands: Any) -> None:
    """Add this subcommand; every option after it is the script's own."""
    parser = commands.add_parser(
        "demo",
        help="train a digit classifier with all nine tools (befit demo --help: its options)",
        add_help=False,
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``examples/train_digits.py``, the same code that users read and copy."""
    prepare_keras(prefer="jax")
    from befit.cli.demo import train_digits  # imports Keras

    code: int = train_digits.main(options.arguments)
    return code
