"""What the datasets of a file are like, without reading them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from befit.hdf5.handles import full_path, open_file
from befit.hdf5.layout import Layout


def inspect(
    path: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None
) -> list[Layout]:
    """Return the layout of every dataset of a file that has rows, in the order of their names.

    Args:
        path: Path or URL of an HDF5 file.
        storage_options: For a URL: what fsspec is to be told.

    Raises:
        FileNotFoundError: There is no such file.
        DatasetError: It cannot be read as HDF5.

    Example:
        >>> import h5py, os, tempfile
        >>> from befit.hdf5 import inspect
        >>> path = os.path.join(tempfile.mkdtemp(), "file.hdf5")
        >>> with h5py.File(path, "w") as file:
        ...     file["data"] = [[0, 10], [20, 30], [40, 50]]
        >>> [(layout.dataset, layout.shape, layout.storage, layout.fast) for layout in inspect(path)]
        [('data', (3, 2), 'contiguous', True)]
    """
    file = open_file(full_path(path), storage_options)
    return [file.table(name).layout for name in file.names(lambda dataset: bool(dataset.shape))]
