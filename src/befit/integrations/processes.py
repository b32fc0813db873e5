"""What ``multi_gpu_model`` has to know, and to check, about processes that compute together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from befit.errors import ReplicationError


@dataclass(frozen=True)
class Processes:
    """The processes of one program, as one of them sees them."""

    size: int
    local_size: int
    """How many of them run on this machine."""
    device_count: int
    """How many devices each of them computes on."""
    names: tuple[str, ...]
    """One name for each replica."""

    @property
    def counts(self) -> set[int]:
        """The numbers that a script may call the devices by: everywhere, or here."""
        return {self.size, self.local_size, self.local_size * self.device_count, len(self.names)}


def is_compared(calls: int) -> bool:
    """Return whether the batch of the call with this number, from 1, is compared among the processes.

    Often enough to find out who shuffles otherwise, too seldom to cost anything.

    >>> [number for number in range(1, 20) if is_compared(number)]
    [1, 2, 4, 8, 16]
    """
    return calls & (calls - 1) == 0


def check_batches(batches: Sequence[tuple[int, int]]) -> None:
    """Raise unless every process, by rank, was given a batch of the same rows and the same digest."""
    if len(set(batches)) > 1:
        lengths = [length for length, _ in batches]
        had = f"of {', '.join(map(str, lengths))} rows" if len(set(lengths)) > 1 else "with other values"
        raise ReplicationError(
            f"the processes were given different batches, {had}; each has to read the whole batch, in the "
            "same order: call befit.replicate.initialize() first, which makes all shuffle alike, or shuffle "
            "with one seed, and give a Loader shard=(0, 1)"
        )


def check_models(models: Sequence[list[Any]]) -> None:
    """Raise unless every process, by rank, has the same list of shapes and dtypes of variables."""
    first = models[0]
    for rank, other in enumerate(models):
        if other != first:
            pairs = enumerate(zip(other, first, strict=False))
            at = next((index for index, (theirs, ours) in pairs if theirs != ours), 0)
            raise ReplicationError(
                f"process {rank} has built another model than process 0: {len(other)} variables, "
                f"{_some(other[at:])}, in place of {len(first)}, {_some(first[at:])}; build the same one in "
                "every process"
            )


def _some(variables: list[Any]) -> str:
    return "of shapes " + ", ".join(str(shape) for shape, _ in variables[:3]) + " …"
