"""What a step costs when there is next to nothing to compute: befit's wrapper beside the backend's own."""

from __future__ import annotations

import os

from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict
from benchmarks.replicate_calibrate import paced
from benchmarks.replicate_group import Rounds, play
from benchmarks.replicate_models import WORKS
from benchmarks.replicate_rate import JAX, MODULE, TENSORFLOW, TORCH, Backend, build, started

_ROWS = WORKS["tiny"].batch
_LIMIT = 1.3


def overhead() -> list[Verdict]:
    """A model of 2 layers, 8 rows a step, two devices."""
    verdicts, rows = [], []
    for backend in (TORCH, MODULE, JAX, TENSORFLOW):
        with started(backend.entries) as (groups, _):
            build(groups, "tiny")
            rounds = play({name: paced(group, _ROWS) for name, group in groups.items()}, rounds=7, limit=15)
        for name in rounds.samples:
            baseline = backend.entries[name].baseline
            rows.append(
                (
                    backend.title,
                    name,
                    f"{rounds.seconds(name, 'wall') * 1e6:.0f}",
                    f"{rounds.seconds(name, 'cpu') * 1e6:.0f}",
                    "" if name == baseline else f"{_beyond(rounds, name, baseline) * 1e6:.0f}",
                    "wall" if rounds.clock == "wall" else "CPU time",
                    rounds.count_quiet(name),
                )
            )
        verdicts += _compare(backend, rounds)
    keep(
        "replicate, overhead",
        ("", "", "wall us", "CPU us, longest", "us beyond one device", "compared by", "undisturbed"),
        rows,
        f"{_ROWS} rows, {WORKS['tiny'].about}. Load of the machine: {os.getloadavg()[0]:.1f}.",
    )
    return verdicts


def _beyond(rounds: Rounds, name: str, baseline: str) -> float:
    return rounds.seconds(name) - rounds.seconds(baseline)


def _compare(backend: Backend, rounds: Rounds) -> list[Verdict]:
    """Compare steps of the same loop, and where loops differ, what each adds to its own."""
    befit = {name for name in rounds.samples if backend.entries[name].befit and "threads" not in name}
    peers = {
        name for name in rounds.samples if backend.entries[name].contender.count > 1 and name not in befit
    } - {name for name in rounds.samples if backend.entries[name].befit}
    if not peers:
        return []
    peer = min(peers, key=rounds.seconds)
    verdicts = []
    for name in sorted(befit):
        ours, theirs = backend.entries[name].baseline, backend.entries[peer].baseline
        if ours == theirs:
            ratio = rounds.seconds(name) / rounds.seconds(peer)
            texts = [f"{rounds.seconds(each) * 1e6:.0f} us" for each in (name, peer)]
        else:
            added = [_beyond(rounds, name, ours), _beyond(rounds, peer, theirs)]
            ratio = added[0] / added[1]
            texts = [f"adds {seconds * 1e6:.0f} us" for seconds in added]
        verdicts.append(
            Verdict(
                f"{backend.title}, overhead of {name.removeprefix('befit, ')}",
                texts[0],
                f"{peer}: {texts[1]}",
                f"{ratio:.2f}",
                f"<= {_LIMIT}",
                round(ratio, 2) <= _LIMIT,
            )
        )
    return verdicts
