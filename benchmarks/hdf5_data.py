"""The files that are read: pictures and embeddings, in every layout that a part asks for, made when it does.

``img`` is as hard to compress as photographs (gzip takes 4 % off), ``emb`` is half zeros (gzip halves it).
Rows are drawn from a fixed seed. A file is in the page cache when it is read: it has just been written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROWS = {"img": 50_000, "emb": 200_000}
BATCH = 128

_FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip4": {"compression": "gzip", "compression_opts": 4},
    "gzip4sh": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    "lzf": {"compression": "lzf"},
}


class Files:
    """A folder of benchmark files; a context manager that removes it.

    It lies on a disk: ``/tmp`` may be memory.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="befit-hdf5-", dir="/var/tmp"))

    def path(self, data: str, chunk_rows: int | None = None, filters: str = "none") -> str:
        """Return the file with dataset ``data`` ("img" or "emb"); it is made when it is not there.

        ``chunk_rows`` ``None`` is contiguous; ``filters`` is "none", "gzip4", "gzip4sh" or "lzf".
        """
        layout = "contiguous" if chunk_rows is None else f"chunks{chunk_rows}-{filters}"
        path = self.folder / f"{data}-{layout}.h5"
        if not path.exists():
            rows = array(data)
            options = {} if chunk_rows is None else {"chunks": (chunk_rows, *rows.shape[1:])}
            with h5py.File(path, "w") as file:
                file.create_dataset(data, data=rows, **options, **_FILTERS[filters])
            with open(path, "rb") as written:
                os.fsync(written.fileno())  # the kernel writes nothing back while another reads
        return str(path)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.folder)


def array(data: str) -> np.ndarray:
    """The rows of ``data`` in memory, which is the limit of every reader; read-only."""
    return {"img": _pictures, "emb": _embeddings}[data]()


@cache
def _pictures() -> np.ndarray:
    """50,000 x 32 x 32 x 3 bytes: a spectrum that falls as that of photographs does, and a sensor's noise."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None, :])
    frequency[0, 0] = 1 / 32
    result = np.empty((ROWS["img"], 32, 32, 3), "uint8")
    for block in np.split(result, 50):
        waves = random.standard_normal((2, len(block), 3, 32, 17), "float32")
        smooth = np.fft.irfft2((waves[0] + 1j * waves[1]) / frequency.astype("float32"), (32, 32))
        smooth *= 45 / smooth.std()
        smooth += random.standard_normal(smooth.shape, "float32") * 12 + 128
        block[:] = np.clip(smooth, 0, 255).transpose(0, 2, 3, 1)
    result.flags.writeable = False
    return result


@cache
def _embeddings() -> np.ndarray:
    """200,000 x 128 float32, as after a ReLU: of low rank, half of it zeros."""
    random = np.random.default_rng(0)
    few = random.standard_normal((ROWS["emb"], 16), "float32")
    result = np.maximum(few @ random.standard_normal((16, 128), "float32"), 0)
    result.flags.writeable = False
    return result


def random_rows(data: str, count: int, seed: int = 0) -> list[np.ndarray]:
    """``count`` batches of row numbers, of epochs that are shuffled one after the other."""
    random = np.random.default_rng(seed)
    full = ROWS[data] // BATCH
    epochs = [random.permutation(ROWS[data])[: full * BATCH] for _ in range(-(-count // full))]
    return np.split(np.concatenate(epochs)[: count * BATCH], count)
