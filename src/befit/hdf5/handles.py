"""Open HDF5 files: one handle for each file and process, closed when its last user lets go of it.

Who owns what: a ``SharedFile`` owns its h5py handle, the matrices own the ``SharedFile``, and the table below
only remembers it weakly. A forked child opens files of its own, because the table's keys hold the process id.
There is no lock that a fork could leave taken: two threads that open a file at the same moment get a handle
each, which HDF5 allows.
"""

from __future__ import annotations

import difflib
import errno
import os
import weakref
from typing import Any

import h5py

from befit.errors import DatasetError, DatasetNotFoundError

_SHOWN_NAMES = 12

_FileKey = tuple[int, int, int]  # process, device, inode: what HDF5 itself takes for the same file


class SharedFile:
    """An HDF5 file that is open for reading."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = _open(path)
        self._finalizer = weakref.finalize(self, self._file.close)

    def dataset(self, name: str) -> Any:
        """Return the ``h5py.Dataset`` called ``name``.

        Raises:
            DatasetNotFoundError: nothing has that name, or a group has it; names the datasets that exist.
            DatasetError: the dataset has no rows: it is a single value, or null.
        """
        try:
            found = self._file[name]
        except (KeyError, ValueError) as error:  # ValueError: an empty name
            raise DatasetNotFoundError(self._not_found(name, "there is no dataset")) from error
        if not isinstance(found, h5py.Dataset):
            kind = "a group" if isinstance(found, h5py.Group) else "a named data type"
            raise DatasetNotFoundError(self._not_found(name, f"{kind}, no dataset, is called"))
        if not found.shape:
            kind = "holds a single value" if found.shape == () else "is null"
            raise DatasetError(
                f"dataset {name!r} in {self.path} {kind} and has no rows; "
                f"read it with h5py: h5py.File(path)[{name!r}][()]"
            )
        return found

    def _not_found(self, name: str, complaint: str) -> str:
        names: list[str] = []

        def collect(path: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                names.append(path)

        self._file.visititems(collect)
        close = difflib.get_close_matches(name, names)
        names.sort(key=lambda path: (path not in close, path))
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        listed = ", ".join(map(repr, names[:_SHOWN_NAMES])) + more if names else "none"
        return f"{complaint} {name!r} in {self.path}; datasets in this file: {listed}"


_open_files: weakref.WeakValueDictionary[_FileKey, SharedFile] = weakref.WeakValueDictionary()


def shared_file(path: str) -> SharedFile:
    """Return the open file at ``path``, opened now if nobody in this process has it.

    Raises:
        FileNotFoundError: there is no file.
        DatasetError: the file is not HDF5, is damaged, or another process is writing to it.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no HDF5 file", path) from None
    key = (os.getpid(), status.st_dev, status.st_ino)
    found = _open_files.get(key)
    if found is None:
        found = SharedFile(path)
        _open_files[key] = found
    return found


def _open(path: str) -> Any:
    try:
        return h5py.File(path, "r")
    except PermissionError:
        raise
    except IsADirectoryError as error:
        raise DatasetError(f"{path} is a folder; pass the path of an HDF5 file in it") from error
    except BlockingIOError as error:
        raise DatasetError(
            f"{path} is locked: another process has it open for writing; close it there, or set "
            "HDF5_USE_FILE_LOCKING=FALSE before starting Python if that process only reads"
        ) from error
    except OSError as error:
        if not h5py.is_hdf5(path):
            raise DatasetError(f"{path} is no HDF5 file") from error
        raise DatasetError(f"{path} cannot be opened as an HDF5 file: {error}") from error
