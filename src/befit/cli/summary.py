"""``befit summary``: the table of a model's layers."""

from __future__ import annotations

import argparse
import json
from typing import Any

import befit
from befit.cli.model_argument import add_model_argument, load


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser("summary", help="print the layers of a model")
    add_model_argument(parser)
    parser.add_argument("--line-length", type=int, metavar="N", help="characters in a line")
    parser.add_argument("--expand-nested", action="store_true", help="also list the layers of nested models")
    parser.add_argument(
        "--columns", type=lambda text: tuple(text.split(",")), metavar="A,B", help="such as output_shape,macs"
    )
    parser.add_argument("--collapse-repeats", action="store_true", help="show repeated layers once")
    parser.add_argument("--style", default="plain", help="plain or rich")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the summary."""
    model, inputs = load(options)
    choices = {
        "inputs": inputs,
        "expand_nested": options.expand_nested,
        "columns": options.columns,
        "collapse_repeats": options.collapse_repeats,
    }
    if options.json:
        print(json.dumps(befit.summary(model, **choices).to_dict()))
    else:
        befit.print_summary(model, line_length=options.line_length, style=options.style, **choices)
    return 0
