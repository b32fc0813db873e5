"""A batch of random rows of a file on a web server that takes 10 ms to answer anything.

The server is on the loopback, in a process of its own; opening the file is measured apart from the batch.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from tests.hdf5.range_server import served

from befit import HDF5Matrix
from benchmarks.hdf5_data import Files, array, random_rows
from benchmarks.hdf5_measure import loads
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, spread

_LATENCY = 0.01  # seconds
_ROUNDS = 5
_DATA = "img"


class _Seconds(NamedTuple):
    opening: float
    batch: float


def http() -> list[Verdict]:
    """128 random rows that nobody has asked for yet, contiguous and of gzip chunks of 32 rows."""
    verdicts = []
    rows: list[tuple[str, ...]] = []
    with Files() as files:
        for case, chunk_rows, filters in (("contiguous", None, "none"), ("gzip4 chunks of 32", 32, "gzip4")):
            with served(Path(files.path(_DATA, chunk_rows, filters)), _LATENCY) as url:
                seconds = in_turn(_ways(url), rounds=_ROUNDS)
            batches = {name: [way.batch for way in values] for name, values in seconds.items()}
            for name, values in seconds.items():
                rows.append(
                    (
                        case,
                        name,
                        spread([way.opening for way in values], 1e3, 0),
                        spread(batches[name], 1e3, 0),
                    )
                )
            verdicts.append(
                _verdict(case, {name: statistics.median(values) for name, values in batches.items()})
            )
    heads = ("img", "", "ms to open (least - greatest)", "ms for the batch")
    keep("hdf5 http", heads, rows, "\n".join([*_unable(), loads()]))
    return verdicts


def _verdict(case: str, medians: dict[str, float]) -> Verdict:
    peer = min((name for name in medians if name != "befit"), key=medians.__getitem__, default="")
    return Verdict(
        f"img {case}, HTTP, cold batch",
        f"{medians['befit']:.3f} s",
        f"{peer} {medians[peer]:.3f} s" if peer else "-",
        f"{medians[peer] / medians['befit']:.1f}" if peer else "-",
        "<= 0.3 s",
        medians["befit"] <= 0.3,
    )


def _ways(url: str) -> dict[str, Callable[[], _Seconds]]:
    # Rows of its own for each round: what one has fetched does not help the next.
    batches = iter(random_rows(_DATA, 3 * (_ROUNDS + 1)))
    blocks = {"cache_type": "blockcache", "block_size": 1 << 17}
    ways = {"befit": lambda: _befit(url, next(batches))}
    if not _unable():
        ways["h5py, fsspec readahead"] = lambda: _h5py(url, next(batches), {})
        ways["h5py, fsspec blocks"] = lambda: _h5py(url, next(batches), blocks)
    return ways


def _unable() -> list[str]:
    """Why fsspec cannot be measured; empty: it can."""
    missing = [name for name in ("fsspec", "aiohttp") if importlib.util.find_spec(name) is None]
    return [f"h5py over fsspec: - (No module named {name!r})" for name in missing]


def _befit(url: str, numbers: np.ndarray) -> _Seconds:
    started = time.perf_counter()
    with HDF5Matrix(url, _DATA) as matrix:
        opened = time.perf_counter()
        rows = matrix[numbers]
        ended = time.perf_counter()
    return _checked(rows, numbers, _Seconds(opened - started, ended - opened))


def _h5py(url: str, numbers: np.ndarray, options: dict[str, Any]) -> _Seconds:
    import fsspec

    started = time.perf_counter()
    with fsspec.open(url, "rb", **options) as remote, h5py.File(remote, "r") as file:
        dataset = file[_DATA]
        opened = time.perf_counter()
        # Row by row in increasing order, which is the faster way.
        rows = np.empty((len(numbers), *dataset.shape[1:]), dataset.dtype)
        for place in np.argsort(numbers).tolist():
            rows[place] = dataset[int(numbers[place])]
        ended = time.perf_counter()
    return _checked(rows, numbers, _Seconds(opened - started, ended - opened))


def _checked(rows: np.ndarray, numbers: np.ndarray, seconds: _Seconds) -> _Seconds:
    if not np.array_equal(rows, array(_DATA)[numbers]):
        raise RuntimeError("other rows came over the network")
    return seconds
