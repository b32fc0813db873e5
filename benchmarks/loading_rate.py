"""What a batch costs, in time and in processor time, by size and kind of the batch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import numpy as np

from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Cost, Verdict, copying, epoch_cost, ratios, spread
from benchmarks.loading_peers import (
    Bare,
    Befit,
    Futures,
    Grain,
    Imap,
    Keras,
    Peer,
    SpdlPipeline,
    SpdlSegments,
    Torch,
)
from benchmarks.loading_sources import (
    LEAF,
    LEAVES,
    PICTURES,
    Busy,
    Fresh,
    Placed,
    Ready,
    kilobyte,
    leaves,
    nest,
    pictures,
)

Make = Callable[[], Peer]
Costs = dict[str, list[Cost]]

_MEMCPY = "limit, memcpy without a loader"


def _measure(
    makes: Mapping[str, Make],
    use: Callable[[object], None],
    *,
    rounds: int,
    alone: Mapping[str, Callable[[], Cost]] | None = None,
) -> Costs:
    with ExitStack() as stack:
        work = dict(alone or {})
        for name, make in makes.items():
            peer = make()
            stack.callback(peer.close)
            work[name] = epoch_cost(peer, use)
        return in_turn(work, rounds=rounds)


def _speed(costs: Costs, name: str, befit: str = "befit") -> list[float]:
    """How many times faster befit is, by round."""
    return ratios([cost.wall for cost in costs[name]], [cost.wall for cost in costs[befit]])


def _table(title: str, costs: Costs, *, copies: bool = False, note: str = "") -> None:
    heads = ["", "ms/batch (least - greatest)", "befit is faster by", "CPU ms/batch"]
    rows = []
    for name, samples in costs.items():
        row = [
            name,
            spread([cost.wall for cost in samples], 1e3, 3),
            spread(_speed(costs, name)),
            f"{statistics.median(cost.cpu for cost in samples) * 1e3:.3f}",
        ]
        if copies:
            row.append(f"{_memcpys(costs, name):.2f}")
        rows.append(row)
    keep(title, heads + (["memcpys beyond the consumer's"] if copies else []), rows, note)


def _memcpys(costs: Costs, name: str) -> float:
    """Processor time in copies of the batch, without the one that the consumer makes."""
    copies = ratios([cost.cpu for cost in costs[name]], [cost.cpu for cost in costs[_MEMCPY]])
    return statistics.median(copies) - 1


def _peers(costs: Costs) -> list[str]:
    return [name for name in costs if not name.startswith(("befit", "limit"))]


def _fastest(costs: Costs, start: str = "") -> str:
    others = [name for name in _peers(costs) if name.startswith(start)]
    return min(others, key=lambda name: statistics.median(cost.wall for cost in costs[name]))


def _against(work: str, costs: Costs, name: str, at_least: float) -> Verdict:
    ratio = statistics.median(_speed(costs, name))
    return Verdict(
        work,
        _milliseconds(costs["befit"]),
        f"{name} {_milliseconds(costs[name])}",
        f"{ratio:.2f}",
        f">= {at_least:.1f}",
        ratio >= at_least,
    )


def _milliseconds(samples: list[Cost]) -> str:
    return f"{statistics.median(cost.wall for cost in samples) * 1e3:.3f} ms"


def large() -> list[Verdict]:
    """38.5 MB of float32, ready in the worker; the consumer copies each batch once."""
    few, many = Ready(8, pictures), Ready(64, pictures)
    target, ready = np.zeros(PICTURES, "float32"), np.ones(PICTURES, "float32")
    costs = _measure(
        {
            "befit": lambda: Befit(many),
            "befit, copy=True": lambda: Befit(many, copy=True),
            "spdl segments": lambda: SpdlSegments(many, 40),
            "grain": lambda: Grain(few, endless=True),
            "limit, bare shared memory": lambda: Bare(many, PICTURES),
            "torch": lambda: Torch(few),
            "torch, NumPy": lambda: Torch(few, tensors=False),
            "spdl pipeline": lambda: SpdlPipeline(few),
            "Keras": lambda: Keras(few),
            "Pool.imap": lambda: Imap(few),
        },
        lambda batch: np.copyto(target, np.asarray(batch)),
        rounds=5,
        alone={_MEMCPY: copying(lambda: np.copyto(target, ready), 64)},
    )
    _table("loading 38.5 MB", costs, copies=True)
    copies = _memcpys(costs, "befit")
    rival = min(_peers(costs), key=lambda name: _memcpys(costs, name))
    return [
        _against("38.5 MB, spdl", costs, "spdl segments", 1.0),
        _against("38.5 MB, torch", costs, _fastest(costs, "torch"), 6.0),
        _against("38.5 MB, Keras", costs, "Keras", 20.0),
        Verdict(
            "38.5 MB, CPU",
            f"{copies:.2f} memcpys",
            f"{rival} {_memcpys(costs, rival):.2f}",
            f"{copies:.2f}",
            "<= 1.3",
            copies <= 1.3,
        ),
    ]


def fresh() -> list[Verdict]:
    """38.5 MB computed for each batch: by ``x + i``, and into the memory of ``befit.loading.empty``."""
    source, placed = Fresh(32, pictures), Placed(32, pictures)
    target = np.zeros(PICTURES, "float32")
    costs = _measure(
        {
            "befit": lambda: Befit(source),
            "befit, empty()": lambda: Befit(placed),
            "befit, inline": lambda: Befit(source, workers=0, engine="inline"),
            "spdl segments": lambda: SpdlSegments(source, 40),
        },
        lambda batch: np.copyto(target, np.asarray(batch)),
        rounds=5,
    )
    _table("loading 38.5 MB computed", costs)
    return []


def nested() -> list[Verdict]:
    """36 arrays, 3.7 MB, in a dict of a tuple, a list and a dict."""
    few, many = Ready(40, nest), Ready(300, nest)
    targets = np.zeros((LEAVES, *LEAF), "float32")

    def use(batch: object) -> None:
        for target, leaf in zip(targets, leaves(batch), strict=True):
            np.copyto(target, np.asarray(leaf))

    ready = leaves(nest.__wrapped__())  # its own, see there

    def copy() -> None:
        for target, leaf in zip(targets, ready, strict=True):
            np.copyto(target, leaf)

    costs = _measure(
        {
            "befit": lambda: Befit(many),
            "spdl segments": lambda: SpdlSegments(many, 4),
            "grain": lambda: Grain(few, endless=True),
            "torch": lambda: Torch(few),
            "torch, NumPy": lambda: Torch(few, tensors=False),
            "Keras": lambda: Keras(few),
            "Pool.imap": lambda: Imap(few),
        },
        use,
        rounds=5,
        alone={_MEMCPY: copying(copy, 300)},
    )
    _table("loading nested", costs)
    return [_against("36 leaves, spdl", costs, "spdl segments", 1.0)]


def small() -> list[Verdict]:
    """1 kB: the price of a message.

    Long epochs: a peer that takes the whole epoch into its queue at once is measured by what it can keep up.
    """
    few, many = Ready(300, kilobyte), Ready(12_000, kilobyte)
    target = np.zeros(256, "float32")
    costs = _measure(
        {
            "befit": lambda: Befit(many),
            "spdl subprocesses": lambda: SpdlSegments(many, None),
            "grain": lambda: Grain(few, endless=True),
            "torch": lambda: Torch(few),
            "torch, NumPy": lambda: Torch(many, tensors=False),
            "Keras": lambda: Keras(many),
            "Pool.imap": lambda: Imap(many),
            "futures": lambda: Futures(many),
        },
        lambda batch: np.copyto(target, np.asarray(batch)),
        rounds=5,
    )
    _table("loading 1 kB", costs, note="One batch a message, with all of them.")
    return [_against("1 kB, every peer", costs, _fastest(costs), 1.2)]


def busy() -> list[Verdict]:
    """Python that holds the interpreter's lock: what two workers gain over none."""
    source = Busy(100)
    costs = _measure(
        {
            "befit": lambda: Befit(source),
            "befit, inline": lambda: Befit(source, workers=0, engine="inline"),
            "spdl subprocesses": lambda: SpdlSegments(source, None),
            "torch, NumPy": lambda: Torch(source, tensors=False),
            "Keras": lambda: Keras(source),
            "Pool.imap": lambda: Imap(source),
            "futures": lambda: Futures(source),
        },
        lambda batch: None,
        rounds=5,
    )
    _table("loading Python work", costs)
    gain = statistics.median(_speed(costs, "befit, inline"))
    rival = _fastest(costs)
    rival_gain = statistics.median(_speed(costs, "befit, inline", rival))
    return [
        Verdict(
            "Python work, 2 workers",
            f"{_milliseconds(costs['befit'])}, inline {_milliseconds(costs['befit, inline'])}",
            f"{rival} {rival_gain:.2f}",
            f"{gain:.2f}",
            ">= 1.75",
            gain >= 1.75,
        )
    ]
