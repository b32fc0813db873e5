"""Small HDF5 files of every layout that h5py writes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

ROWS = 23

LAYOUTS = {
    "contiguous": {},
    "chunked": {"chunks": (4, 3, 2)},
    "one row a chunk": {"chunks": (1, 3, 2)},
    "chunks split rows": {"chunks": (5, 2, 1)},
    "gzip": {"chunks": (4, 3, 2), "compression": "gzip"},
    "gzip shuffle fletcher32": {
        "chunks": (7, 3, 2),
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
    },
    "lzf": {"chunks": (4, 3, 2), "compression": "lzf"},
    "by h5py": {"external": True},
    "resizable": {"chunks": (4, 3, 2), "maxshape": (None, 3, 2)},
}
DTYPES = ["u1", "i2", "f4", "f8", ">f4", ">i8", "f2", "c8", "?", "S3"]


def rows_of(dtype: str, rows: int = ROWS) -> np.ndarray:
    """Rows of shape ``(3, 2)``, no two values alike where the type allows."""
    return np.arange(rows * 6).reshape(rows, 3, 2).astype(dtype)


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a dataset ``<layout>/<dtype>`` for every layout and type."""
    path = tmp_path_factory.mktemp("hdf5") / "layouts.h5"
    with h5py.File(path, "w") as file:
        for layout, options in LAYOUTS.items():
            for number, dtype in enumerate(DTYPES):
                if "external" in options:
                    options = {"external": [(str(path.with_suffix(f".{number}")), 0, h5py.h5s.UNLIMITED)]}
                file.create_dataset(f"{layout}/{dtype}", data=rows_of(dtype), **options)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with ``x`` of shape (10, 3) and ``y`` of shape (10,)."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(30.0, dtype="float32").reshape(10, 3)
        file["y"] = np.arange(10)
    return path
