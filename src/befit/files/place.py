"""A staged extraction, moved to its place beside what is there already.

befit overwrites only files that it wrote itself and that nobody has changed since (or, where the caller
forces it, that somebody has). ``decide`` looks at everything and refuses; only after it does ``move`` change
anything, by one rename for each file or new folder.
"""

from __future__ import annotations

import errno
import filecmp
import os
import stat
from collections.abc import Mapping, Set
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, TypeAlias

from befit.errors import ArchiveError
from befit.files import tree
from befit.files.extract import Extracted
from befit.files.marker import Record
from befit.files.names import Kind, Parts

Decision: TypeAlias = Literal["move", "keep", "conflict"]

_SHOWN = 5


def decide(
    staged: Extracted,
    folder: Path,
    *,
    archive: Path,
    known: Mapping[Parts, Record],
    same_archive: bool,
    force: bool,
) -> set[Parts]:
    """Return the members of ``staged`` that stay as they are in ``folder``; all others may be moved there.

    Args:
        archive: the archive itself, which lies in ``folder`` too.
        known: what the last extraction put in place.
        same_archive: whether that came from the same archive; then every difference is an edit by the user.
        force: whether such edits are overwritten.

    Raises:
        ArchiveError: files that befit did not write stand where members belong.
    """
    kept: set[Parts] = set()
    conflicts: list[Parts] = []
    absent: set[Parts] = set()  # folders that are not there; nothing of what lies in them can be
    for parts, staged_record in staged.members.items():
        kind = staged_record.kind
        if parts[:-1] in absent:
            if kind == "directory":
                absent.add(parts)
            continue
        name = "/".join(parts)
        target = f"{folder}/{name}"
        try:
            found = os.lstat(target)
        except (FileNotFoundError, NotADirectoryError):  # below a file in a folder's place: that conflicts
            if kind == "directory":
                absent.add(parts)
            continue
        source = f"{staged.root}/{name}"
        decision = _decision(source, target, found, kind, known.get(parts), same_archive, force)
        if decision == "keep":
            kept.add(parts)
        elif decision == "conflict":
            conflicts.append(parts)
    if conflicts:
        shown = ", ".join(str(folder.joinpath(*parts)) for parts in conflicts[:_SHOWN])
        more = f" and {len(conflicts) - _SHOWN} more" if len(conflicts) > _SHOWN else ""
        raise ArchiveError(
            f"{archive.name} has members that would replace what was not extracted from it, or was changed "
            f"since: {shown}{more}; nothing was replaced: move these away, or extract elsewhere with another "
            f"cache_subdir"
        )
    return kept


def move(
    staged: Extracted, folder: Path, *, kept: Set[Parts], known: Mapping[Parts, Record]
) -> dict[Parts, Record]:
    """Move the members of ``staged`` into ``folder``, except ``kept``, and return what is in place now."""
    members = dict(staged.members)  # a move changes nothing of them
    for parts in kept:
        members[parts] = known.get(parts) or Record.of(folder.joinpath(*parts), members[parts].kind)
    _merge(staged.root, folder, kept)
    return members


def _decision(
    source: str,
    target: str,
    found: os.stat_result,
    kind: Kind,
    record: Record | None,
    same_archive: bool,
    force: bool,
) -> Decision:
    """Decide on a member that is ``found`` at its ``target`` already."""
    if kind == "directory":
        return "move" if stat.S_ISDIR(found.st_mode) else "conflict"
    if stat.S_ISDIR(found.st_mode):
        return "conflict"
    if record is not None and (found.st_size, found.st_mtime_ns) == (record.size, record.mtime_ns):
        return "keep" if same_archive else "move"
    if record is not None and force:
        return "move"
    if (record is not None and same_archive) or _same_content(source, target, found.st_mode):
        return "keep"
    return "conflict"


def _same_content(source: str, target: str, target_mode: int) -> bool:
    is_link = os.path.islink(source)
    if is_link or stat.S_ISLNK(target_mode):
        return is_link and stat.S_ISLNK(target_mode) and os.readlink(source) == os.readlink(target)
    return stat.S_ISREG(target_mode) and filecmp.cmp(source, target, shallow=False)


def _merge(source: Path, target: Path, kept: Set[Parts]) -> None:
    """Move everything but ``kept`` from one folder to another; folders that exist are entered."""
    if not tree.HAS_DESCRIPTORS:
        _merge_paths(source, target, (), kept)
        return
    with ExitStack() as opened:
        from_folder = _closed_by(opened, tree.open_folder(str(source)))
        to_folder = _closed_by(opened, os.open(target, os.O_RDONLY))
        _merge_descriptors(from_folder, to_folder, (), kept)


def _merge_descriptors(source: int, target: int, above: Parts, kept: Set[Parts]) -> None:
    with os.scandir(source) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        parts = (*above, name)
        if parts in kept:
            continue
        try:
            os.replace(name, name, src_dir_fd=source, dst_dir_fd=target)
        except OSError as error:
            if not is_folder or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with ExitStack() as opened:
                from_folder = _closed_by(opened, tree.open_folder(name, source))
                to_folder = _closed_by(opened, tree.open_folder(name, target))
                _merge_descriptors(from_folder, to_folder, parts, kept)


def _closed_by(stack: ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _merge_paths(source: Path, target: Path, above: Parts, kept: Set[Parts]) -> None:
    for entry in list(source.iterdir()):
        parts = (*above, entry.name)
        if parts in kept:
            continue
        place_of_entry = target / entry.name
        if entry.is_dir() and place_of_entry.is_dir():
            _merge_paths(entry, place_of_entry, parts, kept)
        else:
            os.replace(entry, place_of_entry)
