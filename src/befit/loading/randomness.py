"""Random numbers that follow from (seed, epoch, index), and from no worker, thread or clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

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


@contextmanager
def seeded(task: LoadTask, *, global_generators: bool) -> Iterator[None]:
    """Seed ``batch_rng``, and ``random`` and ``numpy.random`` if wanted; leave them as they were found."""
    if task.seed is None:
        yield
        return
    seed, epoch = task.seed
    own, shared = np.random.SeedSequence(seed, spawn_key=(epoch, task.batch_index)).spawn(2)
    token = _batch_generator.set(np.random.default_rng(own))
    if not global_generators:
        try:
            yield
        finally:
            _batch_generator.reset(token)
        return
    python_state, numpy_state = random.getstate(), np.random.get_state()
    words = shared.generate_state(8)
    random.seed(words.tobytes())
    np.random.seed(words)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        _batch_generator.reset(token)
