"""``befit cache``: what befit keeps in the cache, whether it is sound, and how to make room."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from befit._internal import settings
from befit._internal.byte_counts import in_bytes
from befit.errors import ArgumentError
from befit.files.digest import Digest
from befit.files.inventory import CachedFile, Checked, cached_files, check, prune

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_parser(commands: Any) -> None:
    """Add this subcommand, and its own."""
    parser = commands.add_parser("cache", help="list, verify or prune what get has brought")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    listing = _add_action(actions, "list", _list, "the files, their age and where they are from")
    _add_action(actions, "verify", _verify, "read every file again and compare it with its digest")
    pruning = _add_action(actions, "prune", _prune, "remove leftovers, and what was not used for long")
    pruning.add_argument(
        "--older-than", type=_duration, metavar="TIME", help="remove what was not used for so long: 30d, 12h"
    )
    pruning.add_argument(
        "--max-size", type=_size, metavar="SIZE", help="remove what was used least until so much is left: 10G"
    )
    pruning.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    for action in (listing, pruning):
        action.add_argument("--json", action="store_true", help="print one JSON value")
    finding = actions.add_parser("path", help="print where the cache is, or a file in it")
    finding.add_argument("name", nargs="?", metavar="NAME", help="the file, such as datasets/mnist.npz")
    finding.set_defaults(run=_path)


def _add_action(actions: Any, name: str, run: Any, about: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=about)
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="DIR", help="default: KERAS_HOME, else ~/.keras"
    )
    parser.set_defaults(run=run)
    return parser


def _list(options: argparse.Namespace) -> int:
    root = _root(options)
    files = cached_files(root)
    if options.json:
        print(json.dumps([_described(file) for file in files]))
        return 0
    rows = [
        (
            os.path.relpath(file.path, root),
            in_bytes(file.total_size),
            _age(file.stamp.downloaded),
            _age(file.used),
            file.stamp.url or "-",
        )
        for file in files
    ]
    rows = [("NAME", "SIZE", "AGE", "USED", "FROM"), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, *numbers, url in rows:
        aligned = (f"{number:>{width}}" for number, width in zip(numbers, widths[1:], strict=True))
        print(f"{name:{widths[0]}}  {'  '.join(aligned)}  {url}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    checked = list(map(_shown, check(cached_files(_root(options)))))
    damaged = sum(one.is_damaged for one in checked)
    print(f"{_count(len(checked), 'file')} read, {damaged or 'none'} damaged")
    return 1 if damaged else 0


def _shown(checked: Checked) -> Checked:
    if checked.is_damaged:
        is_read = isinstance(checked.found, Digest)
        found = f"now it is {checked.found}" if is_read else f"cannot be read: {checked.found}"
        print(f"damaged: {checked.path}: recorded as {checked.recorded}, {found}")
    return checked


def _prune(options: argparse.Namespace) -> int:
    pruned = prune(
        _root(options),
        older_than=options.older_than,
        max_size=options.max_size,
        dry_run=options.dry_run,
    )
    if options.json:
        print(json.dumps({"removed": list(map(str, pruned.paths)), "bytes": pruned.size}))
        return 0
    would = "would remove" if options.dry_run else "removed"
    for path in pruned.paths:
        print(f"{would} {path}")
    freed = "would be freed" if options.dry_run else "freed"
    print(f"{in_bytes(pruned.size)} {freed}")
    return 0


def _path(options: argparse.Namespace) -> int:
    root = settings.keras_home()
    if options.name is None:
        print(root)
        return 0
    candidates = [root / options.name, root / "datasets" / options.name]
    found = [path for path in candidates if path.exists()] or [
        file.path for file in cached_files(root) if file.path.name == options.name
    ]
    for path in found[:1]:
        print(path)
    if not found:
        print(f"befit cache: {options.name} is not in {root}", file=sys.stderr)
    return 0 if found else 1


def _root(options: argparse.Namespace) -> Path:
    if options.folder is None:
        return settings.keras_home()
    if not options.folder.is_dir():
        raise ArgumentError(f"{options.folder} is no folder")
    folder: Path = options.folder
    return folder


def _described(file: CachedFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "bytes": file.size,
        "extracted_bytes": file.extracted_size,
        "url": file.stamp.url,
        "digests": dict(file.stamp.digests),
        "downloaded": _date(file.stamp.downloaded),
        "used": _date(file.used),
    }


def _date(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat("T", "seconds")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _age(since: float | None) -> str:
    if since is None:
        return "-"
    days = int((time.time() - since) // 86400)
    return "today" if days <= 0 else _count(days, "day")


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 30d (days), or m, h or w for d")
    return float(found[1]) * _SECONDS[found[2]]


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 10G, or K, M or T for G")
    return int(float(found[1]) * 1024 ** _UNITS[found[2].upper()])
