"""The first epoch of a gzip file in an order that suits its chunks: what it costs, how random it is."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from befit import HDF5Matrix
from benchmarks.hdf5_data import BATCH, ROWS, Files, array, random_rows
from benchmarks.hdf5_measure import Reasons, Samples, at_most, compare, cpu
from benchmarks.hdf5_peers import H5pyLoop
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict

SMALL = 64 << 20  # bytes: less than any of the files
_LIMIT = "limit, inflating"
_WINDOW = 4096  # rows that h5py by hand shuffles at a time
_SLOW = 4  # batches: all of them would take half a minute


def order() -> list[Verdict]:
    """``shuffle="chunks"`` beside inflating each chunk once, and what one writes with h5py."""
    cases: dict[str, Samples] = {}
    reasons: Reasons = {}
    rows: list[tuple[str, ...]] = []
    with Files() as files:
        for data, chunk_rows in (("img", 32), ("img", 256), ("emb", 32)):
            case = f"{data} gzip4 chunks of {chunk_rows}"
            path = files.path(data, chunk_rows, "gzip4")
            cases[case] = _first_epochs(path, data, chunk_rows)
            if chunk_rows == 32:
                rows += [(case, *line) for line in _randomness(path, data, chunk_rows)]
    compare("hdf5 chunk order, first epoch", cases, reasons, _LIMIT)
    heads = (
        "",
        "shuffle=",
        "mean displacement / (n / 3)",
        "pairs of a chunk in a batch / uniform",
        "sd of batch label means / uniform",
        "their correlation with the next",
    )
    keep("hdf5 chunk order, randomness", heads, rows, "Labels are those of a file sorted by ten classes.")
    return [
        at_most(f"{case}, chunk order, {kind}", samples, _LIMIT, 1.3, befit=f"befit, {kind}")
        for case, samples in cases.items()
        for kind in ("64 MiB", "default cache")
    ]


def _first_epochs(path: str, data: str, chunk_rows: int) -> Samples:
    batches = -(-ROWS[data] // BATCH)
    work: dict[str, Callable[[], float]] = {
        _LIMIT: cpu(_inflating(path, data)),
        "befit, 64 MiB": cpu(partial(_befit, path, data, cache_bytes=SMALL)),
        "befit, default cache": cpu(partial(_befit, path, data)),
        "h5py, windows by hand": cpu(partial(_by_hand, path, data, chunk_rows)),
        "h5py, random": cpu(partial(_scattered, path, data)),
    }
    samples = in_turn(work, rounds=5)
    read = dict.fromkeys(samples, batches) | {"h5py, random": _SLOW}
    return {name: [seconds / read[name] for seconds in values] for name, values in samples.items()}


def _inflating(path: str, data: str) -> Callable[[], None]:
    """Return a function that does nothing but inflate each stored chunk once, into one buffer."""
    import deflate

    library = ctypes.CDLL(next(Path(deflate.__file__).parent.glob("_deflate*.so")))
    library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
    inflate = library.libdeflate_zlib_decompress
    sized = (ctypes.c_void_p, ctypes.c_size_t)
    inflate.argtypes = (ctypes.c_void_p, *sized, *sized, ctypes.c_void_p)
    decompressor = library.libdeflate_alloc_decompressor()
    with h5py.File(path, "r") as file:
        dataset = file[data]
        nbytes = dataset.dtype.itemsize * int(np.prod(dataset.chunks))
        places: list[tuple[int, ...]] = []
        dataset.id.chunk_iter(lambda info: places.append(info.chunk_offset))
        chunks = [dataset.id.read_direct_chunk(place)[1] for place in places]
    buffer = (ctypes.c_char * nbytes)()

    def run() -> None:
        for chunk in chunks:
            if inflate(decompressor, chunk, len(chunk), buffer, nbytes, None):
                raise RuntimeError(f"a chunk of {path} could not be inflated")

    return run


def _befit(path: str, data: str, **options: Any) -> None:
    with HDF5Matrix(path, data, **options) as matrix:
        batches = matrix.batches(batch_size=BATCH, shuffle="chunks", seed=0)
        for number in range(len(batches)):
            batches[number]


def _by_hand(path: str, data: str, chunk_rows: int) -> None:
    """Read windows of random chunks with slices, and shuffle within each."""
    random = np.random.default_rng(0)
    with h5py.File(path, "r") as file:
        dataset = file[data]
        window = np.empty((_WINDOW, *dataset.shape[1:]), dataset.dtype)
        starts = random.permutation(range(0, len(dataset), chunk_rows))
        for few in np.split(starts, range(_WINDOW // chunk_rows, len(starts), _WINDOW // chunk_rows)):
            filled = 0
            for start in few.tolist():
                stop = min(start + chunk_rows, len(dataset))
                dataset.read_direct(window, np.s_[start:stop], np.s_[filled : filled + stop - start])
                filled += stop - start
            places = random.permutation(filled)
            for first in range(0, filled, BATCH):
                window[places[first : first + BATCH]]


def _scattered(path: str, data: str) -> None:
    reader = H5pyLoop(path, data)
    for numbers in random_rows(data, _SLOW):
        reader.rows(numbers)
    reader.close()


def _randomness(path: str, data: str, chunk_rows: int) -> Iterator[tuple[str, ...]]:
    for shuffle in ("chunks", True, "batch"):
        # Which rows of the file are shuffled together may depend on what the cache holds.
        budgets: dict[str, dict[str, int]] = {", default cache": {}}
        if shuffle == "chunks":
            budgets = {", 64 MiB": {"cache_bytes": SMALL}, **budgets}
        for words, options in budgets.items():
            with HDF5Matrix(path, data, **options) as matrix:
                epoch = _epoch(matrix, data, shuffle)
            yield f"{shuffle!r}{words}", *_figures(epoch, chunk_rows)
    yield "(uniform)", *_figures(np.random.default_rng(1).permutation(ROWS[data]), chunk_rows)


def _epoch(matrix: HDF5Matrix, data: str, shuffle: Any) -> np.ndarray:
    """The rows of the second epoch, in order; each row is there once and is what memory has."""
    batches = matrix.batches(np.arange(ROWS[data]), BATCH, shuffle=shuffle, seed=0)
    for start in range(0, ROWS[data], 8 * BATCH):  # decoded once, not for each batch that is random
        matrix[start : start + 8 * BATCH]
    batches.on_epoch_end()
    parts = []
    for number in range(len(batches)):
        rows, numbers = batches[number]
        if not np.array_equal(rows, array(data)[numbers]):
            raise RuntimeError(f"batch {number} of shuffle={shuffle!r} has other rows")
        parts.append(numbers)
    epoch = np.concatenate(parts)
    if not np.array_equal(np.sort(epoch), np.arange(ROWS[data])):
        raise RuntimeError(f"an epoch of shuffle={shuffle!r} has not every row once")
    return epoch


def _figures(epoch: np.ndarray, chunk_rows: int) -> tuple[str, ...]:
    """How far from uniform an order is: each is 1 for a uniform one, but for the last, which is 0."""
    count = len(epoch)
    displacement = np.abs(np.arange(count) - epoch).mean() / (count / 3)
    batches = epoch[: count // BATCH * BATCH].reshape(-1, BATCH)
    chunks = np.sort(batches // chunk_rows, axis=1)
    together = np.mean([_pairs(row) for row in chunks]) / ((chunk_rows - 1) / (count - 1))
    means = (batches * 10 // count).mean(axis=1)
    uniform = np.sqrt((10**2 - 1) / 12 / BATCH)  # of the mean of so many labels of ten classes
    following = statistics.correlation(means[:-1].tolist(), means[1:].tolist())
    return f"{displacement:.2f}", f"{together:.1f}", f"{means.std() / uniform:.2f}", f"{following:+.2f}"


def _pairs(chunks: np.ndarray) -> float:
    """The share of the pairs of a batch whose rows are of the same chunk."""
    sizes = np.unique(chunks, return_counts=True)[1]
    return float((sizes * (sizes - 1)).sum() / (BATCH * (BATCH - 1)))
