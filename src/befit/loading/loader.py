"""The public loader: settings, checked, and a scheduler with the engine that they ask for."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from befit._internal.adapters import integration
from befit._internal.optional import require
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading.arguments import as_count, as_seed
from befit.loading.inline import InlineEngine
from befit.loading.keras_input import KerasInput
from befit.loading.processes import ProcessEngine
from befit.loading.randomness import entropy
from befit.loading.scheduler import Epoch, Scheduler
from befit.loading.threads import ThreadEngine
from befit.typing import BatchSource, LoadEngine

Engine: TypeAlias = Literal["auto", "inline", "threads", "processes"]

_ENGINES = ("auto", "inline", "threads", "processes")


class Loader(KerasInput):
    """Loads the batches of a sequence with workers; iterating over it is one epoch.

    The batches are those of ``[sequence[i] for i in range(len(sequence))]``, in that order, each exactly
    once, with any engine and any number of workers. After the last one was delivered
    ``sequence.on_epoch_end()`` is called, once; the workers see what it changed, and ``len(sequence)`` may be
    another, in the next epoch. Leaving the loop early is allowed: the next iteration is a complete epoch
    again, and ``on_epoch_end`` is not called for the part.

    An exception in ``__getitem__`` is raised where its batch is due, with its own type, the worker's
    traceback and the index of the batch as notes. A batch whose worker process dies is computed again by
    another one.

    A loader is taken by ``fit``, ``evaluate`` and ``predict`` of Keras 3 models as it is, and by torch
    through ``to_torch``. One iteration of it runs at a time; two loaders may share a sequence.

    Args:
        sequence: A ``Sequence``, or anything with ``__len__`` and ``__getitem__`` by batch number.
        workers: How many batches are computed at a time; 0: each when it is asked for, by the caller.
        engine: ``"threads"`` for work that leaves the interpreter's lock (NumPy, decoding, files),
            ``"processes"`` for work in Python itself, ``"inline"`` for none. ``"auto"``: threads, or inline
            with ``workers=0``.
        prefetch: Batches per worker that are in work or ready ahead of the consumer.
        shuffle: Take the batches in a new random order in each epoch.
        seed: Decides those orders, and, by (seed, epoch, index), the random numbers of each batch:
            ``befit.loading.batch_rng()`` on every engine, and the global generators of ``random`` and
            ``numpy.random`` on all but threads, which share them. ``None``: nothing is seeded.
        timeout: Seconds to wait for a batch, the first one with the start of the workers, before
            ``WorkerTimeoutError``; ``None``: for ever. Inline loading cannot be interrupted and has no limit.

    Raises:
        ArgumentError: an argument is out of range, or ``workers`` does not fit ``engine``.
        UnsupportedObjectError: ``sequence`` has no ``__len__`` or no ``__getitem__``.
        LoaderError: (iterating) the sequence cannot be sent to worker processes; the attribute is named.
        WorkerDiedError: (iterating) the same batch ended two worker processes.
        WorkerTimeoutError: (iterating) a batch did not come in time.

    Example:
        >>> from befit import Loader, Sequence
        >>> batches = Sequence.from_arrays(list(range(6)), batch_size=2)
        >>> with Loader(batches, workers=2) as loader:
        ...     [batch.tolist() for batch in loader]
        [[0, 1], [2, 3], [4, 5]]
    """

    def __init__(
        self,
        sequence: BatchSource,
        *,
        workers: int = 0,
        engine: Engine = "auto",
        prefetch: int = 4,
        shuffle: bool = False,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> None:
        if not isinstance(sequence, BatchSource):
            raise UnsupportedObjectError(
                f"{type(sequence).__qualname__} is no source of batches; it needs __len__ and "
                "__getitem__(index), as a befit.Sequence has"
            )
        self.sequence = sequence
        self.workers = as_count("workers", workers, minimum=0)
        self.engine = _engine_name(engine, self.workers)
        prefetch = as_count("prefetch", prefetch)
        if timeout is not None and not timeout > 0:
            raise ArgumentError(
                f"timeout is {timeout!r}; write a number of seconds above 0, or None for no limit"
            )
        seed = None if seed is None else as_seed(seed)
        self._scheduler = Scheduler(
            sequence,
            _make_engine(self.engine, self.workers, prefetch),
            window=max(1, self.workers * prefetch),
            order_seed=None if not shuffle else entropy() if seed is None else seed,
            seed=seed,
            timeout=timeout,
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.sequence)

    def __iter__(self) -> Epoch:
        return Epoch(self._scheduler)

    def close(self) -> None:
        """End the running epoch, if any, and all workers; the next iteration starts new ones."""
        self._scheduler.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def to_torch(self) -> Any:
        """Return a ``torch.utils.data.IterableDataset`` over the epochs of this loader, in tensors.

        Give it to ``torch.utils.data.DataLoader(dataset, batch_size=None)``: the batches are complete, and
        the workers are the loader's own. NumPy arrays become tensors without a copy; everything else stays as
        it is.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        require("torch", extra="torch", purpose="Loader.to_torch()")
        return integration("torch", "loading").LoaderDataset(self)

    def __repr__(self) -> str:
        kind = type(self.sequence).__qualname__
        return f"<{type(self).__name__} of {kind}, workers={self.workers}, engine={self.engine!r}>"


def _engine_name(engine: str, workers: int) -> str:
    if engine not in _ENGINES:
        raise ArgumentError(f"engine is {engine!r}; write one of {', '.join(map(repr, _ENGINES))}")
    if engine == "auto":
        return "threads" if workers else "inline"
    if engine == "inline" and workers:
        raise ArgumentError(
            f"engine='inline' has no workers; write workers=0 instead of {workers}, or engine='auto'"
        )
    if engine != "inline" and not workers:
        raise ArgumentError(f"engine={engine!r} needs workers; write workers=1 or more")
    if engine == "processes" and os.name != "posix":
        raise ArgumentError("engine='processes' needs Linux or macOS; write engine='threads'")
    return engine


def _make_engine(name: str, workers: int, prefetch: int) -> LoadEngine:
    if name == "threads":
        return ThreadEngine(workers)
    if name == "processes":
        return ProcessEngine(workers, tasks_ahead=prefetch)
    return InlineEngine()
