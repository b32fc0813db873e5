"""What workers hold of a large sequence, and whether anything grows from epoch to epoch.

Each loader is measured in an interpreter of its own: `python -m benchmarks.loading_memory befit 400` is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.interleave import keep
from benchmarks.loading_measure import PROC, Verdict, family, process_lines, settle, shared_out_bytes
from benchmarks.loading_peers import Befit, Peer, Torch
from benchmarks.loading_sources import Reordered, Rows

_MEGABYTES = 400
_WORKERS = 4
_GROWTH = 4_000_000  # bytes of the whole family: what an allocator may keep for itself

_LOADERS: dict[str, Callable[[Rows], Peer]] = {
    "befit": partial(Befit, workers=_WORKERS),
    "befit, fork": partial(Befit, workers=_WORKERS, start_method="fork"),
    "torch, fork": partial(Torch, workers=_WORKERS),
    "torch, spawn": partial(Torch, workers=_WORKERS, context="spawn"),
}


def memory() -> list[Verdict]:
    """400 MB in the sequence and four workers; a hundred epochs."""
    rows = []
    copies = {}
    for name in _LOADERS:
        with_array, without = (_alone(name, str(size))["bytes"] for size in (_MEGABYTES, 1))
        # One copy is the main process's own.
        copies[name] = (with_array - without) / ((_MEGABYTES - 1) * 1e6) - 1
        rows.append((name, f"{with_array / 1e6:.0f}", f"{without / 1e6:.0f}", f"{copies[name]:.2f}"))
    heads = ("", f"MB in all (PSS), {_MEGABYTES} MB array", "with 1 MB", "copies in the workers together")
    keep("loading memory", heads, rows)
    best = min((name for name in copies if not name.startswith("befit")), key=copies.__getitem__)
    return [
        Verdict(
            f"{_MEGABYTES} MB array, {_WORKERS} workers",
            f"{copies['befit']:.2f} copies",
            f"{best} {copies[best]:.2f}, torch, spawn {copies['torch, spawn']:.2f}",
            f"{copies['befit']:.2f}",
            "<= 1.1",
            copies["befit"] <= 1.1,
        ),
        _flatness(),
    ]


def _flatness() -> Verdict:
    grown = _alone("flat")
    keep(
        "loading 100 epochs",
        ("main and workers, after 100 epochs more", "change"),
        [(name, f"{change:+}") for name, change in grown.items()],
    )
    flat = not grown["descriptors"] and not grown["threads"] and grown["bytes"] <= _GROWTH
    change = f"{grown['bytes'] / 1e6:+.1f} MB, {grown['descriptors']:+} fds, {grown['threads']:+} threads"
    return Verdict("100 epochs", change, "-", "-", f"<= {_GROWTH / 1e6:.0f} MB, +0, +0", flat)


def _alone(*arguments: str) -> dict[str, int]:
    command = [sys.executable, "-m", "benchmarks.loading_memory", *arguments]
    answer: dict[str, int] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def _hold(name: str, megabytes: int) -> dict[str, int]:
    peer = _LOADERS[name](Rows(megabytes))
    try:
        for _ in range(2):
            for _batch in peer.epoch():
                pass
        settle()
        return {"bytes": shared_out_bytes()}
    finally:
        peer.close()


def _grow() -> dict[str, int]:
    peer = Befit(Reordered())
    try:
        _epochs(peer, 10)
        before = _held()
        _epochs(peer, 100)
        after = _held()
    finally:
        peer.close()
    return {name: after[name] - before[name] for name in ("bytes", "descriptors", "threads")}


def _epochs(peer: Peer, count: int) -> None:
    for _ in range(count):
        for _batch in peer.epoch():
            pass


def _held() -> Counter[str]:
    settle()
    held: Counter[str] = Counter()
    for pid in family():
        held["bytes"] += dict(process_lines(pid, "status"))["VmRSS"]
        held["descriptors"] += len(list((PROC / str(pid) / "fd").iterdir()))
        held["threads"] += len(list((PROC / str(pid) / "task").iterdir()))
    return held


def _answer(arguments: Sequence[str]) -> dict[str, int]:
    if arguments[0] == "flat":
        return _grow()
    return _hold(arguments[0], int(arguments[1]))


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1:])))
