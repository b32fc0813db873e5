"""A layout in words: how a dataset is read, what that costs, and what to change.

Costs are estimates from measurements on one core of 2023, to be believed as orders of magnitude.
"""

from __future__ import annotations

import math
import shlex

from befit._internal.byte_counts import in_bytes
from befit.hdf5.layout import Layout

_BATCH = 128  # rows
_COPY = 8e9  # bytes a second, from the mapped file or the cache into a batch
_ROW = 0.1e-6  # seconds for each row beside that
_DECODED = {"deflate": 450e6, "lzf": 600e6, "zstd": 700e6, "blosc2": 700e6}  # bytes a second, by befit
_UNFILTERED = 3e9  # bytes a second, for shuffle and fletcher32 alone, and for gathering the pieces of rows
_H5PY_CALL = 25e-6  # seconds for each row
_H5PY_DECODED = 250e6  # bytes a second
_ROUND_TRIP = 10e-3  # seconds, to a server
_OPEN_CHUNK = 1.2e-6  # seconds for each chunk when a file is opened
_LARGE_CHUNK = 512 << 10  # bytes; pack chooses 256 KiB at most
_MANY_CHUNKS = 400_000
_WORTH_IT = 1.3  # how many times smaller compressed data has to be
_LITTLE = 1 << 20  # bytes; nothing is gained by packing less

_IN_CHUNKS = "Larger than the cache? batches(…, shuffle='chunks') decodes each chunk once an epoch."

# Reasons that lie in how a file is open, or in damage: packing it anew changes nothing about these.
_PASSING = ("open", "not all in the file", "beyond the end", "wrong size", "does not say where chunks are")


def explain(layout: Layout, *, cache: str = "") -> str:
    """Return in a few lines how a dataset is read, what a random batch will cost, and what would be faster.

    Args:
        layout: What ``HDF5Matrix.layout`` and ``befit.hdf5.inspect`` return.
        cache: A sentence on the cache in use, which is put in.

    Example:
        >>> import numpy as np
        >>> from befit.hdf5.layout import Layout
        >>> layout = Layout(
        ...     "x.h5", "x", (50000, 784), np.dtype("u1"), "contiguous", None, (), 0, 39200000, ""
        ... )
        >>> print(explain(layout))
        x: 50000 rows of 784 uint8 (784 B each, 37.4 MiB together), in one piece
        Rows are copied straight from the file's bytes, without HDF5 and its lock.
        A random batch of 128 rows copies 98.0 KiB: about 0.03 ms (estimate), once the file is in memory.
    """
    lines = [_headline(layout), _way(layout), cache]
    if layout.nbytes:
        lines += [_cost(layout), _advice(layout)]
    return "\n".join(line for line in lines if line)


def _headline(layout: Layout) -> str:
    axes = "x".join(map(str, layout.shape[1:]))
    rows = f"{layout.shape[0]} rows of {axes + ' ' if axes else ''}{layout.dtype}"
    sizes = f"{in_bytes(layout.row_bytes)} each, {in_bytes(layout.nbytes)} together"
    return f"{layout.dataset}: {rows} ({sizes}), {_storage(layout)}"


def _storage(layout: Layout) -> str:
    if layout.storage != "chunked" or layout.chunk_shape is None:
        return "in one piece" if layout.storage == "contiguous" else layout.storage
    chunk = layout.dtype.itemsize * math.prod(layout.chunk_shape)
    filters = " + ".join(filter_.name for filter_ in layout.filters)
    stored = f", {filters} ({in_bytes(layout.stored_bytes)} in the file)" if filters else ", without filters"
    if layout.splits_rows:
        shape = "x".join(map(str, layout.chunk_shape))
        return f"in chunks of {shape} ({in_bytes(chunk)}), which split rows{stored}"
    rows = layout.chunk_shape[0]
    return f"in chunks of {rows} row{'s' * (rows != 1)} ({in_bytes(chunk)}){stored}"


def _way(layout: Layout) -> str:
    if not layout.fast:
        return f"h5py reads it, one thread at a time, because {layout.reason}."
    source = "the file's bytes" if "://" not in layout.path else "ranges of the remote file"
    if layout.direct:
        return f"Rows are copied straight from {source}, without HDF5 and its lock."
    work = "decoded" if layout.filters else "put together"
    return f"Chunks are {work} from {source} in threads, without HDF5 and its lock, and kept in a cache."


def _cost(layout: Layout) -> str:
    batch = min(_BATCH, layout.shape[0])
    wanted = batch * layout.row_bytes
    copying = wanted / _COPY + batch * _ROW
    start = f"A random batch of {batch} rows"
    remote = "://" in layout.path
    if layout.chunk_shape is None or (layout.fast and layout.direct):
        if remote:
            ranges = f"in up to {batch} ranges at once"
            return f"{start} asks for {in_bytes(wanted)} {ranges}: about {_ms(2 * _ROUND_TRIP)}."
        if layout.fast:
            return f"{start} copies {in_bytes(wanted)}: about {_ms(copying)}, once the file is in memory."
        return f"{start} is read in up to {batch} calls: about {_ms(batch * _H5PY_CALL + wanted / _COPY)}."
    chunks, decoded = _touched(layout, batch)
    seconds = decoded / _decoding_rate(layout)
    if not layout.fast:
        seconds += max(batch * _H5PY_CALL, chunks * 1e-6)
    elif remote:
        seconds += 2 * _ROUND_TRIP
    verb = "decodes" if layout.filters else "reads"
    cost = (
        f"{start} touches about {chunks:.0f} chunks and {verb} {in_bytes(decoded)} for {in_bytes(wanted)} "
        f"wanted ({decoded / wanted:.1f} times as much): about {_ms(seconds)}"
    )
    return f"{cost}; {_ms(copying, '')} once its chunks are in the cache." if layout.fast else f"{cost}."


def _touched(layout: Layout, batch: int) -> tuple[float, float]:
    """Return how many chunks a random batch touches, and how many bytes they have, both expected."""
    assert layout.chunk_shape is not None
    rows_in_chunk = min(layout.chunk_shape[0], layout.shape[0])
    blocks = math.ceil(layout.shape[0] / rows_in_chunk)
    touched = blocks * -math.expm1(batch * math.log1p(-1 / blocks)) if blocks > 1 else 1.0
    pieces = math.prod(
        math.ceil(axis / chunk) for axis, chunk in zip(layout.shape[1:], layout.chunk_shape[1:], strict=False)
    )
    exists = min(1.0, layout.chunk_count / (blocks * pieces)) if layout.chunk_count else 1.0
    chunk_bytes = layout.dtype.itemsize * rows_in_chunk * math.prod(layout.chunk_shape[1:])
    return touched * pieces * exists, touched * pieces * exists * chunk_bytes


def _decoding_rate(layout: Layout) -> float:
    if not layout.fast:
        return _H5PY_DECODED if layout.filters else _UNFILTERED
    return min([_DECODED.get(filter_.name, _UNFILTERED) for filter_ in layout.filters], default=_UNFILTERED)


def _ms(seconds: float, estimate: str = " (estimate)") -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1 if milliseconds >= 1 else 2}f} ms{estimate}"


def _advice(layout: Layout) -> str:
    if layout.nbytes < _LITTLE or layout.dtype.hasobject or "://" in layout.path:
        return ""
    if not layout.fast:
        return (
            ""
            if any(words in layout.reason for words in _PASSING)
            else _pack(layout, "to read it without h5py")
        )
    if layout.chunk_shape is None:
        return ""
    if not layout.filters:
        if layout.splits_rows:
            return _pack(layout, "so that each row is in one piece", "--compression none")
        if layout.chunk_count > _MANY_CHUNKS:
            seconds = layout.chunk_count * _OPEN_CHUNK
            return _pack(layout, f"to open the file {seconds:.1f} s faster (estimate)", "--compression none")
        return ""
    return _advice_on_filters(layout)


def _advice_on_filters(layout: Layout) -> str:
    assert layout.chunk_shape is not None
    ratio = layout.nbytes / max(1, layout.stored_bytes)
    plain = "--compression none"
    if ratio < _WORTH_IT:
        saved = f"to decode nothing at all; compression saves only {max(0.0, 1 - 1 / ratio):.0%}"
        return _pack(layout, saved, plain)
    batch = min(_BATCH, layout.shape[0])
    amplification = _touched(layout, batch)[1] / (batch * layout.row_bytes)
    chunk_bytes = layout.dtype.itemsize * math.prod(layout.chunk_shape)
    if amplification < 2:
        return ""
    if chunk_bytes <= _LARGE_CHUNK and not layout.splits_rows:
        return _IN_CHUNKS
    smaller = _pack(layout, "to decode less in vain: its chunks are smaller")
    whole = f"Where the disk has {in_bytes(layout.nbytes)}, add {plain}, and nothing has to be decoded."
    return f"{smaller}\n{whole}\n{_IN_CHUNKS}"


def _pack(layout: Layout, purpose: str, options: str = "") -> str:
    words = ["befit", "h5", "pack", shlex.quote(layout.path), "packed.h5", *options.split()]
    return f"Faster: `{' '.join(words)}`, {purpose}."
