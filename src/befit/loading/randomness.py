"""Random numbers that follow from (seed, epoch, index), and from no worker, thread or clock."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import partial

import numpy as np

from befit._internal.adapters import integration
from befit._internal.late_imports import ImportWatch
from befit.typing import Array, LoadTask

_batch_generator: ContextVar[np.random.Generator | None] = ContextVar("batch_generator", default=None)


def batch_rng() -> np.random.Generator:
    """Return the random generator of the batch that is being computed.

    Call it inside ``__getitem__``. Under a ``Loader`` with a ``seed`` it is seeded by (seed, epoch, index),
    so that the batch is the same on every engine, with any number of workers; each call for one batch returns
    the same generator. Anywhere else it is a new, unpredictable one.

    Returns:
        A ``numpy.random.Generator``.

    Example:
        >>> from befit.loading import Loader, Sequence, batch_rng
        >>> class Noise(Sequence):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, idx):
        ...         return batch_rng().integers(0, 100, size=2).tolist()
        >>> list(Loader(Noise(), seed=7)) == list(Loader(Noise(), seed=7, workers=2))
        True
    """
    return _batch_generator.get() or np.random.default_rng()


def entropy() -> int:
    """Return a seed from the operating system."""
    return int(np.random.SeedSequence().generate_state(2, np.uint64)[0])


def permutation(length: int, seed: int, epoch: int) -> Array:
    """Return the numbers below ``length`` in the order of this epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(length)


class seeded:  # noqa: N801 - a context manager, written as a class because it surrounds every batch
    """Seed ``batch_rng``, and the global generators if wanted, for one task.

    Args:
        task: What decides the numbers; without a seed nothing is done.
        global_generators: Seed ``random``, ``numpy.random`` and, where it is imported, torch as well.
        restore: Leave the global generators as they were found.
    """

    def __init__(self, task: LoadTask, *, global_generators: bool, restore: bool) -> None:
        self._task = task
        self._global = global_generators
        self._restore = restore and global_generators
        self._token: Token[np.random.Generator | None] | None = None
        self._states: list[Callable[[], object]] = []
        self._torch_comes: ImportWatch | None = None

    def __enter__(self) -> None:
        if self._task.seed is None:
            return
        seed, epoch = self._task.seed
        own, shared = np.random.SeedSequence(seed, spawn_key=(epoch, self._task.batch_index)).spawn(2)
        self._token = _batch_generator.set(np.random.default_rng(own))
        if self._global:
            if self._restore:
                self._states = _snapshots()
            seed_everything(shared)
            if "torch" not in sys.modules:
                self._torch_comes = ImportWatch(lambda _: self._seed_late(shared))
                self._torch_comes.wait_for(("torch",))

    def __exit__(self, *_: object) -> None:
        if self._token is None:
            return
        _batch_generator.reset(self._token)
        if self._torch_comes is not None:
            self._torch_comes.wait_for(())
        for put_back in self._states:
            put_back()

    def _seed_late(self, entropy_source: np.random.SeedSequence) -> None:
        """Seed torch, which the work has just imported: the first batch of a worker is like the others."""
        if self._restore:
            self._states.append(_torch_snapshot())
        _seed_torch(entropy_source)


def seed_everything(entropy_source: np.random.SeedSequence) -> None:
    """Seed the generators that belong to the whole process."""
    words = entropy_source.generate_state(8)
    random.seed(words.tobytes())
    np.random.seed(words)
    if "torch" in sys.modules:
        _seed_torch(entropy_source)


def _seed_torch(entropy_source: np.random.SeedSequence) -> None:
    integration("torch", "randomness").seed(int(entropy_source.generate_state(1, np.uint64)[0] >> 1))


def _torch_snapshot() -> Callable[[], object]:
    torch_generator = integration("torch", "randomness")
    return partial(torch_generator.set_state, torch_generator.get_state())


def _snapshots() -> list[Callable[[], object]]:
    """Return functions that put the global generators back into their present state."""
    states: list[Callable[[], object]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
    ]
    if "torch" in sys.modules:
        states.append(_torch_snapshot())
    return states
