"""The record of an extraction: which archive, and which members were put in place.

It makes the next call cheap, and it is how befit knows its own files: only what a record lists, unchanged
since, is ever overwritten. There are two files, so that a call that finds everything in place reads little:

- the *marker*, ``.name.extracted.json``: the digests of the archive, and when something was last put into or
  taken out of each folder of the extraction. One look at each folder shows whether a member is missing;
- the *manifest*, ``.name.members.json``: every member. It is read where a folder has changed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple

from befit._internal.staging import part_file
from befit.files.digest import FileDigests, digests_of
from befit.files.names import Kind, Parts
from befit.files.stamp import is_past_tick, stamped_name

logger = logging.getLogger(__name__)

_VERSION = 2
SUFFIX = ".extracted.json"
_MANIFEST_SUFFIX = ".members.json"
_FOLDERS_TELL = os.name != "nt"  # on Windows, not every file system notes when a folder changes


class Record(NamedTuple):
    """One member as it was put in place."""

    kind: Kind
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | Path, kind: Kind) -> Record:
        """Return the record of what is at ``path`` now."""
        if kind == "directory":
            return FOLDER
        found = os.lstat(path)
        return cls(kind, found.st_size, found.st_mtime_ns)


FOLDER = Record("directory", 0, 0)
"""Every folder: its time and size change with what lies in it."""

Members = Mapping[Parts, Record]
"""Members by their path below the folder of the marker, a folder before its content."""


@dataclass(frozen=True)
class Marker:
    """An archive, and the state of the folders that its members lie in."""

    finished: bool
    """False while another archive's extraction is under way, so that a killed one is not taken for done."""

    archive: str
    """The name of the archive, in the same folder."""

    digests: Mapping[str, str]
    """Of the archive: hexadecimal digits by algorithm."""

    folders: Mapping[str, int]
    """When each folder of the extraction changed last, in nanoseconds; its path below the marker's folder."""

    has_loose_members: bool
    """Whether members lie beside the marker that are no folders."""

    is_busy: bool
    """Whether members are being put in place, those of the same archive too: a killed call is to be cleaned
    up after."""

    manifest: str
    """The mark of the manifest that belongs to this marker; empty if it is of version 1, and holds that."""

    def is_of(self, archive: Path, digests: Mapping[str, str]) -> bool:
        """Return whether ``archive`` was extracted; ``digests`` are those of it that are known."""
        common = self.digests.keys() & digests.keys()
        if not common:
            algorithm = next(iter(self.digests))
            return digests_of(archive, {algorithm})[algorithm].hexdigest == self.digests[algorithm]
        return all(self.digests[algorithm] == digests[algorithm] for algorithm in common)

    def is_extracted(self, archive: Path, digests: FileDigests) -> bool:
        """Return whether the extraction was finished, and was one of ``archive`` as it is now."""
        if not self.finished or self.is_busy:
            return False
        digest = digests.one_of(archive, self.digests.keys())
        return self.digests[digest.algorithm] == digest.hexdigest


def read_marker(path: Path) -> Marker | None:
    """Return the marker at ``path``; ``None`` where there is none that can be read."""
    try:
        content = _load(path)
        if content["version"] == 1:
            return Marker(
                bool(content["finished"]), "", {"sha256": content["archive"]["sha256"]}, {}, True, False, ""
            )
        if content["version"] != _VERSION or not content["digests"] or not content["manifest"]:
            return None
        return Marker(
            bool(content["finished"]),
            content["archive"],
            dict(content["digests"]),
            dict(content["folders"]),
            bool(content["has_loose_members"]),
            bool(content["is_busy"]),
            content["manifest"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is not a record of an extraction (%s); extracting again", path, error)
        return None


def read_members(path: Path, marker: Marker) -> dict[Parts, Record] | None:
    """Return the members of ``marker``, which is at ``path``; ``None`` where there is no list of them."""
    try:
        content = _load(manifest_path(path) if marker.manifest else path)
        if marker.manifest and content["marker"] != marker.manifest:
            return None  # of another extraction, which was killed before it wrote its marker
        return {_parts(name): Record(*record) for name, record in content["members"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is not a list of members (%s); extracting again", manifest_path(path), error)
        return None


def write_marker(
    path: Path, archive: str, digests: Mapping[str, str], members: Members, *, finished: bool = True
) -> None:
    """Record an extraction whose members have all been put in their place.

    Args:
        path: Where the marker belongs; the members lie in its folder.
        archive: The name of the archive.
        digests: Those of its digests that are known.
        members: What was put in place, or was there and is kept.
        finished: Whether a later call may take it for done.
    """
    _write(path, _new_marker(archive, digests, _folder_times(path.parent, members) or {}, finished), members)


def mark_busy(path: Path, marker: Marker, members: Members, *, finished: bool) -> None:
    """Record that members of the marker at ``path`` are about to be replaced.

    Args:
        path: Where the marker is.
        marker: What it says.
        members: Its members.
        finished: Whether that is by members of the same archive, so that others may be the user's edits.
    """
    if marker.manifest:
        _save(path, {"version": _VERSION, **vars(replace(marker, finished=finished, is_busy=True))}, path)
    else:
        write_marker(path, marker.archive, marker.digests, members, finished=False)


def is_complete(path: Path, marker: Marker) -> bool:
    """Return whether every member of the marker at ``path`` is still there, edited or not."""
    if _is_untouched(path, marker):
        return True
    started = time_ns()
    members = read_members(path, marker)
    # The folders come first: what vanishes after a member was seen makes the folder differ the next time.
    folders = None if members is None else _folder_times(path.parent, members)
    if members is None or folders is None or not _are_there(path.parent, members):
        return False
    # A folder that changed just now may change again without a trace, as in ``Fingerprint.is_settled``.
    if all(is_past_tick(changed, started) for changed in folders.values()):
        _refresh(path, marker, folders, members)
    return True


def _is_untouched(path: Path, marker: Marker) -> bool:
    """Return whether no folder has changed since the marker was written; if one has, the manifest tells."""
    if not _FOLDERS_TELL or not marker.manifest:
        return False
    above = os.open(path.parent, os.O_RDONLY)  # shorter paths are looked up sooner
    try:
        # The folder that holds the marker changes when the marker is written, so its time cannot stand in
        # there; the marker's own time is set to it.
        if marker.has_loose_members and os.stat(above).st_mtime_ns != os.stat(path).st_mtime_ns:
            return False
        for name, changed in marker.folders.items():
            if os.stat(name, dir_fd=above, follow_symlinks=False).st_mtime_ns != changed:
                return False
    except (FileNotFoundError, NotADirectoryError):
        return False
    finally:
        os.close(above)
    return True


def _refresh(path: Path, marker: Marker, folders: dict[str, int], members: Members) -> None:
    """Note the folders as they are now, with every member in its place, so that the next call looks less."""
    # No lock: what is written holds for this archive and this state only. A folder that cannot be written
    # stays as it is.
    with contextlib.suppress(OSError):
        if read_marker(path) != marker:
            return
        if marker.manifest:
            _write_head(path, replace(marker, folders=folders), members)
        else:
            _write(path, _new_marker(marker.archive, marker.digests, folders, finished=True), members)


def _new_marker(archive: str, digests: Mapping[str, str], folders: dict[str, int], finished: bool) -> Marker:
    return Marker(finished, archive, dict(digests), folders, False, False, secrets.token_hex(8))


def _write(path: Path, marker: Marker, members: Members) -> None:
    listed = {"/".join(parts): record for parts, record in members.items()}
    _save(manifest_path(path), {"version": _VERSION, "marker": marker.manifest, "members": listed}, path)
    _write_head(path, marker, members)


def _write_head(path: Path, marker: Marker, members: Members) -> None:
    loose = [parts for parts, record in members.items() if len(parts) == 1 and record.kind != "directory"]
    _save(path, {"version": _VERSION, **vars(replace(marker, has_loose_members=bool(loose)))}, path)
    if loose:
        changed = path.parent.stat().st_mtime_ns
        if _are_there(path.parent, loose):
            os.utime(path, ns=(changed, changed))


def _folder_times(folder: Path, members: Members) -> dict[str, int] | None:
    """Return when each folder of the extraction changed last; ``None`` if one is missing."""
    times = {}
    for parts, record in members.items():
        if record.kind != "directory":
            continue
        name = "/".join(parts)
        try:
            found = os.lstat(f"{folder}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISDIR(found.st_mode):
            return None
        times[name] = found.st_mtime_ns
    return times


def _are_there(folder: Path, members: Iterable[Parts]) -> bool:
    return all(os.path.lexists(f"{folder}/{'/'.join(parts)}") for parts in members)


def _parts(name: str) -> Parts:
    if any(bad in f"/{name}/" for bad in ("//", "/./", "/../")):
        raise ValueError(f"{name!r} is not below the folder")
    return tuple(name.split("/"))


def _load(path: Path) -> Any:
    with open(path, "rb") as file:
        return json.loads(file.read())


def _save(path: Path, content: dict[str, Any], marker: Path) -> None:
    with part_file(marker) as part:  # by this name, what a killed process leaves is swept with the marker's
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, path)


def manifest_path(path: Path) -> Path:
    """Return where the manifest that belongs to the marker at ``path`` is."""
    return path.with_name(path.name.removesuffix(SUFFIX) + _MANIFEST_SUFFIX)


def is_marker_name(name: str) -> bool:
    """Return whether ``name`` is one that a record of befit could have: a marker, a manifest or a stamp."""
    records = name.endswith((SUFFIX, _MANIFEST_SUFFIX)) or stamped_name(name) is not None
    return name.startswith(".") and records
