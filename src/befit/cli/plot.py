"""``befit plot``: the picture of a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import befit
from befit.cli.model_argument import add_model_argument, load


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser("plot", help="draw a model as .png, .svg, .pdf, .html or .dot")
    add_model_argument(parser)
    parser.add_argument("-o", "--output", type=Path, default=Path("model.png"), metavar="FILE")
    parser.add_argument("--show-shapes", action="store_true", help="input and output shapes in each box")
    parser.add_argument("--show-dtypes", action="store_true", help="input and output dtypes in each box")
    parser.add_argument("--show-trainable", action="store_true", help="mark the layers that are not trained")
    parser.add_argument("--no-layer-names", action="store_true", help="only the types of the layers")
    parser.add_argument(
        "--rankdir", choices=("TB", "BT", "LR", "RL"), default="TB", help="direction of the data"
    )
    parser.add_argument("--expand-nested", action="store_true", help="also draw the inside of nested models")
    parser.add_argument(
        "--collapse-repeats", action="store_true", help="one box for a chain, one frame for repeated blocks"
    )
    parser.add_argument("--theme", choices=("light", "dark"), default="light", help="the colours")
    parser.add_argument(
        "--engine", choices=("befit", "dot"), default="befit", help="what draws: befit, or Graphviz' dot"
    )
    parser.add_argument("--dpi", type=float, default=96, metavar="N", help="pixels per inch of a .png")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw, and print where the picture is."""
    model, inputs = load(options)
    befit.plot_model(
        model,
        options.output,
        show_shapes=options.show_shapes,
        show_layer_names=not options.no_layer_names,
        rankdir=options.rankdir,
        show_dtypes=options.show_dtypes,
        show_trainable=options.show_trainable,
        expand_nested=options.expand_nested,
        collapse_repeats=options.collapse_repeats,
        inputs=inputs,
        theme=options.theme,
        engine=options.engine,
        dpi=options.dpi,
    )
    print(options.output)
    return 0
