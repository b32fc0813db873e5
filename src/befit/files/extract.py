"""An archive, unpacked into an empty staging folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from befit._internal.staging import is_temporary_name
from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files import tree
from befit.files.archive import Format, read_members
from befit.files.limits import Budget, Limits
from befit.files.marker import FOLDER, Record, is_marker_name
from befit.files.member import Member
from befit.files.names import Catalogue, Parts, member_parts
from befit.files.room import free_bytes


@dataclass(frozen=True)
class Extracted:
    """What an archive brought: the folder that holds it, and its members, a folder before its content."""

    root: Path
    members: dict[Parts, Record]


def extract(
    archive: BinaryIO,
    arrived: Callable[[int], int],
    staging: Path,
    *,
    name: str,
    formats: tuple[Format, ...],
    limits: Limits,
    wanted: str | None,
    label: str,
) -> Extracted:
    """Unpack ``archive`` into the empty folder ``staging``.

    The file may still be growing while it is read: a tar archive is read forward only. What reading it raises
    passes as it is.

    Of modes only "executable" is kept: a file is never setuid or writable by everybody. The time of the last
    change is kept as well, for files.

    Args:
        archive: a file at its start.
        arrived: how many of its bytes are there, waiting for so many; see ``Budget``.
        name: the archive's own name in the folder that the members will be moved to.
        wanted: the folder that must be at the top. Where the archive does not have it, all its members
            are put into one of that name.
        label: names the archive in errors.

    Raises:
        ArchiveError: not an archive of these formats, a damaged one, or one with more than the limits allow.
        UnsafeArchiveError: a member that would land outside its folder, or that is refused for another
            reason.
    """
    root = staging / "members"
    root.mkdir(mode=0o755)
    budget = Budget(limits, arrived, free_bytes(root))
    try:
        members = _unpack(archive, root, formats, budget)
        if wanted is None or members.get((wanted,)) == FOLDER:
            _check_reserved(members, name)
            return Extracted(root, members)
    except ArchiveError as error:
        raise type(error)(f"{label}: {error}") from error
    wrapped = staging / "wrapped"
    wrapped.mkdir(mode=0o755)
    root.rename(wrapped / wanted)
    inside = {(wanted, *parts): record for parts, record in members.items()}
    return Extracted(wrapped, {(wanted,): FOLDER, **inside})


def _check_reserved(members: Mapping[Parts, Record], archive_name: str) -> None:
    for parts in members:
        if len(parts) > 1:
            continue
        name = parts[0]
        if name.casefold() == archive_name.casefold():
            raise ArchiveError(
                f"the archive holds {name!r}, which is the name of the archive file itself; "
                f"pass another fname, such as {name + '.tar.gz'!r}"
            )
        folded = name.casefold()
        is_lock = folded.startswith(".") and folded.endswith(".lock")
        if is_lock or is_marker_name(folded) or is_temporary_name(folded):
            raise UnsafeArchiveError(f"member {name!r} has a name that befit uses for its own records")


def _unpack(
    archive: BinaryIO, root: Path, formats: tuple[Format, ...], budget: Budget
) -> dict[Parts, Record]:
    catalogue = Catalogue()
    records: dict[Parts, Record] = {}
    hard_links: dict[Parts, Parts] = {}
    symlinks: dict[Parts, str] = {}
    with tree.open_tree(root) as folder:
        for member in read_members(archive, formats, budget):
            parts = member_parts(member.name, budget.limits)
            _check_kind(member, parts)
            catalogue.add(parts, member.kind)
            budget.count(len(catalogue))
            if member.kind == "file":
                found = folder.write(
                    parts, member.chunks, executable=member.executable, mtime_ns=member.mtime_ns
                )
                records[parts] = Record("file", found.st_size, found.st_mtime_ns)
            elif member.kind == "directory":
                folder.make_folder(parts)
            elif member.kind == "hard link":
                hard_links[parts] = member_parts(member.target, budget.limits)
            else:
                symlinks[parts] = member.target
        # Links come last: while files are written there is none that could lead a path elsewhere.
        _make_hard_links(folder, hard_links, catalogue, records)
        for parts, target in symlinks.items():
            _check_symlink(parts, symlinks, catalogue)
            found = folder.symlink(parts, target)
            records[parts] = Record("symlink", found.st_size, found.st_mtime_ns)
    return {parts: records.get(parts, FOLDER) for parts, _ in catalogue}


def _check_kind(member: Member, parts: Parts) -> None:
    if not parts and member.kind != "directory":
        raise UnsafeArchiveError(f"a {member.kind} without a name ({member.name!r})")
    if member.kind in ("symlink", "hard link") and not tree.HAS_DESCRIPTORS:
        raise UnsafeArchiveError(
            f"member {member.name!r} is a {member.kind}, which is not extracted on this system"
        )


def _make_hard_links(
    folder: tree.Tree, links: dict[Parts, Parts], catalogue: Catalogue, records: dict[Parts, Record]
) -> None:
    for parts, existing in links.items():
        if catalogue.kind(existing) != "file" and existing not in records:
            raise UnsafeArchiveError(
                f"member {'/'.join(parts)!r} is a hard link to {'/'.join(existing)!r}, which is no file "
                f"of the archive before it"
            )
        folder.hard_link(parts, existing)
        records[parts] = records[existing]._replace(kind="hard link")


def _check_symlink(parts: Parts, links: dict[Parts, str], catalogue: Catalogue) -> None:
    """Refuse a symbolic link unless it leads, without leaving the archive, to a member that is no link."""
    seen = {parts}
    place = parts
    while place in links:
        place = _destination(place, links[place], catalogue)
        if place in seen:
            raise UnsafeArchiveError(f"member {'/'.join(parts)!r} is a symlink that leads to itself")
        seen.add(place)


def _destination(link: Parts, target: str, catalogue: Catalogue) -> Parts:
    """Return the member that a symbolic link names, going through plain folders of the archive only."""
    described = f"member {'/'.join(link)!r} is a symlink to {target!r}"
    if target.startswith("/") or "\\" in target or "\0" in target or target[1:2] == ":":
        raise UnsafeArchiveError(f"{described}, which is not a relative path")
    place = link[:-1]
    for step in target.split("/"):
        if step in ("", "."):
            continue
        if catalogue.kind(place) != "directory":
            raise UnsafeArchiveError(f"{described}, which goes through something that is no folder")
        if step == ".." and not place:
            raise UnsafeArchiveError(f"{described}, which leaves the folder")
        place = place[:-1] if step == ".." else (*place, step)
    if not place or catalogue.kind(place) is None:
        raise UnsafeArchiveError(f"{described}, which is no member of the archive")
    return place
