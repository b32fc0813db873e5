"""Batches of random rows of raw chunks, or of chunks that have all been decoded: memory is the limit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.hdf5_data import BATCH, ROWS, Files, random_rows
from benchmarks.hdf5_measure import Reasons, Samples, at_most, compare, cpu_per_batch
from benchmarks.hdf5_peers import READERS, Befit, H5pyLoop, Make, Memory, Reader, able
from benchmarks.loading_measure import Verdict


def raw() -> list[Verdict]:
    """Contiguous, and chunks without filters."""
    cases: dict[str, Samples] = {}
    reasons: Reasons = {}
    with Files() as files:
        for data in ROWS:
            for chunk_rows in (None, 1, 32, 256):
                case = f"{data} contiguous" if chunk_rows is None else f"{data} chunks of {chunk_rows}"
                cases[case] = _random(case, files.path(data, chunk_rows), data, READERS, reasons)
    compare("hdf5 raw random", cases, reasons, "memory")
    return [at_most(f"{case}, random", samples, "memory", 1.5) for case, samples in cases.items()]


def cached() -> list[Verdict]:
    """gzip, from the second epoch on: what was decoded is kept."""
    cases: dict[str, Samples] = {}
    reasons: Reasons = {}
    # HDF5 keeps decoded chunks too, where it is told to.
    kept: Make = partial(H5pyLoop, rdcc_nbytes=1 << 30, rdcc_nslots=100_003)
    makes: dict[str, Make] = {"memory": Memory, "befit": Befit, "h5py, cache of 1 GiB": kept}
    with Files() as files:
        for data, chunk_rows, filters in (
            ("img", 32, "gzip4"),
            ("img", 256, "gzip4"),
            ("img", 32, "lzf"),
            ("emb", 32, "gzip4"),
            ("emb", 32, "gzip4sh"),
        ):
            case = f"{data} {filters} chunks of {chunk_rows}"
            path = files.path(data, chunk_rows, filters)
            cases[case] = _random(case, path, data, makes, reasons, before=_whole)
    compare("hdf5 cached random", cases, reasons, "memory")
    return [at_most(f"{case}, cached", samples, "memory", 1.3) for case, samples in cases.items()]


def _random(
    case: str,
    path: str,
    data: str,
    makes: dict[str, Make],
    reasons: Reasons,
    before: Callable[[Reader, str], None] | None = None,
) -> Samples:
    wanted = random_rows(data, 1, seed=99)[0]
    readers, unable = able(makes, path, data, lambda reader: reader.rows(wanted))
    reasons |= {(name, case): reason for name, reason in unable.items()}
    try:
        if before is not None:
            for reader in readers.values():
                before(reader, data)
        work = {name: _batches(reader, data, seed) for seed, (name, reader) in enumerate(readers.items())}
        return cpu_per_batch(work, rounds=15)
    finally:
        for reader in readers.values():
            reader.close()


def _batches(reader: Reader, data: str, seed: int) -> Callable[[int], None]:
    """Return a function that reads the next batches; each reader has random rows of its own.

    None shall find in the processor's cache what another has just read.
    """
    batches = itertools.cycle(random_rows(data, 2_000, seed))

    def read(count: int) -> None:
        for _ in range(count):
            reader.rows(next(batches))

    return read


def _whole(reader: Reader, data: str) -> None:
    """Decode all chunks, asked for by number: a pass of slices is not kept."""
    for start in range(0, ROWS[data], BATCH * 8):
        reader.rows(np.arange(start, min(start + BATCH * 8, ROWS[data])))
