"""befit and its peers behind two verbs: ``epoch()`` gives the batches in order, ``close()`` ends the workers.

Each has two workers and keeps them between epochs where it can. A library is imported when its first loader
is made, because some workers import the main module again and shall not load six frameworks with it.
"""

from __future__ import annotations

import itertools
import logging
import math
import mmap
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, Protocol

import numpy as np

from befit import Loader, Sequence

WORKERS = 2
AHEAD = 4  # batches per worker, for befit and for the peers that let one choose

Batch = tuple[int, Any]


class Peer(Protocol):
    """What is measured."""

    def epoch(self) -> Iterator[Batch]: ...

    def close(self) -> None: ...


class Befit:
    """``befit.Loader`` with any of its settings."""

    def __init__(self, source: Sequence, **settings: Any) -> None:
        settings = {"workers": WORKERS, "engine": "processes", "prefetch": AHEAD} | settings
        self._loader = Loader(source, **settings)

    def epoch(self) -> Iterator[Batch]:
        yield from self._loader

    def close(self) -> None:
        self._loader.close()


class Bare:
    """The limit: shared memory, two places per worker, and semaphores; a copy and no message.

    The places are warm and few, which no loader that must let the consumer keep its batches can have.
    """

    def __init__(self, source: Sequence, shape: tuple[int, ...]) -> None:
        context = multiprocessing.get_context("fork")
        self._batches = len(source)
        self._lanes = []
        for _ in range(WORKERS):
            places = np.frombuffer(mmap.mmap(-1, 2 * math.prod(shape) * 4), "float32").reshape(2, *shape)
            free, full = context.Semaphore(0), context.Semaphore(0)
            process = context.Process(target=_fill, args=(source, places, free, full), daemon=True)
            process.start()
            self._lanes.append((places, free, full, process))

    def epoch(self) -> Iterator[Batch]:
        for _, free, _, _ in self._lanes:
            free.release()
            free.release()
        for index in range(self._batches):
            places, free, full, _ = self._lanes[index % WORKERS]
            full.acquire()
            yield index, places[index // WORKERS % 2]
            if index + 2 * WORKERS < self._batches:
                free.release()

    def close(self) -> None:
        for *_, process in self._lanes:
            process.kill()
            process.join()


def _fill(source: Sequence, places: np.ndarray, free: Any, full: Any) -> None:
    for number in itertools.count():
        free.acquire()
        np.copyto(places[number % 2], source[0][1])
        full.release()


class Torch:
    """``torch.utils.data.DataLoader`` of complete batches: as tensors, or as NumPy arrays, passed on."""

    def __init__(
        self, source: Sequence, *, tensors: bool = True, context: str = "fork", workers: int = WORKERS
    ) -> None:
        from torch.utils.data import DataLoader

        self._loader = DataLoader(
            source,
            batch_size=None,
            num_workers=workers,
            persistent_workers=True,
            prefetch_factor=AHEAD,
            collate_fn=None if tensors else _as_it_is,
            multiprocessing_context=context,
        )

    def epoch(self) -> Iterator[Batch]:
        yield from self._loader

    def close(self) -> None:
        # There is no public way; the garbage collector would come to the same method.
        if (iterator := self._loader._iterator) is not None:
            iterator._shutdown_workers()


def _as_it_is(batch: Batch) -> Batch:
    return batch


class Grain:
    """``grain`` with ``mp_prefetch``, whose workers live as long as an iterator.

    So for rates (``endless=True``) there is one iterator over a repeated dataset. It never stops working
    ahead, so before an epoch is measured more batches are taken than its buffers hold.
    """

    def __init__(self, source: Sequence, *, endless: bool) -> None:
        import grain
        from absl import flags

        logging.getLogger("absl").setLevel(logging.ERROR)
        if not flags.FLAGS.is_parsed():
            flags.FLAGS(["benchmarks"])  # grain asks absl for flags and refuses to work without
        self._batches = len(source)
        dataset = grain.MapDataset.source(source)
        # One reading thread: these batches are ready, and sixteen threads would only wait for the lock.
        reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        processes = grain.MultiprocessingOptions(num_workers=WORKERS, per_worker_buffer_size=AHEAD)
        self._dataset = (
            (dataset.repeat() if endless else dataset).to_iter_dataset(reading).mp_prefetch(processes)
        )
        self._endless = endless
        self._iterator: Any = None

    def epoch(self) -> Iterator[Batch]:
        if not self._endless:
            self.close()
            self._iterator = iter(self._dataset)
        elif self._iterator is None:
            self._iterator = iter(self._dataset)
        if self._endless:
            buffered = WORKERS * (AHEAD + 4)  # with what is read ahead and what is under way
            for _ in islice(self._iterator, math.ceil(buffered / self._batches) * self._batches):
                pass
        return islice(self._iterator, self._batches)

    def close(self) -> None:
        if self._iterator is not None:
            self._iterator.close()


class SpdlSegments:
    """One ``spdl`` subprocess per worker, each with a pool of shared segments, read in turn: in order.

    This is the fastest way that spdl 0.8 has. Batches below 4 kB do not go through the segments anyway, and
    travel faster without (``megabytes=None``).
    """

    def __init__(self, source: Sequence, megabytes: float | None) -> None:
        from spdl.pipeline import SharedMemorySegmentPool, iterate_in_subprocess

        logging.getLogger("spdl").setLevel(logging.ERROR)
        _start_quiet_tracker()
        self._batches = len(source)
        # Those in the queue, one in work, and two with the consumer, who holds one while asking for another.
        segments = AHEAD + 3
        self._workers = [
            iterate_in_subprocess(
                partial(_Share, source, worker),
                buffer_size=AHEAD,
                mp_context="fork",
                arena=None if megabytes is None else SharedMemorySegmentPool(int(megabytes * 1e6), segments),
            )
            for worker in range(WORKERS)
        ]

    def epoch(self) -> Iterator[Batch]:
        shares = [iter(worker) for worker in self._workers]
        for index in range(self._batches):
            yield next(shares[index % WORKERS])
        for share in shares:
            next(share, None)  # the end of its epoch is a message too

    def close(self) -> None:
        for worker in self._workers:
            worker._shutdown()  # no public way but the garbage collector


def _start_quiet_tracker() -> None:
    """Start the resource tracker of ``multiprocessing``, if it does not run, without a standard error.

    spdl 0.8 takes each segment off the tracker's list twice, and the tracker prints a traceback for each.
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        resource_tracker.ensure_running()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class _Share:
    """Every second batch of a sequence."""

    def __init__(self, source: Sequence, first: int) -> None:
        self.source = source
        self.first = first

    def __iter__(self) -> Iterator[Batch]:
        return (self.source[index] for index in range(self.first, len(self.source), WORKERS))


class SpdlPipeline:
    """An ``spdl`` pipeline with one stage in a pool of processes, which keeps the order."""

    def __init__(self, source: Sequence) -> None:
        self._batches = len(source)
        self._executor = _executor(source)

    def epoch(self) -> Iterator[Batch]:
        from spdl.pipeline import PipelineBuilder

        builder = PipelineBuilder().add_source(range(self._batches))
        builder = builder.pipe(
            _item, executor=self._executor, concurrency=WORKERS * AHEAD, output_order="input"
        )
        pipeline = builder.add_sink(WORKERS * AHEAD).build(num_threads=1)
        with pipeline.auto_stop():
            yield from pipeline

    def close(self) -> None:
        self._executor.shutdown()


class Keras:
    """What Keras 3 makes of ``PyDataset(use_multiprocessing=True)``: a pool that is forked in each epoch."""

    def __init__(self, source: Sequence) -> None:
        # JAX must not be started in a process that forks.
        os.environ.setdefault("KERAS_BACKEND", "torch")
        from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

        self._batches = len(source)
        self._enqueuer = OrderedEnqueuer(_Counted(source), workers=WORKERS, use_multiprocessing=True)

    def epoch(self) -> Iterator[Batch]:
        self._enqueuer.start()
        try:
            yield from islice(self._enqueuer.get(), self._batches)
        finally:
            self._enqueuer.stop()

    def close(self) -> None:
        self._enqueuer.stop()


class _Counted:
    """All that the enqueuer asks of a ``PyDataset``."""

    def __init__(self, source: Sequence) -> None:
        self._source = source
        self.num_batches = len(source)

    def __getitem__(self, index: int) -> Batch:
        return self._source[index]


class Imap:
    """``multiprocessing.Pool.imap``."""

    def __init__(self, source: Sequence) -> None:
        self._batches = len(source)
        self._pool = multiprocessing.get_context("fork").Pool(WORKERS, _hold, (source,))

    def epoch(self) -> Iterator[Batch]:
        return self._pool.imap(_item, range(self._batches))

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class Futures:
    """``concurrent.futures.ProcessPoolExecutor.map``."""

    def __init__(self, source: Sequence) -> None:
        self._batches = len(source)
        self._executor = _executor(source)

    def epoch(self) -> Iterator[Batch]:
        return self._executor.map(_item, range(self._batches))

    def close(self) -> None:
        self._executor.shutdown()


def _executor(source: Sequence) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"), _hold, (source,))


_held: Sequence | None = None  # in a worker of a pool: what it was started with


def _hold(source: Sequence) -> None:
    global _held
    _held = source


def _item(index: int) -> Batch:
    assert _held is not None
    return _held[index]
