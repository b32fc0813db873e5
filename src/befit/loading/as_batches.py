"""What a script calls its data, made what a model takes."""

from __future__ import annotations

import random
from typing import Any

from befit._internal.arguments import as_count
from befit.errors import UnsupportedObjectError
from befit.loading.loader import Engine, Loader
from befit.loading.stream import Stream
from befit.typing import BatchSource

__all__ = ["as_batches"]

_SEED_BITS = 63


def as_batches(
    source: Any, *, workers: int = 1, engine: Engine = "auto", prefetch: int = 10, shuffle: bool = False
) -> Loader | Stream:
    """Return a ``Loader`` for a sequence, a ``Stream`` for an iterator: data for Keras 3 models.

    Args:
        source: A ``Sequence``, or anything with ``__len__`` and ``__getitem__`` by batch number; a generator,
            or anything with ``__next__``; a ``Loader`` or a ``Stream``, which is returned as it is.
        workers: Batches of a sequence that are computed at a time. A generator is read by one thread,
            however many are asked for. 0: each batch when it is asked for, by the caller.
        engine: As for ``Loader``; a generator has none.
        prefetch: Batches that are in work or ready ahead of the model, in all; for a sequence at least one
            per worker.
        shuffle: Take the batches of a sequence in a new random order in each epoch. Python's ``random``
            decides it, once, here: after ``random.seed(...)`` or ``keras.utils.set_random_seed(...)`` it is
            the same again.

    Raises:
        ArgumentError: an argument is out of range.
        UnsupportedObjectError: ``source`` is nothing of the kind.

    Example:
        >>> from befit import Sequence
        >>> from befit.loading import as_batches
        >>> as_batches(Sequence.from_arrays([1, 2, 3], batch_size=2), workers=2)
        <Loader of ArraySequence, workers=2, engine='threads'>
        >>> as_batches(number for number in range(3))
        <Stream of generator, prefetch=10>

    Source: Keras 2.1, ``Model.fit_generator``: ``workers``, ``max_queue_size``, ``shuffle``.
    """
    if isinstance(source, (Loader, Stream)):
        return source
    workers = as_count("workers", workers, minimum=0)
    prefetch = as_count("prefetch", prefetch)
    if hasattr(source, "__next__"):
        return Stream(source, prefetch=prefetch if workers else 0)
    if isinstance(source, BatchSource):
        return Loader(
            source,
            workers=workers,
            engine=engine if workers else "auto",
            prefetch=max(1, prefetch // max(1, workers)),
            shuffle=shuffle,
            seed=random.getrandbits(_SEED_BITS) if shuffle else None,
        )
    raise UnsupportedObjectError(
        f"{type(source).__qualname__} is no source of batches; it needs __len__ and __getitem__(index), as a "
        "befit.Sequence has, or __next__, as a generator has"
    )
