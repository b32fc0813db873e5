"""The cost model: what a step on N devices takes, from what was measured on one device or without a model.

========  =============================================================================================
whole     a step of one device on all rows of the step
share     a step of one device on the rows of one replica, nothing else running
together  the same while the other core is just as busy with a step of its own: what they share, the memory
          and the processor's clock, makes it longer (on GPUs: equal to share)
launch    a step of one device on one row
apply     the optimizer alone
copy      copying the gradients into shared memory, array by array
add       adding the gradients to those of another replica, array by array
exchange  an all-reduce over the gradients' bytes in the same processes, with no model (gloo, NCCL); for XLA,
          which reduces within its program, a step of one row per device less ``launch``
answer    a round trip between two processes, each pinned to a core
wrapper   befit's step on one row less ``launch``: a single row leaves all replicas but the first without work
========  =============================================================================================

======================================  ================================================================
engine                                  seconds of a step
======================================  ================================================================
processes (torch)                       together + wrapper + 2 answer + copy + (N - 1) add
threads (torch, replicas on one CPU)    N (share - apply) + apply + wrapper + (N - 1) add
group (torch, a process for each rank)  together + exchange + answer
one program (JAX)                       together + exchange
slices (TensorFlow)                     together + wrapper + (N - 1) add
DDP                                     together + exchange
======================================  ================================================================

A replica process answers twice, with its outputs and with its gradients; ranks of a group gather outputs
once. The all-reduce of a ring sends 2 (N - 1) / N of the bytes: for N other than the measured 2, ``exchange``
grows by that ratio, and ``share`` is ``launch + (whole - launch) / N``.

None of the constants is fitted to a step of several devices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Costs:
    """The constants of a machine, a backend and a model, in seconds."""

    whole: float
    share: float
    together: float
    launch: float
    apply: float
    copy: float
    add: float
    answer: float
    exchange: float = 0.0
    wrapper: float = 0.0


def step_seconds(engine: str, costs: Costs, replicas: int = 2) -> float:
    """Return the predicted seconds of a step of ``replicas`` devices."""
    others = replicas - 1
    if engine == "processes":
        return costs.together + costs.wrapper + 2 * costs.answer + costs.copy + others * costs.add
    if engine == "threads":
        computing = replicas * (costs.share - costs.apply)
        return computing + costs.apply + costs.wrapper + others * costs.add
    if engine == "group":
        return costs.together + costs.exchange + costs.answer
    if engine in ("program", "ddp"):
        return costs.together + costs.exchange
    if engine == "slices":
        return costs.together + costs.wrapper + others * costs.add
    raise ValueError(f"no cost model for {engine!r}")


def at(costs: Costs, replicas: int) -> Costs:
    """Return the costs for the same rows over another number of devices than the 2 that were measured."""
    share = costs.launch + (costs.whole - costs.launch) / replicas
    return replace(
        costs,
        share=share,
        together=share * costs.together / costs.share,
        exchange=costs.exchange * 2 * (replicas - 1) / replicas,
    )


def efficiency(engine: str, costs: Costs, replicas: int = 2, *, weak: bool = False) -> float:
    """Return the predicted speed-up divided by the number of devices.

    ``weak``: every device has as many rows as the one device it is compared with.
    """
    ideal = costs.whole if weak else costs.whole / replicas
    return ideal / step_seconds(engine, costs, replicas)
