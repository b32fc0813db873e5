"""From the stored bytes of a chunk to its values, without libhdf5 and its global lock.

What decodes a chunk here runs without the GIL and writes straight into the memory where it is wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from befit.errors import DatasetError
from befit.hdf5.decoders import Decoder, Libdeflate, UnavailableError
from befit.hdf5.layout import Filter
from befit.hdf5.plugins import COMPRESSORS
from befit.typing import Array

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_CHECKSUM_BYTES = 4


def unsupported(filters: Sequence[Filter]) -> str:
    """Return why these filters cannot be undone here, in a few words; ``""``: they can."""
    compressors = [f for f in filters if f.number not in (_SHUFFLE, _FLETCHER32)]
    for filter_ in compressors:
        if filter_.number not in COMPRESSORS:
            return f"{_words(filter_)} is decoded by HDF5 only"
    if len(compressors) > 1:
        return f"filters {' and '.join(f.name for f in compressors)} follow each other"
    if any(f.number == _SHUFFLE and (len(f.options) != 1 or not f.options[0]) for f in filters):
        return "filter shuffle has no size of items"
    try:
        for filter_ in compressors:
            COMPRESSORS[filter_.number](filter_)
    except UnavailableError as error:
        return f"{_words(compressors[0])} {error}"
    return ""


def _words(filter_: Filter) -> str:
    return filter_.name if filter_.name.startswith("filter ") else f"filter {filter_.name}"


class _Step(NamedTuple):
    """One filter to undo."""

    filter: Filter
    size: int | None
    """The bytes there are after it was undone; ``None``: as many as came, it lies behind the compressor."""


class Pipeline:
    """Undoes the filters of one dataset.

    Threads may share it, a forked process may go on with it, and a pickled one finds its decoders anew.

    Args:
        filters: in the order in which they were applied when writing.
        chunk_bytes: the bytes of a chunk in memory; all chunks of a dataset have the same.

    Raises:
        DatasetError: a filter cannot be undone here; see ``unsupported``.
    """

    def __init__(self, filters: Sequence[Filter], chunk_bytes: int) -> None:
        reason = unsupported(filters)
        if reason:
            raise DatasetError(reason)
        self._filters = tuple(filters)
        self._chunk_bytes = chunk_bytes
        self._decoders: dict[int, Decoder] = {
            f.number: COMPRESSORS[f.number](f) for f in filters if f.number in COMPRESSORS
        }
        self._known_bits = (1 << len(filters)) - 1
        self._plans: dict[int, tuple[_Step, ...]] = {}
        self._scratch = _Scratch()

    def __reduce__(self) -> tuple[type[Pipeline], tuple[tuple[Filter, ...], int]]:
        return Pipeline, (self._filters, self._chunk_bytes)

    @property
    def description(self) -> str:
        """Which decoders are used, in the order of the filters: ``shuffle by NumPy, lzf by h5py``."""
        return ", ".join(
            f"{f.name} by {self._decoders[f.number].name if f.number in self._decoders else 'NumPy'}"
            for f in self._filters
        )

    @property
    def inflater(self) -> Libdeflate | None:
        """What undoes all filters by itself, at bare addresses, if that can be."""
        decoder = self._decoders.get(_DEFLATE)
        return decoder if len(self._filters) == 1 and isinstance(decoder, Libdeflate) else None

    def decode(self, stored: Array, mask: int, out: Array) -> None:
        """Write one chunk into ``out``.

        Args:
            stored: what the file has of the chunk, ``uint8`` of shape ``(n,)``; is not written to.
            mask: bit ``i`` is set where filter ``i`` was skipped for this chunk.
            out: ``uint8`` of shape ``(chunk_bytes,)``, C-contiguous and writable. Its content after an
                error is undefined.

        Raises:
            DatasetError: the stored bytes are damaged.
        """
        plan = self._plan(mask & self._known_bits)
        data = stored
        turn = 0
        for step, (filter_, known) in enumerate(plan, 1):
            if filter_.number == _FLETCHER32:
                data = _without_checksum(data)
                continue
            size = len(data) if known is None else known
            turn = 1 - turn  # of two buffers: a step never writes where it reads
            target = out if step == len(plan) and size == len(out) else self._scratch.buffer(turn, size)
            if filter_.number == _SHUFFLE:
                if len(data) != size:
                    raise _wrong_size(len(data), size)
                unshuffle(data, filter_.options[0], target)
            elif not self._decoders[filter_.number](data, target):
                raise DatasetError(f"the stored bytes are damaged: {filter_.name} cannot decode them")
            data = target
        if len(data) != len(out):
            raise _wrong_size(len(data), len(out))
        if data is not out:
            out[:] = data

    def _plan(self, skipped: int) -> tuple[_Step, ...]:
        """Return what is to be undone, the last filter first."""
        plan = self._plans.get(skipped)
        if plan is None:
            steps = []
            size: int | None = self._chunk_bytes
            for i, filter_ in enumerate(self._filters):
                if skipped >> i & 1:
                    continue
                steps.append(_Step(filter_, size))
                if filter_.number in self._decoders:
                    size = None
                elif filter_.number == _FLETCHER32 and size is not None:
                    size += _CHECKSUM_BYTES
            # Threads may both come here; they store the same.
            plan = self._plans[skipped] = tuple(reversed(steps))
        return plan


class _Scratch(threading.local):
    """Memory between two steps, for each thread its own."""

    def __init__(self) -> None:
        self._buffers = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def buffer(self, which: int, nbytes: int) -> Array:
        """Return one of two buffers."""
        if len(self._buffers[which]) < nbytes:
            self._buffers[which] = np.empty(nbytes, np.uint8)
        return self._buffers[which][:nbytes]


def _wrong_size(nbytes: int, expected: int) -> DatasetError:
    return DatasetError(f"the stored bytes are damaged: {nbytes} bytes where {expected} belong")


def unshuffle(data: Array, itemsize: int, out: Array) -> None:
    """Write ``data``, the first bytes of all items first, into ``out`` item by item; both are ``uint8``."""
    count = len(data) // itemsize
    whole = count * itemsize  # bytes behind the last item stay where they are
    columns = data[:whole].reshape(itemsize, count)
    items = out[:whole].reshape(count, itemsize)
    if count < 1024:
        items[...] = columns.T
    else:  # column by column NumPy copies two to four times as fast, once the columns are long
        for i in range(itemsize):
            items[:, i] = columns[i]
    out[whole:] = data[whole:]


def _without_checksum(data: Array) -> Array:
    """Return ``data`` without the checksum at its end, after comparing it."""
    if len(data) < _CHECKSUM_BYTES:
        raise DatasetError("the stored bytes are damaged: too few for a checksum")
    body, end = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    stored = int.from_bytes(end.tobytes(), "little")
    checksum = fletcher32(body)
    swapped = (checksum & 0x00FF00FF) << 8 | checksum >> 8 & 0x00FF00FF  # written so before HDF5 1.6.3
    if stored not in (checksum, swapped):
        raise DatasetError("the stored bytes are damaged: their checksum is another one (fletcher32)")
    return body


_BLOCK_WORDS = 1 << 15  # of 16 bits; copied as 64 bits, in which no sum of them overflows
_WEIGHTS: Array = np.arange(_BLOCK_WORDS, 0, -1, dtype=np.uint64)


def fletcher32(data: Array) -> int:
    """Return the checksum that HDF5 computes of ``data``, ``uint8`` of shape ``(n,)``.

    Source: ``H5_checksum_fletcher32``: the sum of all 16-bit words, and the sum of that sum after each word.
    """
    words = data[: len(data) & ~1].view("<u2")
    first = second = 0
    for start in range(0, len(words), _BLOCK_WORDS):
        block = words[start : start + _BLOCK_WORDS].astype(np.uint64)
        second += len(block) * first + int(np.dot(block, _WEIGHTS[-len(block) :]))
        first += int(block.sum())
    # HDF5 sums big-endian words. Modulo 65535, swapping the bytes of a word multiplies it by 256.
    first, second = first << 8, second << 8
    if len(data) % 2:
        first += int(data[-1]) << 8
        second += first
    return _folded(second) << 16 | _folded(first)


def _folded(total: int) -> int:
    """Return ``total`` in 16 bits, as adding the carry again and again leaves it: 0 only for 0."""
    return (total - 1) % 0xFFFF + 1 if total else 0
