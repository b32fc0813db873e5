"""Shards: which batches of an epoch belong to which of several processes that train together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, Literal, NamedTuple, TypeAlias

from befit._internal.arguments import as_count
from befit.errors import ArgumentError
from befit.loading.ranks import detect_shard

Remainder: TypeAlias = Literal["pad", "drop"]

_REMAINDERS = ("pad", "drop")


class Shard(NamedTuple):
    """One of ``world`` processes, and what becomes of batches that do not go round.

    Batch number ``n`` of the order of an epoch belongs to rank ``n % world``. So the batches that all ranks
    have used after some steps are the first ones of the order, whatever the world size, and an epoch can go
    on with another one.
    """

    rank: int = 0
    world: int = 1
    remainder: Remainder | None = None

    def take(self, order: Sequence[int], position: int) -> list[int]:
        """Return the batches of this rank, when the first ``position`` of ``order`` have been used by all.

        Raises:
            ArgumentError: they do not go round, and nothing was said about that.
        """
        if self.world == 1:
            return list(order[position:])
        rest = list(order[position:])
        over = len(rest) % self.world
        if over and self.remainder is None:
            raise ArgumentError(
                f"{len(rest)} batches cannot be shared evenly by {self.world} processes; write "
                f"remainder='pad' to repeat {self.world - over} of them, or remainder='drop' to leave out "
                f"{over}"
            )
        if over and self.remainder == "drop":
            del rest[-over:]
        elif over:
            rest += islice(cycle(order), self.world - over)
        return rest[self.rank :: self.world]


def as_shard(shard: Any, remainder: Any) -> Shard:
    """Return the arguments of ``Loader`` as a ``Shard``, checked."""
    if remainder is not None and remainder not in _REMAINDERS:
        raise ArgumentError(
            f"remainder is {remainder!r}; write 'pad' to repeat batches, 'drop' to leave some out, or None"
        )
    if isinstance(shard, str):
        if shard != "auto":
            raise ArgumentError(f"shard is {shard!r}; write 'auto', (rank, world size), or None")

        shard = detect_shard()
    if shard is None:
        return Shard(remainder=remainder)
    try:
        rank, world = shard
    except (TypeError, ValueError):
        raise ArgumentError(f"shard is {shard!r}; write (rank, world size), such as (0, 8)") from None
    rank, world = as_count("the rank in shard", rank, minimum=0), as_count("the world size in shard", world)
    if rank >= world:
        raise ArgumentError(f"shard is {(rank, world)}; ranks count from 0 to {world - 1}")
    return Shard(rank, world, remainder)
