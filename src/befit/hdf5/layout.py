"""What is known of a dataset before any of its rows is read: a value, to be printed or compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

FILTER_NAMES = {
    1: "deflate",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32026: "blosc2",
}
"""The filters that HDF5 brings (below 256) and registered ones that files of this field have."""


@dataclass(frozen=True)
class Filter:
    """One filter of a chunked dataset, in the order in which they were applied when writing."""

    number: int
    """The number that it is registered with at the HDF Group."""
    options: tuple[int, ...] = ()
    """Its settings as the file holds them."""

    @property
    def name(self) -> str:
        """Its usual name, or ``filter 12345``."""
        return FILTER_NAMES.get(self.number, f"filter {self.number}")


@dataclass(frozen=True)
class Layout:
    """How a dataset lies in its file, and how befit reads it."""

    path: str
    """The file, or its URL."""
    dataset: str
    """The name of the dataset in the file."""
    shape: tuple[int, ...]
    """Of the whole dataset, as NumPy sees it: ``(rows, ...)``."""
    dtype: np.dtype[Any]
    """As the file has it, the byte order included."""
    storage: str
    """``"contiguous"``, ``"chunked"``, ``"compact"``, ``"external"`` or ``"virtual"``."""
    chunk_shape: tuple[int, ...] | None
    """Shape of a chunk; ``None`` where there are none."""
    filters: tuple[Filter, ...]
    """In the order in which they were applied when writing."""
    chunk_count: int
    """The chunks that exist in the file; those never written do not."""
    stored_bytes: int
    """What the dataset takes in the file."""
    reason: str
    """Why h5py has to read it, in a few words; empty: it is read without."""

    @property
    def fast(self) -> bool:
        """Whether it is read around libhdf5 and its global lock."""
        return not self.reason

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of the whole dataset in memory."""
        return self.row_bytes * self.shape[0]

    @property
    def splits_rows(self) -> bool:
        """Whether a row lies in more than one chunk."""
        return self.chunk_shape is not None and any(
            chunk < axis for chunk, axis in zip(self.chunk_shape[1:], self.shape[1:], strict=False)
        )

    @property
    def direct(self) -> bool:
        """Whether each row lies in the file as it is in memory, in one piece."""
        if self.chunk_shape is None:
            return self.storage == "contiguous"
        whole = self.chunk_shape[1:] == self.shape[1:]
        return whole and not self.filters and self.chunk_count == -(-self.shape[0] // self.chunk_shape[0])

    def to_dict(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "path": self.path,
            "dataset": self.dataset,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "storage": self.storage,
            "chunk_shape": None if self.chunk_shape is None else list(self.chunk_shape),
            "filters": [
                {"name": f.name, "number": f.number, "options": list(f.options)} for f in self.filters
            ],
            "chunk_count": self.chunk_count,
            "stored_bytes": self.stored_bytes,
            "nbytes": self.nbytes,
            "fast": self.fast,
            "reason": self.reason,
        }
