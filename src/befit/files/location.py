"""Where a file lives: in the cache as documented, or in a private fallback where that cannot be written."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from befit._internal import settings
from befit._internal.staging import part_file
from befit.errors import ArgumentError, DownloadError
from befit.files.lock import lock_path
from befit.files.url import split_url

_ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.(gz|bz2?|xz|zst))?|tgz|tbz2?|txz|tzst|zip)$", re.IGNORECASE)
_LONGEST_NAME = 230  # bytes; file systems take 255, and the lock and the marker have longer names
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Location:
    """The paths of one call."""

    file: Path
    """What is downloaded."""

    result: Path
    """What ``get_file`` returns: ``file``, or with ``untar=True`` a folder beside it."""

    movable: bool
    """Whether another folder may take the place of this one: the caller gave no absolute path."""

    @property
    def folder(self) -> Path:
        """The folder that holds the file and, beside it, what is extracted."""
        return self.file.parent

    @property
    def lock(self) -> Path:
        """The file that a process locks while it downloads or extracts."""
        return lock_path(self.file)

    @property
    def marker(self) -> Path:
        """The record of what was extracted."""
        return self.result.with_name(f".{self.result.name}.extracted.json")

    def moved_to(self, folder: Path) -> Location:
        """Return the same names in another folder."""
        return Location(folder / self.file.name, folder / self.result.name, movable=False)


def locate(
    fname: str | os.PathLike[str] | None,
    origin: str,
    *,
    untar: bool,
    cache_subdir: str | os.PathLike[str],
    cache_dir: str | os.PathLike[str] | None,
) -> Location:
    """Return where the file of a call belongs, whether or not it is there.

    Raises:
        ArgumentError: ``fname`` (or, without it, the end of ``origin``) is no name of a file.
    """
    name = Path(name_from_url(origin) if fname is None else _checked_name(os.fspath(fname)))
    base = settings.keras_home() if cache_dir is None else Path(cache_dir).expanduser()
    file = base / cache_subdir / name  # an absolute part replaces what stands before it
    movable = not name.is_absolute() and not Path(cache_subdir).is_absolute()
    if not untar:
        return Location(file, file, movable)
    stem = _ARCHIVE_SUFFIX.sub("", file.name)
    if not stem:
        raise ArgumentError(f"fname {file.name!r} leaves no name for the folder that untar=True returns")
    archive = file if stem != file.name else file.with_name(f"{stem}.tar.gz")
    return Location(archive, file.with_name(stem), movable)


def name_from_url(origin: str) -> str:
    """Return the name of the file that a URL ends with.

    >>> name_from_url("https://example.org/data/flower%20photos.tar.gz?version=2")
    'flower photos.tar.gz'
    """
    name = unquote(split_url(origin).path.rpartition("/")[2])
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ArgumentError(
            f"the URL {origin!r} ends with no name of a file; pass fname='name-to-store-it-under'"
        )
    return _checked_name(name)


def _checked_name(name: str) -> str:
    path = Path(name)
    if not path.name or name.endswith(("/", os.sep)) or "\0" in name or path.name == "..":
        raise ArgumentError(f"fname {name!r} is not the name of a file")
    if not path.is_absolute() and ".." in path.parts:
        raise ArgumentError(
            f"fname {name!r} leaves the cache folder; choose the folder with cache_dir and cache_subdir, "
            f"or pass an absolute fname"
        )
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise ArgumentError(f"fname {path.name!r} is longer than {_LONGEST_NAME} bytes")
    return name


def writable_location(location: Location) -> Location:
    """Return ``location`` with its folder created, or the same names in a private folder where it cannot be.

    Raises:
        DownloadError: the folder cannot be written and was given as an absolute path, or the private folder
            is not safe to use.
    """
    refusal = _refusal(location.file)
    if refusal is None:
        return location
    if not location.movable:
        raise DownloadError(f"cannot write to {location.folder}: {refusal}")
    # Two caches with a file of the same name must not meet in one fallback folder.
    folder = location.folder.absolute()
    mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    moved = location.moved_to(private_folder() / f"{folder.name}-{mark}")
    refusal = _refusal(moved.file)
    if refusal is not None:
        raise DownloadError(
            f"can write neither to {folder} nor to {moved.folder}: {refusal}; pass cache_dir=…"
        )
    return moved


def _refusal(file: Path) -> str | None:
    """Create the folder of ``file`` and return why nothing can be written into it, or ``None``."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part_file(file):
            return None
    except (FileExistsError, NotADirectoryError) as error:
        raise ArgumentError(
            f"{file.parent} cannot be a cache folder: a file is in its way ({error})"
        ) from error
    except OSError as error:
        if error.errno in _NOT_WRITABLE:
            return error.strerror or str(error)
        raise


def private_folder() -> Path:
    """Return a folder below the temporary one that belongs to this user and that nobody else can enter.

    Raises:
        DownloadError: something of that name exists and is not such a folder.
    """
    owner = os.getuid() if hasattr(os, "getuid") else None  # Windows: the temporary folder is the user's own
    folder = Path(tempfile.gettempdir()) / (f"befit-{owner}" if owner is not None else "befit")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()  # a symlink is judged itself, not what it points to
        ours = owner is None or (found.st_uid == owner and not found.st_mode & 0o077)
        if not stat.S_ISDIR(found.st_mode) or not ours:
            raise DownloadError(
                f"{folder} is not a private folder of this user, so nothing in it can be trusted; "
                f"remove it, or pass cache_dir=…"
            ) from None
    return folder
