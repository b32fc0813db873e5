"""The constants of the cost model, measured: of the machine, and of a model on one device.

Of what takes less than a turn of the scheduler, the least time counts: a disturbance only ever adds.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict
from benchmarks.replicate_group import CORES, Contender, Group, Rounds, Sample, play, run_together
from benchmarks.replicate_model import Costs
from benchmarks.replicate_models import WORKS

ONE = "one device"
_SAMPLE_SECONDS = 0.2


def steps_for(seconds: float) -> int:
    """Return how many steps make a sample that is long enough for the clocks."""
    return min(200, max(2, round(_SAMPLE_SECONDS / seconds)))


def paced(group: Group, rows: int) -> Callable[[], Sample]:
    """Return a function that takes a sample of ``rows`` rows a step."""
    steps = steps_for(group.run(3, rows).wall)
    return lambda: group.run(steps, rows)


def ways_of_one(one: Group, twin: Group, *, rows: int, share: int) -> dict[str, Callable[[], Sample]]:
    """Return the samples to take of one device."""
    steps = steps_for(one.run(3, share).wall)
    twin.run(3, share)
    return {
        ONE: paced(one, rows),
        "share": paced(one, share),
        "together": lambda: run_together([one, twin], steps, share),
        "launch": paced(one, 1),
    }


def costs_of(one: Group, rounds: Rounds, answer: float) -> Costs:
    """Return the costs of the model that ``one`` has built, sampled in ``rounds``."""
    copy, add = one.ask("exchange", times=20)[0]
    return Costs(
        *(rounds.seconds(name) for name in (ONE, "share", "together", "launch")),
        apply=one.ask("optimizer", times=10)[0],
        copy=copy,
        add=add,
        answer=answer,
    )


def exchange_seconds(group: Group) -> float:
    """Return what an all-reduce of the gradients costs in the processes of ``group``."""
    return max(group.ask("collective", times=30))


def _echo(pipe: Connection, core: int) -> None:
    os.sched_setaffinity(0, {core})
    while True:
        try:
            pipe.send_bytes(pipe.recv_bytes())
        except EOFError:
            return


def answer_seconds(times: int = 2000) -> float:
    """Return the median seconds of a short message to a process on another core and its answer."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_echo, args=(theirs, CORES[-1]), daemon=True)
    process.start()
    theirs.close()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[0]})
    try:
        seconds = []
        for _ in range(times + 100):
            started = time.perf_counter()
            ours.send_bytes(b"0" * 64)
            ours.recv_bytes()
            seconds.append(time.perf_counter() - started)
    finally:
        os.sched_setaffinity(0, before)
        ours.close()
        process.join(10)
    return statistics.median(seconds[100:])


def calibrate() -> list[Verdict]:
    """What this machine costs before any replica computes."""
    answer = answer_seconds()
    rows = [("round trip between two processes", "64 bytes", f"{answer * 1e6:.0f} us")]
    contenders = {
        "torch": Contender("module", "one", "torch"),
        "gloo": Contender("module", "ddp", "torch", 2, 2),
        "Keras on torch": Contender("fit", "one", "torch"),
        "Keras on JAX": Contender("fit", "one", "jax"),
        "Keras on TensorFlow": Contender("fit", "one", "tensorflow"),
        "Keras on JAX, 2 devices": Contender("fit", "stock", "jax", 2),
    }
    groups = {name: Group(contender) for name, contender in contenders.items()}
    try:
        for group in groups.values():
            group.ready()
        for work in ("deep", "conv", "mlp"):
            sizes = {name: group.build(work, WORKS[work].batch) for name, group in groups.items()}
            size = f"{work}, {sizes['torch'] / 1e6:.2f} MB"
            for name in ("torch", "Keras on JAX"):
                copy, add = groups[name].ask("exchange", times=20)[0]
                library = "torch" if name == "torch" else "NumPy"
                rows += [
                    (f"copying gradients, {library}", size, _rate(copy, sizes[name])),
                    (f"adding gradients, {library}", size, _rate(add, sizes[name])),
                ]
            for name in ("gloo", "XLA"):
                rows.append((f"all-reduce, {name}", size, _rate(exchange_seconds(groups[name]), sizes[name])))
            ways = {
                name: paced(group, group.contender.count) for name, group in groups.items() if name != "gloo"
            }
            launches = play(ways, rounds=3, limit=15)
            rows += [
                (
                    f"launching a step, a row per device, {name}",
                    work,
                    f"{launches.seconds(name) * 1e3:.2f} ms",
                )
                for name in ways
            ]
    finally:
        for group in groups.values():
            group.close()
    note = (
        f"Load of the machine: {os.getloadavg()[0]:.1f} on {len(CORES)} cores. Each process is pinned to one."
    )
    keep("replicate, the machine", ("", "of", "cost"), rows, note)
    return []


def _rate(seconds: float, size: int) -> str:
    return f"{seconds * 1e6:.0f} us, {size / seconds / 1e9:.2f} GB/s"
