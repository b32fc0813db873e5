"""Open HDF5 files: one handle for each file and process, closed when its last user lets go of it.

Who owns what: an ``OpenFile`` owns its h5py handle, the matrices own the ``OpenFile``, and the table below
only remembers it weakly. A forked child opens files of its own, because the table's keys hold the process id.
There is no lock that a fork could leave taken: two threads that open a file at the same moment get a handle
each, which HDF5 allows. h5py lets no fork happen while a thread is inside HDF5. While a local file is open
here, HDF5's lock keeps writers away from it.
"""

from __future__ import annotations

import difflib
import errno
import os
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import h5py

from befit.errors import ArgumentError, DatasetError, DatasetNotFoundError, UnsupportedObjectError
from befit.hdf5.mapped import Stamp, open_local, stamp_of
from befit.hdf5.remote import RemoteFile, RemoteStorage, is_url, local_path
from befit.hdf5.storage import Storage
from befit.hdf5.table import Table, read_table

_SHOWN_NAMES = 12

# What h5py raises on damaged headers, and what impossible addresses and types do.
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError)

_FileKey = tuple[Hashable, ...]  # process, then device and inode (what HDF5 itself asks) or the remote file


class FileState(Protocol):
    """What a file was when it was opened; hashable, and pickled with a matrix."""

    def is_of(self, other: Any) -> bool:
        """Whether both are of the same state of the same file."""

    def open(self) -> Storage:
        """Open its bytes; an error if the file has changed."""


@dataclass(frozen=True)
class LocalState:
    """A file of this machine, or one that it sees."""

    path: str
    stamp: Stamp

    def is_of(self, other: Any) -> bool:
        """Whether both are of the same state of the same file."""
        return isinstance(other, LocalState) and self.stamp.is_of(other.stamp)

    def open(self) -> Storage:
        """Open its bytes."""
        return open_local(self.path, self.stamp)


@dataclass(frozen=True)
class RemoteState:
    """A file behind a URL."""

    file: RemoteFile

    def is_of(self, other: Any) -> bool:
        """Whether both are of the same version that the server names."""
        return bool(self == other)

    def open(self) -> Storage:
        """Reach its bytes."""
        return RemoteStorage(self.file)


class OpenFile:
    """An HDF5 file that is open for reading."""

    def __init__(self, path: str, source: Any, state: FileState, nbytes: int) -> None:
        self.path = path
        self.process = os.getpid()
        self.state = state
        self._nbytes = nbytes
        self._file = _open(path, source)
        self._tables: dict[str, Table] = {}
        self._storage: Storage | None = None
        self.let_go = weakref.finalize(self, _close, self._file, None if source is path else source)

    @property
    def is_read_only(self) -> bool:
        """Whether nobody in this process has it open for writing."""
        return bool(self._file.mode == "r")

    def table(self, name: str) -> Table:
        """Return where the dataset called ``name`` lies in the file.

        Raises:
            DatasetNotFoundError: nothing has that name, or a group has it; names the datasets that exist.
            DatasetError: the dataset has no rows, or HDF5 finds it damaged.
        """
        found = self._tables.get(name)
        if found is None:
            dataset = self.dataset(name)
            try:
                found = read_table(self.path, name, self._file, dataset, self._nbytes)
            except _DAMAGE as error:
                raise DatasetError(f"dataset {name!r} in {self.path} is damaged: {error}") from error
            # A file that is being written may have other chunks the next time.
            if self.is_read_only:
                self._tables[name] = found
        return found

    def storage(self) -> Storage:
        """Return the bytes of the file, opened once."""
        if self._storage is None:
            self._storage = self.state.open()
        return self._storage

    def names(self, wanted: Callable[[Any], bool] = lambda dataset: True) -> list[str]:
        """Return the names of the datasets of the file that are ``wanted``.

        Raises:
            DatasetError: the file is damaged.
        """
        names: list[str] = []

        def collect(path: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and wanted(item):
                names.append(path)

        try:
            self._file.visititems(collect)
        except _DAMAGE as error:
            raise DatasetError(f"{self.path} is damaged: {error}") from error
        return names

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
        names = self.names()
        close = difflib.get_close_matches(name, names)
        names.sort(key=lambda path: (path not in close, path))
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        listed = ", ".join(map(repr, names[:_SHOWN_NAMES])) + more if names else "none"
        return f"{complaint} {name!r} in {self.path}; datasets in this file: {listed}"


_open_files: weakref.WeakValueDictionary[_FileKey, OpenFile] = weakref.WeakValueDictionary()


def _after_fork() -> None:
    """Let go, in a child, of the parent's handles: HDF5 would take up its state where the fork cut it."""
    for reference in _open_files.valuerefs():
        file = reference()
        if file is not None:
            file.let_go()
    _open_files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def full_path(datapath: str | os.PathLike[str]) -> str:
    """Return a path that means the same file in every process, or the URL.

    Raises:
        UnsupportedObjectError: it is no path.
    """
    try:
        path = os.fsdecode(datapath)
    except TypeError:
        raise UnsupportedObjectError(f"datapath is {datapath!r}; write the path of an HDF5 file") from None
    return path if is_url(path) else os.path.abspath(local_path(path))  # a worker may be in another folder


def open_file(path: str, storage_options: Mapping[str, Any] | None = None) -> OpenFile:
    """Return the open file at ``path``, opened now if nobody in this process has it.

    Raises:
        FileNotFoundError: there is no file.
        DatasetError: the file is not HDF5, is damaged, or another process is writing to it.
    """
    if is_url(path):
        remote = RemoteFile(path, storage_options)
        key: _FileKey = (os.getpid(), remote)
        found = _open_files.get(key)
        if found is None:
            # Its name in errors has no passwords, as the URL may.
            found = OpenFile(remote.shown, remote.open_for_h5py(), RemoteState(remote), remote.nbytes)
            _open_files[key] = found
        return found
    if storage_options is not None:
        raise ArgumentError(f"storage_options are for URLs, and {path} is a path; leave them out")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "there is no HDF5 file", path) from None
    state = LocalState(path, stamp_of(status))
    key = (os.getpid(), status.st_dev, status.st_ino)
    found = _open_files.get(key)
    if found is not None and not found.state.is_of(state):
        if found.is_read_only:
            # HDF5 has one memory of an open file, which is that of its older state.
            raise DatasetError(
                f"{path} has changed while it was open; close the matrices of it, and try again"
            )
        found = None  # this process is writing it
    if found is None:
        found = _open_files[key] = OpenFile(path, path, state, status.st_size)
    return found


def _close(file: Any, source: Any) -> None:
    file.close()
    if source is not None:
        source.close()


def _open(path: str, source: Any) -> Any:
    try:
        return h5py.File(source, "r")
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
        if source is path and not h5py.is_hdf5(path):
            raise DatasetError(f"{path} is no HDF5 file") from error
        raise DatasetError(f"{path} cannot be opened as an HDF5 file: {error}") from error
