"""An archive, unpacked into an empty staging folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from befit._internal.staging import is_temporary_name
from befit.errors import ArchiveError, UnsafeArchiveError
from befit.files import tree
from befit.files.archive import Format, read_members
from befit.files.limits import Budget, Limits
from befit.files.marker import is_marker_name
from befit.files.member import Member
from befit.files.names import Catalogue, Kind, Parts, member_parts


@dataclass(frozen=True)
class Extracted:
    """What an archive brought: the folder that holds it, and its members, a folder before its content."""

    root: Path
    members: dict[Parts, Kind]


def extract(
    archive: Path,
    staging: Path,
    *,
    name: str,
    formats: tuple[Format, ...],
    limits: Limits,
    wanted: str | None,
    label: str,
) -> Extracted:
    """Unpack ``archive`` into the empty folder ``staging``.

    Args:
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
    budget = Budget(limits, archive.stat().st_size)
    try:
        members = dict(_unpack(archive, root, formats, budget))
        if wanted is None or members.get((wanted,)) == "directory":
            _check_reserved(members, name)
            return Extracted(root, members)
    except ArchiveError as error:
        raise type(error)(f"{label}: {error}") from error
    wrapped = staging / "wrapped"
    wrapped.mkdir(mode=0o755)
    root.rename(wrapped / wanted)
    inside: dict[Parts, Kind] = {(wanted, *parts): kind for parts, kind in members.items()}
    return Extracted(wrapped, {(wanted,): "directory", **inside})


def _check_reserved(members: Mapping[Parts, Kind], archive_name: str) -> None:
    for parts in members:
        if len(parts) > 1:
            continue
        name = parts[0]
        if name.casefold() == archive_name.casefold():
            raise ArchiveError(
                f"the archive holds {name!r}, which is the name of the archive file itself; "
                f"pass another fname, such as {name + '.tar.gz'!r}"
            )
        if (
            is_marker_name(name)
            or is_temporary_name(name)
            or (name.startswith(".") and name.endswith(".lock"))
        ):
            raise UnsafeArchiveError(f"member {name!r} has a name that befit uses for its own records")


def _unpack(archive: Path, root: Path, formats: tuple[Format, ...], budget: Budget) -> Catalogue:
    catalogue = Catalogue()
    hard_links: dict[Parts, Parts] = {}
    symlinks: dict[Parts, str] = {}
    with tree.open_tree(root) as folder:
        for member in read_members(archive, formats, budget):
            budget.count_member()
            parts = member_parts(member.name, budget.limits)
            _check_kind(member, parts)
            catalogue.add(parts, member.kind)
            if member.kind == "file":
                folder.write(parts, member.chunks, executable=member.executable)
            elif member.kind == "directory":
                folder.make_folder(parts)
            elif member.kind == "hard link":
                hard_links[parts] = member_parts(member.target, budget.limits)
            else:
                symlinks[parts] = member.target
        # Links come last: while files are written there is none that could lead a path elsewhere.
        _make_hard_links(folder, hard_links, catalogue)
        for parts, target in symlinks.items():
            _check_symlink(parts, symlinks, catalogue)
            folder.symlink(parts, target)
    return catalogue


def _check_kind(member: Member, parts: Parts) -> None:
    if not parts and member.kind != "directory":
        raise UnsafeArchiveError(f"a {member.kind} without a name ({member.name!r})")
    if member.kind in ("symlink", "hard link") and not tree.HAS_DESCRIPTORS:
        raise UnsafeArchiveError(
            f"member {member.name!r} is a {member.kind}, which is not extracted on this system"
        )


def _make_hard_links(folder: tree.Tree, links: dict[Parts, Parts], catalogue: Catalogue) -> None:
    made: set[Parts] = set()
    for parts, existing in links.items():
        if catalogue.kind(existing) != "file" and existing not in made:
            raise UnsafeArchiveError(
                f"member {'/'.join(parts)!r} is a hard link to {'/'.join(existing)!r}, which is no file "
                f"of the archive before it"
            )
        folder.hard_link(parts, existing)
        made.add(parts)


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
