"""``befit get``: download a file once, verify it, unpack it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import befit


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser("get", help="download a file once, verify it, extract it")
    parser.add_argument("url", metavar="URL", help="http, https or file")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to put it (default: the cache)"
    )
    digest = parser.add_mutually_exclusive_group()
    digest.add_argument("--sha256", metavar="HEX", help="the SHA-256 that the file must have")
    digest.add_argument("--md5", metavar="HEX", help="the MD5 that the file must have")
    parser.add_argument(
        "--lock", type=Path, metavar="FILE", help="look for the digest here, and record that of a new file"
    )
    parser.add_argument("--extract", action="store_true", help="also extract the archive, beside the file")
    parser.add_argument(
        "--mirror", action="append", default=[], metavar="URL", help="where else it is, if URL fails"
    )
    parser.add_argument(
        "--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'", help="sent to URL"
    )
    parser.add_argument("--connections", type=int, metavar="N", help="at most so many to one server")
    parser.add_argument(
        "--verify", action="store_true", help="read the file even if it is known and unchanged"
    )
    parser.add_argument("--offline", action="store_true", help="take it from the cache only")
    parser.add_argument("--force", action="store_true", help="download even if the file is in the cache")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Download, and print where the file is."""
    path = befit.get_file(
        options.output.absolute() if options.output else None,
        options.url,
        file_hash=options.sha256 or options.md5,
        hash_algorithm="sha256" if options.sha256 else "md5" if options.md5 else "auto",
        extract=options.extract,
        force_download=options.force,
        verify="always" if options.verify else "stamp",
        lock=options.lock,
        **_given(
            mirrors=options.mirror,
            headers=dict(options.header),
            connections=options.connections,
            offline=options.offline,
        ),
    )
    if options.json:
        print(json.dumps({"url": options.url, "path": str(path), "bytes": Path(path).stat().st_size}))
    else:
        print(path)
    return 0


def _given(**arguments: Any) -> dict[str, Any]:
    """Return what was given on the command line, so that the rest keeps its default."""
    return {name: value for name, value in arguments.items() if value not in (None, False, [], {})}


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header; write 'Name: value'")
    return name.strip(), value.strip()
