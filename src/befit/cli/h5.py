"""``befit h5``: how the datasets of an HDF5 file are read, and a file in which they are read fast."""

from __future__ import annotations

import argparse
import json
from typing import Any

from befit._internal.byte_counts import in_bytes


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser("h5", help="HDF5: see how a file is read, write one that is read fast")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    _add_inspect(actions)
    _add_pack(actions)


def _add_inspect(actions: Any) -> None:
    parser = actions.add_parser("inspect", help="how each dataset is read, what that costs, what to change")
    parser.add_argument("file", metavar="FILE", help="an HDF5 file, or its URL")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.set_defaults(run=run_inspect)


def _add_pack(actions: Any) -> None:
    parser = actions.add_parser(
        "pack", help="write arrays, images or an HDF5 file into one that is read fast in random order"
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SRC", help=".npy, .npz or HDF5 file, or folder of images (by class)"
    )
    parser.add_argument("out", metavar="OUT", help="the file to be made, whole or not at all")
    parser.add_argument(
        "--compression",
        choices=("auto", "none", "gzip", "lzf", "zstd", "blosc2"),
        default="auto",
        help="auto (default): gzip what becomes at least 1.3 times smaller by it, nothing else",
    )
    parser.add_argument("--chunk-rows", type=int, metavar="N", help="rows in a chunk (default: what suits)")
    parser.add_argument("--dtype", metavar="TYPE", help="convert floating-point data, for example to float32")
    parser.add_argument(
        "--image-size", type=_size, metavar="HxW", help="resize images, for example to 224x224"
    )
    parser.add_argument("--shuffle-rows", action="store_true", help="write the rows in one random order")
    parser.add_argument("--seed", type=int, metavar="N", help="decides that order")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_pack)


def run_inspect(options: argparse.Namespace) -> int:
    """Print how each dataset with rows is read."""
    from befit.hdf5.explain import explain
    from befit.hdf5.inspection import inspect

    layouts = inspect(options.file)
    if options.json:
        print(json.dumps([layout.to_dict() for layout in layouts]))
    elif not layouts:
        print(f"{options.file} has no dataset with rows")
    else:
        print("\n\n".join(map(explain, layouts)))
    return 0


def run_pack(options: argparse.Namespace) -> int:
    """Pack, and print what is in the new file and why."""
    from befit.hdf5.packing import pack

    packed = pack(
        options.sources,
        options.out,
        compression=None if options.compression == "none" else options.compression,
        chunk_rows=options.chunk_rows,
        dtype=options.dtype,
        image_size=options.image_size,
        shuffle_rows=options.shuffle_rows,
        seed=options.seed,
        overwrite=options.force,
    )
    if options.json:
        print(json.dumps(packed.to_dict()))
        return 0
    print(f"{packed.path}: {in_bytes(packed.nbytes)}")
    for dataset in packed.datasets:
        layout = dataset.layout
        filters = " + ".join(filter_.name for filter_ in layout.filters) or "uncompressed"
        place = layout.storage if layout.chunk_shape is None else f"chunks of {layout.chunk_shape[0]} rows"
        stored = f"{in_bytes(layout.stored_bytes)} of {in_bytes(layout.nbytes)}"
        print(f"{layout.dataset}  {layout.shape} {layout.dtype}  {place}, {filters}, {stored}")
        print(f"    {dataset.reason}")
    return 0


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write height and width, for example 224x224")
    return int(height), int(width)
