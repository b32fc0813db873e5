"""``befit profile``: is the input the bottleneck?"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from typing import TYPE_CHECKING, Any

import befit
from befit.cli.object_argument import load_object
from befit.errors import ArgumentError, BefitError, LoaderError
from befit.typing import BatchSource

if TYPE_CHECKING:
    from befit.loading.stats import LoaderStats

_NO_STEP = "- nothing was done with the batches: write --step-ms X, what your model takes for one"
_NO_GAIN = "- workers gain nothing: make __getitem__ cheaper, or put more samples into a batch"
_WORKERS = 2  # where an engine needs workers and nobody said how many
_SIMPLER = 0.95  # an engine with this part of the best rate is taken if it is the simpler one


def add_parser(commands: Any) -> None:
    """Add this subcommand."""
    parser = commands.add_parser("profile", help="measure whether a sequence keeps up with a model")
    parser.add_argument(
        "sequence",
        metavar="MODULE:SEQUENCE",
        help="a sequence in a module, or what makes one when called; a Loader keeps its own settings if none "
        "are given",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="batches made at a time (default: 0, or 2)")
    parser.add_argument("--prefetch", type=int, metavar="N", help="batches ahead, per worker (default: 4)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--engine", choices=("auto", "inline", "threads", "processes"), help="who makes the batches"
    )
    how.add_argument("--compare", action="store_true", help="measure inline, threads and processes in turn")
    parser.add_argument("--batches", type=_count, metavar="N", help="how many to load (default: one epoch)")
    parser.add_argument(
        "--step-ms",
        type=_milliseconds,
        default=0.0,
        metavar="X",
        help="milliseconds that the model takes for a batch (default: 0, as fast as it goes)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Load batches, and print where the time went."""
    if options.compare and options.workers is not None and options.workers < 1:
        raise ArgumentError(
            f"--compare needs workers; write --workers 1 or more instead of {options.workers}"
        )
    source = load_object(
        options.sequence,
        "sequence",
        is_one=lambda value: isinstance(value, (BatchSource, befit.Loader)),
    )
    if options.compare:
        _compare(source, options)
        return 0
    stats = _measure(_loader(source, options), options)
    if options.json:
        print(json.dumps(stats.to_dict()))
        return 0
    print(stats)
    if not options.step_ms:
        print(_NO_STEP)
    return 0


def _loader(source: Any, options: argparse.Namespace, engine: Any = None) -> befit.Loader:
    """Return a loader with the settings; a loader that was named is taken as it is if there are none."""
    engine = engine or options.engine
    if isinstance(source, befit.Loader):
        if engine is None and options.workers is None and options.prefetch is None:
            return source
        source = source.sequence
    workers = 0 if engine == "inline" and options.compare else options.workers
    if workers is None:
        workers = _WORKERS if engine in ("threads", "processes") else 0
    more = {} if options.prefetch is None else {"prefetch": options.prefetch}
    return befit.Loader(source, workers=workers, engine=engine or "auto", **more)


def _measure(loader: befit.Loader, options: argparse.Namespace) -> LoaderStats:
    """Be a consumer: take as many batches as were asked for, in as many epochs as that takes."""
    with loader:
        left = options.batches or max(1, len(loader))
        while left:
            before = left
            for _ in loader:
                if options.step_ms:
                    time.sleep(options.step_ms / 1000)
                left -= 1
                if not left:
                    break
            if left == before:
                kind = type(loader.sequence).__qualname__
                raise BefitError(f"{kind} has no batches: its len() is 0; name one that has some")
        return loader.stats()


def _compare(source: Any, options: argparse.Namespace) -> None:
    engines = ["inline", "threads", "processes"] if os.name == "posix" else ["inline", "threads"]
    measured: dict[str, LoaderStats] = {}
    report: dict[str, Any] = {"step_ms": options.step_ms, "engines": []}
    for engine in engines:
        try:
            stats = measured[engine] = _measure(_loader(source, options, engine), options)
        except LoaderError as error:
            # Of the engine: what the sequence itself raises was raised by the first one, as it is.
            if engine == "inline":
                raise
            report["engines"].append({"engine": engine, "error": str(error)})
            line = f"{engine:<23}cannot: {error}"
        else:
            report["engines"].append(stats.to_dict())
            workers = f", {stats.workers} worker{'s' * (stats.workers > 1)}" if stats.workers else ""
            rate = f"{stats.batches_per_second:.1f} batches/s"
            line = f"{engine + workers:<23}{rate:>20}, the consumer waits {stats.wait_share:.1%} of its time"
        if not options.json:
            print(line, flush=True)
    report["fastest"] = _fastest(measured)
    if options.json:
        print(json.dumps(report))
    else:
        print("\n".join(_conclusion(measured, report["fastest"], options.step_ms)))


def _fastest(measured: dict[str, LoaderStats]) -> str | None:
    """Return the first engine, so the simplest, that is about as fast as any."""
    if any(stats.is_bottleneck is None for stats in measured.values()):
        return None
    best = max(stats.batches_per_second for stats in measured.values())
    return next(name for name, stats in measured.items() if stats.batches_per_second >= _SIMPLER * best)


def _conclusion(measured: dict[str, LoaderStats], fastest: str | None, step: float) -> list[str]:
    if fastest is None:
        return [f"- {measured['inline'].advice[0]}"]
    stats = measured[fastest]
    setting = f"workers={stats.workers}, engine={fastest!r}" if stats.workers else "workers=0"
    found = f"fastest: Loader(sequence, {setting})"
    if not step:
        return [found, _NO_STEP]
    found += f"; with a step of {step:g} ms, "
    if stats.is_bottleneck:
        if not stats.workers:
            return [f"{found}the consumer still waits", _NO_GAIN]
        advice = [f"- {sentence}" for sentence in stats.advice if "--compare" not in sentence]
        return [f"{found}the consumer still waits", *advice]
    enough = min(stats.workers, stats.workers_needed or 1)
    return [
        found + ("no workers are needed", "1 worker suffices", f"{enough} workers suffice")[min(enough, 2)]
    ]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of batches; write 1 or more")
    return int(text)


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write milliseconds, such as 12.5")
    return value
