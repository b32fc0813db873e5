"""What befit keeps in a cache: found by its stamps, compared with them, and removed when nobody wants it.

Only what befit wrote, and nobody has changed since, is ever removed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from befit._internal.staging import abandoned_in, staging_folder
from befit.files.digest import Digest, FileDigests
from befit.files.lock import exclusive, lock_path
from befit.files.marker import SUFFIX, Record, manifest_path, read_marker, read_members
from befit.files.names import Parts
from befit.files.stamp import Fingerprint, Stamp, last_used, read_stamp, stamp_path, stamped_name


@dataclass(frozen=True)
class CachedFile:
    """A file with a stamp."""

    path: Path
    size: int
    """In bytes."""

    extracted_size: int
    """What was extracted from it, in bytes."""

    used: float
    """When a call asked for it last, in seconds since 1970, to the day."""

    stamp: Stamp
    markers: tuple[Path, ...]
    """The records of what was extracted from it."""

    @property
    def total_size(self) -> int:
        """The file and what was extracted from it, in bytes."""
        return self.size + self.extracted_size


@dataclass(frozen=True)
class Checked:
    """A file that was read and compared with its stamp."""

    path: Path
    recorded: Digest
    found: Digest | OSError
    """What it has now, or why it cannot be read."""

    @property
    def is_damaged(self) -> bool:
        """Whether it is not what it was when befit recorded it."""
        return self.found != self.recorded


@dataclass
class Pruned:
    """What was removed, or would be."""

    paths: list[Path] = field(default_factory=list)
    """Files and abandoned temporary files; what was extracted, and records, go with their file."""

    size: int = 0
    """All of it together, in bytes."""


def cached_files(root: Path) -> list[CachedFile]:
    """Return every file with a stamp below ``root``, by path."""
    found = []
    for folder, names in _folders(root):
        markers: dict[str, list[Path]] = {}
        for name in names:
            marker = read_marker(folder / name) if name.endswith(SUFFIX) else None
            if marker is not None:
                markers.setdefault(marker.archive, []).append(folder / name)
        for name in filter(None, map(stamped_name, names)):
            with contextlib.suppress(FileNotFoundError):  # it vanished while we looked
                file = _cached_file(folder / name, tuple(markers.get(name, ())))
                found += [] if file is None else [file]
    return sorted(found, key=lambda file: file.path)


def check(files: list[CachedFile]) -> Iterator[Checked]:
    """Read each of ``files`` and compare it with its stamp."""
    for file in files:
        recorded = Digest(*next(iter(file.stamp.digests.items())))
        try:
            yield Checked(
                file.path, recorded, FileDigests(trust_stamps=False).of(file.path, recorded.algorithm)
            )
        except OSError as error:
            yield Checked(file.path, recorded, error)


def prune(
    root: Path, *, older_than: float | None = None, max_size: int | None = None, dry_run: bool = False
) -> Pruned:
    """Remove abandoned temporary files below ``root``, and the files that the conditions name.

    Args:
        root: The folder.
        older_than: Remove what no call has asked for in so many seconds.
        max_size: Remove what was used least recently, until what befit downloaded has at most so many bytes.
        dry_run: Remove nothing, only say what would be.
    """
    pruned = Pruned()
    for folder, names in _folders(root):
        _remove_abandoned(folder, names, pruned, dry_run)
    if older_than is None and max_size is None:
        return pruned
    ours = (file for file in cached_files(root) if file.stamp.downloaded is not None)
    files = sorted(ours, key=lambda file: file.used)
    size = sum(file.total_size for file in files)
    for file in files:
        is_old = older_than is not None and file.used < time.time() - older_than
        if not is_old and (max_size is None or size <= max_size):
            continue
        with exclusive(lock_path(file.path)):
            if _is_unchanged(file):
                before = pruned.size
                _remove_file(file, pruned, dry_run)
                size -= pruned.size - before
    return pruned


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    for folder, _, names in os.walk(root):
        yield Path(folder), sorted(names)


def _cached_file(path: Path, markers: tuple[Path, ...]) -> CachedFile | None:
    stamp = read_stamp(path)
    found = path.lstat()
    if stamp is None or not stamp.digests or not stat.S_ISREG(found.st_mode):
        return None
    extracted = sum(record.size for marker in markers for record in _members(marker).values())
    return CachedFile(path, found.st_size, extracted, last_used(path), stamp, markers)


def _is_unchanged(file: CachedFile) -> bool:
    """Return whether the file is still what befit downloaded, and no call asked for it meanwhile."""
    try:
        if last_used(file.path) != file.used:
            return False
        if Fingerprint.of(file.path.lstat()).is_same(file.stamp.fingerprint):
            return True
        (checked,) = check([file])  # touched, or copied with its cache
    except FileNotFoundError:
        return False
    return not checked.is_damaged


def _remove_file(file: CachedFile, pruned: Pruned, dry_run: bool) -> None:
    """Remove a file with all that belongs to it.

    The file goes after its members, and its stamp after it: whatever is left by a process that is killed in
    between, the next call repairs or the next prune removes.
    """
    for marker in file.markers:
        # The records stay while there are edits: by them the next extraction knows that these are edits.
        if _remove_members(marker, pruned, dry_run):
            for record in (marker, manifest_path(marker)):
                _remove(record, pruned, dry_run)
    pruned.paths.append(file.path)
    _remove(file.path, pruned, dry_run)
    _remove(stamp_path(file.path), pruned, dry_run)


def _remove_members(marker: Path, pruned: Pruned, dry_run: bool) -> bool:
    """Remove the members that are as they were put in place; return whether none is left."""
    folders: list[Path] = []
    passed: set[Parts] = {()}  # folders that are real ones, so that no link is followed
    all_gone = True
    for parts, record in _members(marker).items():
        path = marker.parent.joinpath(*parts)
        if parts[:-1] not in passed:
            continue
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if record.kind == "directory":
            if stat.S_ISDIR(found.st_mode):
                folders.append(path)
                passed.add(parts)
        elif record[1:] == (found.st_size, found.st_mtime_ns):
            _remove(path, pruned, dry_run)
        else:
            all_gone = False
    for folder in [] if dry_run else reversed(folders):
        with contextlib.suppress(OSError):  # it holds something that is not ours
            folder.rmdir()
    return all_gone


def _remove_abandoned(folder: Path, names: list[str], pruned: Pruned, dry_run: bool) -> None:
    abandoned = abandoned_in(folder)
    pruned.paths += abandoned
    for path in abandoned:
        content = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
        pruned.size += sum(part.lstat().st_size for part in content if not part.is_dir())
    if abandoned and not dry_run:
        # A process may claim one of them just now: a rename decides who has it.
        with staging_folder(folder / "prune") as taken:
            for path in abandoned:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path, taken / path.name)
    for name in names:
        file = stamped_name(name)
        if file is not None and not os.path.lexists(folder / file):
            _remove(folder / name, pruned, dry_run)


def _members(marker: Path) -> dict[Parts, Record]:
    found = read_marker(marker)
    return {} if found is None else read_members(marker, found) or {}


def _remove(path: Path, pruned: Pruned, dry_run: bool) -> None:
    with contextlib.suppress(FileNotFoundError):
        size = path.lstat().st_size
        if not dry_run:
            path.unlink()
        pruned.size += size
