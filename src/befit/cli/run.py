"""``befit run``: runs a script that was written for Keras 2, unchanged, on Keras 3."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Add this subcommand; everything after the script is the script's own."""
    parser = commands.add_parser(
        "run",
        help="run a script written for Keras 2, unchanged, on Keras 3",
        usage="befit run [-m] SCRIPT [ARGUMENT ...]",
    )
    parser.add_argument("-m", dest="is_module", action="store_true", help="SCRIPT is the name of a module")
    parser.add_argument("script", metavar="SCRIPT", help="path of the script")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="its own arguments")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the script and return its exit code."""
    from befit.keras2.running import run_script  # installs, when it is imported

    return run_script(options.script, options.arguments, is_module=options.is_module)
