"""Writing below one folder and nowhere else.

Every component of a path is opened relative to the descriptor of the folder before it, and a symbolic link
is never followed: no path is ever looked up as text, so nothing that was checked can mean something else
when it is used. Windows has no such calls; there the folder is fresh, private and never holds a link, which
leaves nothing to follow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

from befit.files.member import Chunk
from befit.files.names import Parts

_OPEN_FOLDERS = 60  # descriptors at a time; some systems allow a process 256

HAS_DESCRIPTORS = {os.open, os.mkdir, os.rename, os.symlink, os.link} <= os.supports_dir_fd

_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_CREATE_FILE = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


class Tree(Protocol):
    """What an extractor needs; paths are ``Parts`` below the tree's folder, already checked."""

    def make_folder(self, parts: Parts) -> None:
        """Create a folder and those that it lies in, where they do not exist."""

    def write(
        self, parts: Parts, chunks: Iterable[Chunk], *, executable: bool, mtime_ns: int | None = None
    ) -> os.stat_result:
        """Create a file and return its state; there must be none of its name.

        Of an archive's modes only "executable" remains: nothing is setuid, or writable by everybody.
        """

    def hard_link(self, parts: Parts, existing: Parts) -> None:
        """Give the file ``existing`` another name."""

    def symlink(self, parts: Parts, target: str) -> os.stat_result:
        """Create a symbolic link with the text ``target`` and return its state."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def open_tree(root: Path) -> Tree:
    """Return the tree below the existing folder ``root``."""
    return DescriptorTree(root) if HAS_DESCRIPTORS else PathTree(root)


def open_folder(name: str, above: int | None = None) -> int:
    """Return a descriptor of the folder ``name``; refuses a symbolic link."""
    return os.open(name, _OPEN_FOLDER, dir_fd=above)


class DescriptorTree:
    """A tree that is reached by descriptors only."""

    def __init__(self, root: Path) -> None:
        # The folders used last; members come sorted by folder, mostly.
        self._opened: dict[Parts, int] = {(): open_folder(str(root))}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for descriptor in self._opened.values():
            os.close(descriptor)

    def make_folder(self, parts: Parts) -> None:
        """See ``Tree``."""
        self._folder(parts)

    def write(
        self, parts: Parts, chunks: Iterable[Chunk], *, executable: bool, mtime_ns: int | None = None
    ) -> os.stat_result:
        """See ``Tree``."""
        descriptor = os.open(
            parts[-1], _CREATE_FILE, 0o755 if executable else 0o644, dir_fd=self._folder(parts[:-1])
        )
        try:
            _write_all(descriptor, chunks)
            if mtime_ns is not None:
                os.utime(descriptor, ns=(mtime_ns, mtime_ns))
            return os.fstat(descriptor)  # a file system may have rounded the time
        finally:
            os.close(descriptor)

    def hard_link(self, parts: Parts, existing: Parts) -> None:
        """See ``Tree``."""
        source = os.dup(self._folder(existing[:-1]))
        try:
            target = self._folder(parts[:-1])
            os.link(existing[-1], parts[-1], src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(source)

    def symlink(self, parts: Parts, target: str) -> os.stat_result:
        """See ``Tree``."""
        folder = self._folder(parts[:-1])
        os.symlink(target, parts[-1], dir_fd=folder)
        return os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)

    def _folder(self, parts: Parts) -> int:
        """Return the descriptor of a folder, created where it does not exist; good until the next call."""
        descriptor = self._opened.get(parts)
        if descriptor is not None:
            return descriptor
        above = self._folder(parts[:-1])
        try:
            descriptor = open_folder(parts[-1], above)
        except FileNotFoundError:
            os.mkdir(parts[-1], 0o755, dir_fd=above)
            descriptor = open_folder(parts[-1], above)
        if len(self._opened) > _OPEN_FOLDERS:
            oldest = next(islice(self._opened, 1, None))  # the first one is the root
            os.close(self._opened.pop(oldest))
        self._opened[parts] = descriptor
        return descriptor


class PathTree:
    """A tree that is reached by paths, for systems without descriptors of folders; it takes no links."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def make_folder(self, parts: Parts) -> None:
        """See ``Tree``."""
        self._root.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def write(
        self, parts: Parts, chunks: Iterable[Chunk], *, executable: bool, mtime_ns: int | None = None
    ) -> os.stat_result:
        """See ``Tree``."""
        self.make_folder(parts[:-1])
        path = self._root.joinpath(*parts)
        descriptor = os.open(path, _CREATE_FILE, 0o755 if executable else 0o644)
        try:
            _write_all(descriptor, chunks)
        finally:
            os.close(descriptor)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns, mtime_ns))
        return os.lstat(path)

    def hard_link(self, parts: Parts, existing: Parts) -> None:
        """Refuse: see the module."""
        raise NotImplementedError("links are refused before a PathTree is asked for one")

    def symlink(self, parts: Parts, target: str) -> os.stat_result:
        """Refuse: see the module."""
        raise NotImplementedError("links are refused before a PathTree is asked for one")


def _write_all(descriptor: int, chunks: Iterable[Chunk]) -> None:
    for chunk in chunks:
        written = os.write(descriptor, chunk) if chunk else 0
        while written < len(chunk):
            written += os.write(descriptor, memoryview(chunk)[written:])
