"""How a dataset is laid out in a packed file.

Uncompressed rows lie in one piece: befit reads them in any order at the speed of memory, and nothing else is
as fast. Compression is for data that is worth it. The first visit of a chunk costs its decoding, so chunks
are as small as they can be without the compressor losing. Measured on embeddings with deflate (level 4),
decoded by libdeflate on one core:

========  =====  =====  ========================
chunk     ratio  MB/s   decoded for a single row
========  =====  =====  ========================
1 KiB     1.62   162       6 µs
4 KiB     1.76   327      13 µs
16 KiB    1.80   392      42 µs
64 KiB    1.81   437     150 µs
256 KiB   1.82   465     564 µs
1 MiB     1.82   509    2061 µs
========  =====  =====  ========================

Beyond 32 KiB there is nothing left to win but the time to open a file: finding its chunks takes 1.2 µs each,
so those of large datasets are larger.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from befit._internal.optional import require
from befit.errors import ArgumentError
from befit.hdf5.packing.rows import Rows
from befit.typing import Array

Compression: TypeAlias = Literal["auto", "gzip", "lzf", "zstd", "blosc2"]
COMPRESSIONS: tuple[Compression, ...] = ("auto", "gzip", "lzf", "zstd", "blosc2")

_CHUNK_BYTES = 32 << 10, 256 << 10  # the least and the most that are chosen
_CHUNK_COUNT = 200_000  # opening a file with so many takes a quarter of a second
_SMALL = 1 << 20  # bytes; nothing is gained by compressing less
_WORTH_IT = 1.3
_SHUFFLE_WORTH_IT = 1.1
_SAMPLES = 16
_SAMPLED_ROWS = 2048
_LEVEL = 4
_LARGEST_CHUNK = (4 << 30) - 1  # of HDF5


@dataclass(frozen=True)
class Choice:
    """What was chosen for one dataset, and why."""

    reason: str
    """In words."""
    chunk_rows: int = 1
    """Rows that are best written together."""
    options: dict[str, Any] = field(default_factory=dict)
    """For ``h5py.Group.create_dataset``."""
    ratio: float = 1.0
    """How many times smaller it will be, judged by a sample."""


def choose(
    rows: Rows, *, chunk_rows: int | None, compression: Compression | None, rng: np.random.Generator | None
) -> Choice:
    """Choose a layout; with ``rng``, one for rows that are written in random order.

    Raises:
        ArgumentError: a chunk would be larger than HDF5 takes.
        MissingDependencyError: the compressor is in a package that is not installed.
    """
    if not rows.shape:
        return Choice("a single value")
    if rows.nbytes == 0:
        return Choice("it has no values")
    if rows.dtype.hasobject:
        return Choice("values without a fixed length can be neither compressed nor mapped")
    if compression is None or (compression == "auto" and rows.nbytes < _SMALL):
        why = "" if compression is None else "smaller than 1 MiB; "
        return _uncompressed(rows, chunk_rows, why)
    in_chunk = min(chunk_rows or _rows_in_chunk(rows), rows.shape[0])
    plain, shuffled = _ratios(_sample(rows, in_chunk, rng), rows.dtype.itemsize)
    shuffle = shuffled > plain * _SHUFFLE_WORTH_IT
    ratio = max(1.0, shuffled if shuffle else plain)
    if compression == "auto" and ratio < _WORTH_IT:
        share = f"compressing saves only {1 - 1 / ratio:.0%} of a sample; "
        return _uncompressed(rows, chunk_rows, share)
    if in_chunk * rows.row_bytes > _LARGEST_CHUNK:
        has = f"a chunk of {in_chunk} rows has {in_chunk * rows.row_bytes} bytes"
        raise ArgumentError(
            f"{rows.origin}: {has}, HDF5 takes less than 4 GiB; pass fewer chunk_rows, or compression=None"
        )
    codec = "gzip" if compression == "auto" else compression
    asked = "" if compression == "auto" else f"{codec} as asked for; "
    return Choice(
        f"{asked}a sample becomes {ratio:.1f} times smaller; chunks are small, to decode little in vain",
        in_chunk,
        {"chunks": (in_chunk, *rows.shape[1:]), **_filters(codec, shuffle=shuffle)},
        ratio,
    )


def _uncompressed(rows: Rows, chunk_rows: int | None, why: str) -> Choice:
    if chunk_rows is None:
        return Choice(f"{why}rows in one piece are read in any order at the speed of memory")
    in_chunk = min(chunk_rows, rows.shape[0])
    options = {"chunks": (in_chunk, *rows.shape[1:])}
    return Choice(
        f"{why}chunks as asked for; uncompressed rows are read at the speed of memory", in_chunk, options
    )


def _rows_in_chunk(rows: Rows) -> int:
    least, most = _CHUNK_BYTES
    return max(1, min(max(rows.nbytes // _CHUNK_COUNT, least), most) // rows.row_bytes)


def _sample(rows: Rows, in_chunk: int, rng: np.random.Generator | None) -> list[Array]:
    """Return some chunks as they would be written."""
    count = rows.shape[0]
    if rng is not None:
        numbers = rng.choice(
            count, min(count, _SAMPLES * in_chunk, max(_SAMPLED_ROWS, in_chunk)), replace=False
        )
        chosen = rows.chosen(numbers)
        return [chosen[start : start + in_chunk] for start in range(0, len(chosen), in_chunk)]
    chunks = math.ceil(count / in_chunk)
    if rows.in_order:
        firsts = list(range(min(chunks, _SAMPLES)))  # those further on would be unpacked twice
    else:
        firsts = sorted({chunk * (chunks - 1) // max(1, _SAMPLES - 1) for chunk in range(_SAMPLES)})
    return [rows.block(first * in_chunk, min((first + 1) * in_chunk, count)) for first in firsts]


def _ratios(sample: list[Array], itemsize: int) -> tuple[float, float]:
    """Return how many times smaller deflate makes the sample, without and with its bytes shuffled."""
    whole = plain = shuffled = 0
    for chunk in sample:
        data: Any = np.ascontiguousarray(chunk).reshape(-1).view(np.uint8)
        whole += data.size
        plain += len(zlib.compress(data, _LEVEL))
        if itemsize > 1:
            shuffled += len(zlib.compress(data.reshape(-1, itemsize).T.tobytes(), _LEVEL))
    return whole / plain, whole / shuffled if shuffled else 0.0


def _filters(codec: str, *, shuffle: bool) -> dict[str, Any]:
    """Return what ``create_dataset`` is told for a compressor."""
    if codec == "gzip":
        return {"compression": "gzip", "compression_opts": _LEVEL, "shuffle": shuffle}
    if codec == "lzf":
        return {"compression": "lzf", "shuffle": shuffle}
    plugin = require("hdf5plugin", extra="hdf5", purpose=f"writing HDF5 compressed with {codec}")
    if codec == "zstd":
        return {**plugin.Zstd(clevel=3), "shuffle": shuffle}
    kind = plugin.Blosc2.SHUFFLE if shuffle else plugin.Blosc2.NOFILTER
    return dict(plugin.Blosc2(cname="zstd", clevel=5, filters=kind))
