"""The ``befit`` command: reads the command line, runs one subcommand, turns its outcome into an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import befit
from befit.cli import cache, demo_command, doctor, get, h5, migrate, plot, profile, run, summary
from befit.errors import ArgumentError, BefitError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command; each subcommand sets ``run``."""
    parser = argparse.ArgumentParser(prog="befit", description="Everything your model needs around fit().")
    parser.add_argument("--version", action="version", version=f"befit {befit.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for command in (demo_command, doctor, get, cache, h5, summary, plot, profile, run, migrate):
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (default: those of the process) and return the exit code."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if options.command == "demo":
        options.arguments = unknown
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"befit {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`befit summary … | head`) has what it wanted; nothing may be flushed at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (BefitError, OSError) as error:
        print(f"befit {options.command}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, ArgumentError) else FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
