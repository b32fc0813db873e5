"""A long campaign for ``Loader``: a hundred epochs leave nothing behind, here or in the workers."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from befit import Loader, Sequence

pytestmark = pytest.mark.soak

EPOCHS = 100
SLOT = 9_000_000  # bytes of the largest batch; how many slots are in use at a time varies by one a worker


class Changing(Sequence):
    """A large array that changes with each epoch, and batches of many sizes, kept for a while by nobody."""

    def __init__(self) -> None:
        self.x = np.zeros(2_000_000)
        self.epoch = 0

    def __len__(self) -> int:
        return 30

    def __getitem__(self, idx: int, /) -> tuple[int, np.ndarray]:
        return self.epoch, np.full(10 ** (idx % 6 + 1), self.x[idx])

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self.x += 1


def proportional_memory(pids: list[int]) -> int:
    """Bytes in all: pages that n processes share count as one n-th of a page in each."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_a_hundred_epochs_are_flat(start_method: str) -> None:
    source = Changing()
    with Loader(source, workers=2, engine="processes", start_method=start_method) as loader:  # type: ignore[arg-type]

        def run(epochs: int) -> tuple[int, int, int]:
            for _ in range(epochs):
                for epoch, values in loader:
                    assert epoch == source.epoch
                    assert values[0] == values[-1] == epoch
            gc.collect()
            pids = [os.getpid(), *(worker.pid for worker in loader._scheduler.engine._workers)]  # type: ignore[attr-defined]
            return proportional_memory(pids), len(os.listdir("/proc/self/fd")), threading.active_count()

        run(30)
        before = run(5)
        after = run(EPOCHS)
    growth = after[0] - before[0]
    print(f"\n{start_method}: {EPOCHS} epochs: {growth / 1e6:+.1f} MB, {after[1] - before[1]:+d} descriptors")
    assert after[1:] == before[1:]
    assert growth < 2 * SLOT + 2_000_000
