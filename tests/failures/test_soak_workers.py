"""A long campaign for ``Loader``: worker processes killed at random moments, every batch exactly once."""

from __future__ import annotations

import contextlib
import os
import random
import signal

import numpy as np
import pytest

from befit import Loader, Sequence
from befit.errors import WorkerDiedError

pytestmark = pytest.mark.soak

KILLS = 1000
BATCHES = 40


class Numbered(Sequence):
    """Batches that hold their number in this epoch, their epoch, and the process that made them."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, idx: int, /) -> tuple[int, int, int, np.ndarray]:
        return idx, self.epoch, os.getpid(), np.full(1000 if idx % 2 else 40_000, idx)

    def on_epoch_end(self) -> None:
        self.epoch += 1


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_random_kills_lose_and_repeat_nothing() -> None:
    chance = random.Random(0)
    kills = epochs = named = 0
    kept: list[tuple[int, np.ndarray]] = []  # batches, and parts of batches, that are looked at much later
    with Loader(Numbered(), workers=2, engine="processes", prefetch=2) as loader:
        list(loader)
        files = open_files()
        while kills < KILLS:
            delivered = []
            try:
                for idx, epoch, pid, values in loader:
                    assert epoch == epochs + 1
                    assert (values == idx).all()
                    delivered.append(idx)
                    if chance.random() < 0.05:
                        kept.append((idx, values[chance.randrange(1000) :]))
                    if len(kept) > 200:
                        assert all((part == number).all() for number, part in kept)
                        del kept[: chance.randrange(200)]
                    if chance.random() < 0.1:
                        with contextlib.suppress(
                            ProcessLookupError
                        ):  # killed before, this batch was on its way
                            os.kill(pid, signal.SIGKILL)
                            kills += 1
            except WorkerDiedError as error:
                # By chance the same batch was hit twice: it is named, and the epoch begins again.
                named += 1
                assert f"batch index {len(delivered)} killed two workers" in str(error)  # noqa: PT017
                assert delivered == list(range(len(delivered)))
            else:
                epochs += 1
                assert delivered == list(range(BATCHES))
        list(loader)
        assert open_files() <= files + 2
    assert named < epochs
    print(
        f"\n{kills} kills in {epochs} epochs of {BATCHES} batches: each batch exactly once, in order; "
        f"{named} epochs ended early, with the batch named that was hit twice"
    )
