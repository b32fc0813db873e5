"""The public loader: settings, checked, and a scheduler with the engine that they ask for."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias

from befit._internal.adapters import integration
from befit._internal.arguments import as_count, as_seed
from befit._internal.keras_input import KerasInput
from befit._internal.optional import require
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading.epoch import Epoch
from befit.loading.inline import InlineEngine
from befit.loading.meter import Meter
from befit.loading.progress import load_progress, progress_of
from befit.loading.randomness import entropy
from befit.loading.scheduler import Scheduler
from befit.loading.shards import Remainder, as_shard
from befit.loading.stats import LoaderStats
from befit.loading.threads import ThreadEngine
from befit.typing import BatchSource, LoadEngine

Engine: TypeAlias = Literal["auto", "inline", "threads", "processes", "ray"]
StartMethod: TypeAlias = Literal["spawn", "fork"]

_ENGINES = ("auto", "inline", "threads", "processes", "ray")
_START_METHODS = ("spawn", "fork")


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

    A loader is taken by ``fit``, ``evaluate`` and ``predict`` of Keras 3 models as it is, and by
    ``torch.utils.data.DataLoader(loader, batch_size=None)``. One iteration of it runs at a time; two loaders
    may share a sequence.

    Args:
        sequence: A ``Sequence``, or anything with ``__len__`` and ``__getitem__`` by batch number.
        workers: How many batches are computed at a time; 0: each when it is asked for, by the caller.
        engine: ``"threads"`` for work that leaves the interpreter's lock (NumPy, decoding, files),
            ``"processes"`` for work in Python itself, ``"ray"`` for the processes of a Ray cluster,
            ``"inline"`` for none. ``"auto"``: threads, or inline with ``workers=0``.
        prefetch: Batches per worker that are in work or ready ahead of the consumer.
        shuffle: Take the batches in a new random order in each epoch.
        seed: Decides those orders, and, by (seed, epoch, index), the random numbers of each batch:
            ``befit.loading.batch_rng()`` on every engine, and the global generators of ``random``,
            ``numpy.random`` and torch on all but threads, which share them. ``None``: nothing is seeded.
        shard: ``(rank, world size)``: deliver the batches ``rank``, ``rank + world size`` … of each epoch's
            order, as one of several processes that train together with loaders of the same seed. ``"auto"``:
            what torchrun, torch.distributed, jax.distributed, Ray Train, SLURM or MPI say when the loader is
            made; everything, where none of them does.
        remainder: What becomes of batches that do not go round: ``"pad"`` repeats the first ones of the
            order, ``"drop"`` leaves the last ones out; ``None``: an error.
        timeout: Seconds to wait for a batch, the first one with the start of the workers, before
            ``WorkerTimeoutError``; ``None``: for ever. Inline loading cannot be interrupted and has no limit.
        copy: Batches are the consumer's alone, in ordinary memory. Otherwise those from threads and inline
            are whatever ``__getitem__`` returned, and those from processes lie in shared memory, which is
            used again when no array of the batch is referred to any more: to keep a part of many batches,
            copy it.
        start_method: How worker processes begin: ``"spawn"``, clean interpreters that live as long as the
            loader; ``"fork"``, copies of this process, made anew for each epoch: nothing has to be pickled,
            and every lock that another thread holds at that moment stays locked in them.

    Raises:
        ArgumentError: an argument is out of range, or does not fit ``engine``; (iterating) the batches cannot
            be shared evenly.
        UnsupportedObjectError: ``sequence`` has no ``__len__`` or no ``__getitem__``.
        MissingDependencyError: ``engine="ray"``, and Ray is not installed.
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
        shard: Literal["auto"] | tuple[int, int] | None = None,
        remainder: Remainder | None = None,
        timeout: float | None = None,
        copy: bool = False,
        start_method: StartMethod = "spawn",
    ) -> None:
        if not isinstance(sequence, BatchSource):
            raise UnsupportedObjectError(
                f"{type(sequence).__qualname__} is no source of batches; it needs __len__ and "
                "__getitem__(index), as a befit.Sequence has"
            )
        self.sequence = sequence
        self._made_in = os.getpid()
        self.workers = as_count("workers", workers, minimum=0)
        self.engine = _engine_name(engine, self.workers)
        prefetch = as_count("prefetch", prefetch)
        if timeout is not None and not timeout > 0:
            raise ArgumentError(
                f"timeout is {timeout!r}; write a number of seconds above 0, or None for no limit"
            )
        if start_method not in _START_METHODS:
            raise ArgumentError(f"start_method is {start_method!r}; write 'spawn' or 'fork'")
        seed = None if seed is None else as_seed(seed)
        self._scheduler = Scheduler(
            sequence,
            _make_engine(self.engine, self.workers, prefetch, copy=copy, fork=start_method == "fork"),
            window=max(1, self.workers * prefetch),
            order_seed=None if not shuffle else entropy() if seed is None else seed,
            seed=seed,
            timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX),
            shard=as_shard(shard, remainder),
            meter=Meter(self.engine, self.workers, prefetch),
        )

    def __len__(self) -> int:
        """Return the number of batches that a complete epoch delivers here."""
        return self._scheduler.length()

    def __iter__(self) -> Epoch:
        if "torch.utils.data" in sys.modules:
            integration("torch", "loading").refuse_worker(self._made_in)
        return Epoch(self._scheduler)

    def __reduce__(self) -> NoReturn:
        raise ArgumentError(
            "a Loader cannot be sent to another process, as torch's DataLoader does with num_workers above "
            "0; write num_workers=0 there and Loader(..., workers=...), or send the sequence, and make a "
            "Loader of it there"
        )

    def remaining(self) -> int:
        """Return how many batches the next iteration delivers; after ``load_state_dict``, the rest of one."""
        return self._scheduler.remaining()

    def state_dict(self) -> dict[str, Any]:
        """Return where this loader is: epoch, position, seeds, and the sequence's ``state_dict()``, if any.

        Call it in the loop, between two epochs, or after a loop that was left early; plain numbers, so the
        result can be saved with a checkpoint in any format. All ranks of a sharded loader return the same.

        Example:
            >>> from befit import Loader
            >>> loader = Loader(["a", "b", "c"])
            >>> for batch in loader:
            ...     state = loader.state_dict()
            ...     break
            >>> again = Loader(["a", "b", "c"])
            >>> again.load_state_dict(state)
            >>> list(again)
            ['b', 'c']
        """
        return progress_of(self._scheduler)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where ``state`` was saved: the next iteration delivers the rest of that epoch.

        The number of workers and the engine may be others, and so may the world size: the batches that are
        left are shared anew.

        Args:
            state: What ``state_dict`` returned, for the same data in batches of the same size.

        Raises:
            ArgumentError: ``state`` is nothing of the kind, or was saved with another ``shuffle``.
            LoaderError: (iterating) the epoch has fewer batches than were used of it.
        """
        load_progress(self._scheduler, state)

    def stats(self) -> LoaderStats:
        """Return what the epochs so far have cost, who waited for whom, and what to do about it.

        Example:
            >>> from befit import Loader
            >>> loader = Loader([1, 2, 3])
            >>> sum(loader)
            6
            >>> loader.stats().batches
            3
        """
        return self._scheduler.meter.stats()

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

    def _meet_torch(self) -> None:
        integration("torch", "loading").accept(Loader)


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


def _make_engine(name: str, workers: int, prefetch: int, *, copy: bool, fork: bool) -> LoadEngine:
    if fork and name != "processes":
        raise ArgumentError(f"start_method='fork' is for engine='processes', and this one is {name!r}")
    if name == "threads":
        return ThreadEngine(workers, copy=copy)
    if name == "processes":
        from befit.loading.processes import ProcessEngine  # what it is made of, Windows does not have

        return ProcessEngine(workers, tasks_ahead=prefetch, forked=fork, copy=copy)
    if name == "ray":
        require("ray", extra="ray", purpose="engine='ray'")
        engine: LoadEngine = integration("ray", "loading").RayEngine(workers, tasks_ahead=prefetch)
        return engine
    return InlineEngine(copy=copy)
