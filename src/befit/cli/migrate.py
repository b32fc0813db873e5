"""``befit migrate``: rewrite scripts for Keras 2 so that they run on Keras 3 with befit."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from befit.errors import ArgumentError
from befit.migrate.files import MigratedFile, migrate_file, scripts


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser(
        "migrate",
        help="rewrite scripts for Keras 2 so that they run on Keras 3",
        description="Print what would be rewritten, and what needs a hand. Nothing in the scripts is run.",
        epilog="Exit codes: 0 nothing is left to be done by hand, 1 something is, or cannot be read.",
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a script, a notebook, or a folder of them"
    )
    parser.add_argument("--write", action="store_true", help="rewrite the files in place")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class _Failure:
    path: Path
    why: str


def run(options: argparse.Namespace) -> int:
    """Rewrite, print, and say with the exit code whether anything is left."""
    outcomes = [_migrate(path, write=options.write) for path in dict.fromkeys(scripts(options.paths))]
    if options.json:
        print(json.dumps([_described(outcome) for outcome in outcomes]))
    else:
        _print(outcomes, written=options.write)
    is_left = any(isinstance(each, _Failure) or each.migration.remarks for each in outcomes)
    return 1 if is_left else 0


def _migrate(path: Path, *, write: bool) -> MigratedFile | _Failure:
    try:
        file = migrate_file(path)
        if write and file.is_changed:
            file.write()
    except ArgumentError as error:
        return _Failure(path, str(error))
    except OSError as error:
        return _Failure(path, f"{path}: {error.strerror or error}")
    return file


def _print(outcomes: Sequence[MigratedFile | _Failure], *, written: bool) -> None:
    remarks: list[str] = []
    count = 0
    for outcome in outcomes:
        if isinstance(outcome, _Failure):
            print(f"befit migrate: {outcome.why}", file=sys.stderr)
            continue
        remarks += [f"{outcome.path}:{remark}" for remark in outcome.migration.remarks]
        if outcome.is_changed:
            count += 1
            print(f"rewritten {outcome.path}" if written else _diff(outcome), end="\n" if written else "")
    if remarks and count:
        print()
    for line in remarks:
        print(line)
    if not remarks and not count and not any(isinstance(each, _Failure) for each in outcomes):
        print("nothing to rewrite")


def _diff(file: MigratedFile) -> str:
    lines = difflib.unified_diff(
        file.before.splitlines(keepends=True),
        file.migration.text.splitlines(keepends=True),
        str(file.path),
        str(file.path),
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _described(outcome: MigratedFile | _Failure) -> dict[str, Any]:
    if isinstance(outcome, _Failure):
        return {"path": str(outcome.path), "error": outcome.why}
    return {
        "path": str(outcome.path),
        "changed": outcome.is_changed,
        "diff": _diff(outcome),
        "remarks": [asdict(remark) for remark in outcome.migration.remarks],
    }
