"""The sequences whose batches the loaders carry; a module of their own, because every worker imports it.

A batch is ``(index, payload)``, so that the consumer sees a lost or a misplaced one. "Ready in the worker"
means that the payload is made once, by the worker's first batch: what is measured is the way to the consumer.
The main process does not call the cached functions before it forks; workers would share the cached memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from befit import Sequence, loading

PICTURES = (64, 224, 224, 3)
LEAF = (160, 160)
LEAVES = 36


@cache
def pictures() -> np.ndarray:
    """38.5 MB; not zeros, whose pages the kernel would not have to hold."""
    return np.ones(PICTURES, "float32")


@cache
def nest() -> dict[str, Any]:
    """36 arrays of 102 kB in a dict of a tuple, a list and a dict."""
    leaves = [np.full(LEAF, number, "float32") for number in range(LEAVES)]
    return {
        "images": tuple(leaves[:12]),
        "tokens": leaves[12:24],
        "extras": {f"{number:02}": leaf for number, leaf in enumerate(leaves[24:])},
    }


def leaves(batch: dict[str, Any]) -> list[Any]:
    """The arrays of a nest, in order."""
    return [*batch["images"], *batch["tokens"], *batch["extras"].values()]


@cache
def kilobyte() -> np.ndarray:
    """1 kB."""
    return np.ones(256, "float32")


class Ready(Sequence):
    """The same payload in every batch; ``make`` is a cached function of this module."""

    def __init__(self, batches: int, make: Callable[[], Any]) -> None:
        self.batches = batches
        self.make = make

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.make()


class Fresh(Ready):
    """Pictures that are computed for each batch, as NumPy does it: into new memory."""

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, np.add(self.make(), np.float32(index))


class Placed(Ready):
    """The same pictures, computed where the consumer will read them."""

    def __getitem__(self, index: int) -> tuple[int, Any]:
        place = loading.empty(PICTURES, "float32")
        return index, np.add(self.make(), np.float32(index), out=place)


class Busy(Sequence):
    """Some milliseconds of Python, which hold the interpreter's lock, for each batch."""

    def __init__(self, batches: int, turns: int = 100_000) -> None:
        self.batches = batches
        self.turns = turns

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[int, int]:
        total = 0
        for turn in range(self.turns):
            total += turn * turn
        return index, total


class Rows(Sequence):
    """Sums over the rows of an array that the sequence holds: little to carry, much to hold."""

    def __init__(self, megabytes: int, batches: int = 16) -> None:
        self.rows = np.ones((megabytes * 250, 1000), "float32")
        self.batches = batches

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.rows[index :: self.batches].sum(axis=0)


class Reordered(Sequence):
    """1 MB a batch, and an order that is drawn anew after each epoch, so that workers must be told."""

    def __init__(self, batches: int = 16) -> None:
        self.order = np.arange(batches)
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, np.full(250_000, self.order[index], "float32")

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(self.order)
