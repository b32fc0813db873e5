"""Slices of 128 rows, from the first row to the last, decoded on the way."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.hdf5_data import BATCH, ROWS, Files
from benchmarks.hdf5_measure import (
    Reasons,
    Samples,
    at_least,
    compare,
    cpu,
    loads,
    missing,
    times,
    wall,
)
from benchmarks.hdf5_peers import Befit, H5py, Hidefix, Make, Memory, Pyfive, PyTables, Reader, able
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, spread

_READERS: dict[str, Make] = {
    "memory": Memory,
    "befit": partial(Befit, threads=1),
    "hidefix": Hidefix,
    "h5py": H5py,
    "pyfive": Pyfive,
    "PyTables": PyTables,
}
_CASES = (("img", 32, "gzip4"), ("emb", 32, "gzip4"), ("emb", 32, "gzip4sh"), ("img", 32, "lzf"))


def sequential() -> list[Verdict]:
    """One pass by a reader that has just opened the file: processor time, and the gain of two threads."""
    cases: dict[str, Samples] = {}
    reasons: Reasons = {}
    verdicts: list[Verdict] = []
    with Files() as files:
        for data, chunk_rows, filters in _CASES:
            case = f"{data} {filters} chunks of {chunk_rows}"
            cases[case] = _passes(case, files.path(data, chunk_rows, filters), data, reasons)
        compare("hdf5 sequential", cases, reasons, "h5py")
        for case, samples in cases.items():
            if "gzip" in case:
                verdicts += _against(case, samples, reasons)
        verdicts.append(_threads(files.path("img", 32, "gzip4"), "img"))
    return verdicts


def _against(case: str, samples: Samples, reasons: Reasons) -> list[Verdict]:
    work = f"{case}, sequential"
    if "hidefix" in samples:
        first = at_least(work, samples, "hidefix", 1.0)
    else:
        first = missing(work, "hidefix", reasons["hidefix", case], ">= 1.0")
    return [first, at_least(work, samples, "h5py", 1.8)]


def _passes(case: str, path: str, data: str, reasons: Reasons) -> Samples:
    readers, unable = able(_READERS, path, data, lambda reader: _some(reader, data))
    for reader in readers.values():
        reader.close()
    reasons |= {(name, case): reason for name, reason in unable.items()}
    work = {name: cpu(partial(_pass, _READERS[name], path, data)) for name in readers}
    batches = -(-ROWS[data] // BATCH)
    return {name: [t / batches for t in values] for name, values in in_turn(work, rounds=5).items()}


def _some(reader: Reader, data: str) -> np.ndarray:
    """Slices here and there; the last is short."""
    starts = range(0, ROWS[data], ROWS[data] // 97)
    return np.concatenate([reader.slice(start, min(start + BATCH, ROWS[data])) for start in starts])


def _pass(make: Make, path: str, data: str) -> None:
    reader = make(path, data)
    for start in range(0, ROWS[data], BATCH):
        reader.slice(start, min(start + BATCH, ROWS[data]))
    reader.close()


def _threads(path: str, data: str) -> Verdict:
    work: dict[str, Callable[[], float]] = {
        f"befit, {words}": wall(partial(_pass, partial(Befit, threads=threads), path, data))
        for words, threads in (("1 thread", 1), ("2 threads", 2))
    }
    seconds = in_turn(work, rounds=9)
    rows = [(name, spread(values, 1e3, 0)) for name, values in seconds.items()]
    keep("hdf5 sequential, threads", ("", "ms, one pass (least - greatest)"), rows, loads())
    gain = times(seconds, "befit, 1 thread", "befit, 2 threads")
    one, two = (statistics.median(values) * 1e3 for values in seconds.values())
    return Verdict(
        f"{data} gzip4, sequential, 2 threads",
        f"{two:.0f} ms",
        f"befit, 1 thread {one:.0f} ms, load {os.getloadavg()[0]:.1f}",
        f"{gain:.2f}",
        ">= 1.7",
        gain >= 1.7,
    )
