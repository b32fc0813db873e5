"""What is trained: the same few models for Keras and for torch alone, and numbers to train them on."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

CLASSES = 10
# So small that no model learns its numbers by heart: gradients that vanish take other times than gradients.
LEARNING_RATE = 1e-6


class Work(NamedTuple):
    """A model, and the rows that one step is given."""

    shape: tuple[int, ...]
    batch: int
    about: str


WORKS = {
    "conv": Work((32, 32, 3), 64, "3 convolutions, 0.49 MB of gradients"),
    "mlp": Work((1024,), 256, "3 x 1024, 12.6 MB of gradients"),
    "deep": Work((64,), 64, "40 x 64: launching costs more than computing"),
    "tiny": Work((16,), 8, "2 layers: the step is overhead"),
}
_DENSE = {"mlp": (3, 1024), "deep": (40, 64), "tiny": (1, 16)}  # layers, units


def numbers(work: str, rows: int) -> tuple[Any, Any]:
    """Return inputs ``(rows, ...)`` float32 and labels ``(rows,)`` int32."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = WORKS[work].shape
    return rng.standard_normal((rows, *shape), dtype=np.float32), rng.integers(0, CLASSES, rows, np.int32)


def keras_model(work: str) -> Any:
    import keras
    from keras import layers

    hidden: list[Any] = []
    if work == "conv":
        for filters in (32, 64, 64):
            hidden += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
        hidden += [layers.Flatten(), layers.Dense(64, activation="relu")]
    else:
        count, units = _DENSE[work]
        hidden = [layers.Dense(units, activation="relu") for _ in range(count)]
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input(WORKS[work].shape), *hidden, layers.Dense(CLASSES)])


def compiled(model: Any, **options: Any) -> Any:
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(LEARNING_RATE), loss, **options)
    return model


def torch_module(work: str) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    if work == "conv":

        def convolve(inputs: int, filters: int) -> list[Any]:
            return [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]

        convolutions = [*convolve(3, 32), *convolve(32, 64), *convolve(64, 64)]
        dense = [nn.Flatten(), nn.Linear(4 * 4 * 64, 64), nn.ReLU(), nn.Linear(64, CLASSES)]
        return nn.Sequential(*convolutions, *dense)
    count, units = _DENSE[work]
    widths = [WORKS[work].shape[0], *[units] * count]
    hidden = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(*hidden, nn.Linear(units, CLASSES))


def least_seconds(work: Callable[[], object], times: int) -> float:
    """Return the least time of ``work``, once warm: of what is short, disturbances only ever add."""
    work()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


class Clock:
    """Wall time, and the CPU time of each of some processes, between two moments."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.wall = 0.0
        self.cpu = [0.0] * len(pids)

    def start(self) -> None:
        self._cpu = [_cpu_seconds(pid) for pid in self.pids]
        self._wall = time.perf_counter()

    def stop(self, result: object = None) -> None:
        """End the measurement once ``result`` has been computed."""
        jax = sys.modules.get("jax")
        if jax is not None:
            jax.block_until_ready(result)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.wall = time.perf_counter() - self._wall
        self.cpu = [_cpu_seconds(pid) - before for pid, before in zip(self.pids, self._cpu, strict=True)]


def _cpu_seconds(pid: int) -> float:
    # What clock_getcpuclockid(3) makes of a process id.
    return time.clock_gettime(~pid << 3 | 2)


def replica_pids(parallel: Any, how: str) -> list[int]:
    """Return the processes of the replicas, other than this one."""
    pids = list(getattr(parallel, "replica_pids", ()))
    if how == "processes" and not pids:
        raise RuntimeError("engine='processes' has started no process")
    return pids
