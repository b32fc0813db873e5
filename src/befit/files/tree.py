"""Writing below one folder and nowhere else.

Every component of a path is opened relative to the descriptor of the folder before it, and a symbolic
link is never
followed: no path is ever looked up as text, so nothing that was checked can mean something else when it
is used. Windows has no such calls; there the folder is fresh, private and never holds a link, which
leaves nothing to follow.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self

from befit.files.names import Parts

HAS_DESCRIPTORS = {os.open, os.mkdir, os.rename, os.symlink, os.link} <= os.supports_dir_fd

_OPEN_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_CREATE_FILE = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


class Tree(Protocol):
    """What an extractor needs; paths are ``Parts`` below the tree's folder, already checked."""

    def make_folder(self, parts: Parts) -> None:
        """Create a folder and those that it lies in, where they do not exist."""

    def write(self, parts: Parts, chunks: Iterable[bytes], *, executable: bool) -> None:
        """Create a file; there must be none of its name."""

    def hard_link(self, parts: Parts, existing: Parts) -> None:
        """Give the file ``existing`` another name."""

    def symlink(self, parts: Parts, target: str) -> None:
        """Create a symbolic link with the text ``target``."""

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
        self._root = open_folder(str(root))
        # The chain of open folders that leads to the last one used: members come sorted by folder, mostly.
        self._chain: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._shorten(0)
        os.close(self._root)

    def make_folder(self, parts: Parts) -> None:
        """See ``Tree``."""
        self._folder(parts)

    def write(self, parts: Parts, chunks: Iterable[bytes], *, executable: bool) -> None:
        """See ``Tree``."""
        mode = 0o755 if executable else 0o644  # never setuid, never writable by everybody
        with open(os.open(parts[-1], _CREATE_FILE, mode, dir_fd=self._folder(parts[:-1])), "wb") as file:
            file.writelines(chunks)

    def hard_link(self, parts: Parts, existing: Parts) -> None:
        """See ``Tree``."""
        source = os.dup(self._folder(existing[:-1]))
        try:
            target = self._folder(parts[:-1])
            os.link(existing[-1], parts[-1], src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        finally:
            os.close(source)

    def symlink(self, parts: Parts, target: str) -> None:
        """See ``Tree``."""
        os.symlink(target, parts[-1], dir_fd=self._folder(parts[:-1]))

    def _folder(self, parts: Parts) -> int:
        """Return the descriptor of a folder, created where it does not exist."""
        common = 0
        for (name, _), part in zip(self._chain, parts, strict=False):
            if name != part:
                break
            common += 1
        self._shorten(common)
        descriptor = self._chain[-1][1] if self._chain else self._root
        for part in parts[common:]:
            with contextlib.suppress(FileExistsError):  # if it is no folder, opening it says so
                os.mkdir(part, 0o755, dir_fd=descriptor)
            descriptor = open_folder(part, descriptor)
            self._chain.append((part, descriptor))
        return descriptor

    def _shorten(self, length: int) -> None:
        while len(self._chain) > length:
            os.close(self._chain.pop()[1])


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

    def write(self, parts: Parts, chunks: Iterable[bytes], *, executable: bool) -> None:
        """See ``Tree``."""
        self.make_folder(parts[:-1])
        descriptor = os.open(self._root.joinpath(*parts), _CREATE_FILE, 0o755 if executable else 0o644)
        with open(descriptor, "wb") as file:
            file.writelines(chunks)

    def hard_link(self, parts: Parts, existing: Parts) -> None:
        """Refuse: see the module."""
        raise NotImplementedError("links are refused before a PathTree is asked for one")

    def symlink(self, parts: Parts, target: str) -> None:
        """Refuse: see the module."""
        raise NotImplementedError("links are refused before a PathTree is asked for one")
