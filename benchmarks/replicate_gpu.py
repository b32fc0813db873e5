"""Replicas on GPUs: how they scale where there are several, what the wrapper costs where there is one.

Nothing here decides a claim before it has run on GPUs.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict
from benchmarks.replicate_calibrate import ONE, answer_seconds, exchange_seconds, paced
from benchmarks.replicate_group import Contender, Group, Rounds, play
from benchmarks.replicate_model import Costs, efficiency
from benchmarks.replicate_models import WORKS
from benchmarks.replicate_rate import Entry, build, started

_DDP = "DDP"
_PEERS = {"befit": (_DDP, "accelerate", "nn.DataParallel"), "JAX": ("JAX, keras.distribution",)}


def gpu() -> list[Verdict]:
    """Weak scaling over 1, 2, 4, 8 GPUs; with a single one, two replicas on it."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        print("replicate on GPUs: skipped, torch sees none\n")
        return []
    if count == 1:
        return _one_gpu()
    return [verdict for replicas in (2, 4, 8) if replicas <= count for verdict in _several(replicas)]


def _one_gpu() -> list[Verdict]:
    """What two replicas cost that share a device: the wrapper, and launching everything twice."""
    twice = ["gpu:0", "gpu:0"]
    entries = {
        ONE: Entry(Contender("module", "one", "torch", devices=["gpu:0"])),
        "befit, processes": Entry(Contender("module", "processes", "torch", 2, devices=twice)),
        "befit, threads": Entry(Contender("module", "threads", "torch", 2, devices=twice)),
        "Keras, one device": Entry(Contender("fit", "one", "torch", devices=["gpu:0"])),
        "Keras, befit, processes": Entry(Contender("fit", "processes", "torch", 2, devices=twice)),
        "Keras, befit, threads": Entry(Contender("fit", "threads", "torch", 2, devices=twice)),
    }
    table = []
    with started(entries) as (groups, _):
        for work in ("tiny", "deep", "conv", "mlp"):
            build(groups, work)
            rounds = _play(groups, dict.fromkeys(groups, WORKS[work].batch))
            for name in groups:
                base = "Keras, one device" if name.startswith("Keras") else ONE
                beyond = "" if name == base else f"{(_wall(rounds, name) - _wall(rounds, base)) * 1e6:.0f}"
                table.append((work, name, f"{_wall(rounds, name) * 1e3:.2f}", beyond))
    keep(
        "replicate, two replicas on one GPU",
        ("", "", "wall ms a step", "us beyond one device"),
        table,
        "Two replicas on one device cannot be quicker than one: what is shown is overhead.",
    )
    return []


def _several(replicas: int) -> list[Verdict]:
    """Compare steps of as many rows on each of ``replicas`` GPUs with a step on one."""
    devices = [f"gpu:{index}" for index in range(replicas)]

    def over_ranks(trains: str, how: str) -> Contender:
        return Contender(trains, how, "torch", replicas, replicas, devices=devices)

    def in_one(trains: str, how: str, backend: str = "torch") -> Contender:
        return Contender(trains, how, backend, replicas, devices=devices)

    one_keras, one_jax = "Keras, one device", "JAX, one device"
    entries = {
        ONE: Entry(Contender("module", "one", "torch", devices=devices[:1])),
        "befit, processes": Entry(in_one("module", "processes"), "processes", befit=True),
        _DDP: Entry(over_ranks("module", "ddp"), "ddp"),
        "accelerate": Entry(over_ranks("module", "accelerate"), "ddp"),
        "nn.DataParallel": Entry(in_one("module", "dataparallel")),
        one_keras: Entry(Contender("fit", "one", "torch", devices=devices[:1]), baseline=one_keras),
        "Keras, befit, processes": Entry(in_one("fit", "processes"), "processes", one_keras, befit=True),
        "Keras, befit, a rank each": Entry(over_ranks("fit", "group"), "group", one_keras, befit=True),
        one_jax: Entry(Contender("fit", "one", "jax", devices=devices[:1]), baseline=one_jax),
        "JAX, befit": Entry(in_one("fit", "auto", "jax"), baseline=one_jax, befit=True),
        "JAX, keras.distribution": Entry(in_one("fit", "stock", "jax"), baseline=one_jax),
    }
    answer = answer_seconds()
    verdicts: list[Verdict] = []
    with started(entries) as (groups, _):
        for work in ("conv", "mlp"):
            build(groups, work)
            rows = WORKS[work].batch
            rounds = _play(
                groups,
                {name: rows * (replicas if entries[name].contender.count > 1 else 1) for name in groups},
            )
            exchange = exchange_seconds(groups[_DDP]) if _DDP in groups else 0.0
            verdicts += _judge(work, replicas, entries, rounds, answer, exchange)
    return verdicts


def _judge(
    work: str, replicas: int, entries: dict[str, Entry], rounds: Rounds, answer: float, exchange: float
) -> list[Verdict]:
    table, verdicts = [], []
    reached: dict[str, float] = {}
    for name in rounds.samples:
        entry = entries[name]
        if entry.contender.count == 1:
            continue
        whole = _wall(rounds, entry.baseline)
        reached[name] = whole / _wall(rounds, name)
        expected = None
        if entry.engine is not None and exchange:
            # GPUs share neither memory nor clock, and gradients go the way of an all-reduce.
            costs = Costs(whole, whole, whole, 0.0, 0.0, 0.0, 0.0, answer, exchange)
            if entry.engine == "processes":
                costs = replace(costs, copy=exchange)
            expected = efficiency(entry.engine, costs, replicas, weak=True)
            apart = abs(expected - reached[name])
            verdicts.append(
                Verdict(
                    f"{work} on {replicas} GPUs: efficiency of {name}",
                    f"measured {reached[name]:.2f}",
                    f"predicted {expected:.2f}",
                    f"{apart:.2f} apart",
                    "<= 0.10",
                    round(apart, 2) <= 0.10,
                )
            )
        guess = "" if expected is None else f"{expected:.2f}"
        table.append((name, f"{_wall(rounds, name) * 1e3:.2f}", guess, f"{reached[name]:.2f}"))
    keep(
        f"replicate, {work} on {replicas} GPUs",
        (WORKS[work].about, "wall ms a step", "predicted efficiency", "measured"),
        table,
        f"As many rows on each GPU as on the one that is compared with. {rounds.about()}",
    )
    for prefix, peers in _PEERS.items():
        ours = [name for name in reached if name.startswith(prefix) and entries[name].befit]
        theirs = [name for name in peers if name in reached]
        if ours and theirs:
            best, peer = max(ours, key=reached.__getitem__), max(theirs, key=reached.__getitem__)
            ratio = reached[best] / reached[peer]
            verdicts.append(
                Verdict(
                    f"{work} on {replicas} GPUs: efficiency",
                    f"{best}: {reached[best]:.2f}",
                    f"{peer}: {reached[peer]:.2f}",
                    f"{ratio:.2f}",
                    ">= 1.0",
                    round(ratio, 2) >= 1.0,
                )
            )
    return verdicts


def _play(groups: dict[str, Group], rows: dict[str, int]) -> Rounds:
    return play({name: paced(group, rows[name]) for name, group in groups.items()}, rounds=5)


def _wall(rounds: Rounds, name: str) -> float:
    return rounds.seconds(name, "wall")
