"""How long one waits: for the first batch of a new loader, and for the first batch of the next epoch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, settle, spread
from benchmarks.loading_peers import Befit, Grain, Imap, Keras, Peer, SpdlSegments, Torch
from benchmarks.loading_sources import Ready, kilobyte

_SOURCE = Ready(8, kilobyte)

_LOADERS: dict[str, Callable[[], Peer]] = {
    "befit": partial(Befit, _SOURCE),
    "befit, fork": partial(Befit, _SOURCE, start_method="fork"),
    "spdl segments, fork": partial(SpdlSegments, _SOURCE, 1),
    "Pool.imap, fork": partial(Imap, _SOURCE),
    "torch, fork": partial(Torch, _SOURCE),
    "Keras, fork": partial(Keras, _SOURCE),
    "torch, spawn": partial(Torch, _SOURCE, context="spawn"),
    "grain, spawn": partial(Grain, _SOURCE, endless=False),
}


def start() -> list[Verdict]:
    """Seconds from the making of a loader to its first batch; its library is loaded."""
    seconds = in_turn({name: partial(_first, make) for name, make in _LOADERS.items()}, rounds=3)
    keep("loading first batch", ("", "s (least - greatest)"), _rows(seconds))
    return [
        _verdict("first batch, clean workers", seconds, "befit", ("torch, spawn", "grain, spawn"), 0.5),
        _verdict("first batch, fork", seconds, "befit, fork", _FORKED, 0.08),
    ]


_FORKED = tuple(name for name in _LOADERS if name.endswith("fork") and not name.startswith("befit"))


def _first(make: Callable[[], Peer]) -> float:
    settle()
    started = time.perf_counter()
    peer = make()
    try:
        batches = iter(peer.epoch())
        next(batches)
        seconds = time.perf_counter() - started
        for _ in batches:  # an epoch that is left early ends in another way with each of them
            pass
    finally:
        peer.close()
    return seconds


def turnover() -> list[Verdict]:
    """Seconds from the last batch of an epoch to the first one of the next."""
    with ExitStack() as stack:
        work = {}
        for name, make in _LOADERS.items():
            peer = make()
            stack.callback(peer.close)
            work[name] = partial(_gap, peer, epochs=2 if "grain" in name else 6)
        seconds = in_turn(work, rounds=3)
    keep("loading turnover", ("", "s (least - greatest)"), _rows(seconds))
    peers = tuple(name for name in _LOADERS if not name.startswith("befit"))
    return [_verdict("epoch turnover", seconds, "befit", peers, 0.03)]


def _gap(peer: Peer, epochs: int) -> float:
    settle()
    gaps = []
    last = 0.0
    for _ in range(epochs):
        for number, _batch in enumerate(peer.epoch()):
            now = time.perf_counter()
            if number == 0 and last:
                gaps.append(now - last)
            last = now
    return statistics.median(gaps)


def _rows(seconds: dict[str, list[float]]) -> list[tuple[str, str]]:
    return [(name, spread(values, digits=4)) for name, values in seconds.items()]


def _verdict(
    work: str, seconds: dict[str, list[float]], befit: str, peers: tuple[str, ...], limit: float
) -> Verdict:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(peers, key=medians.__getitem__)
    ratio = medians[best] / medians[befit]
    return Verdict(
        work,
        f"{medians[befit]:.4f} s",
        f"{best} {medians[best]:.4f} s",
        f"{ratio:.2f}",
        f"<= {limit} s",
        medians[befit] <= limit,
    )
