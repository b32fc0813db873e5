"""The record of an extraction: which archive, and which members were put in place.

It makes the next call cheap, and it is how befit knows its own files: only what a marker lists, unchanged
since, is ever overwritten.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path

from befit._internal.staging import part_file
from befit.files.digest import FileDigests
from befit.files.names import Kind, Parts

logger = logging.getLogger(__name__)

_VERSION = 1
_SUFFIX = ".extracted.json"


@dataclass(frozen=True)
class Record:
    """One member as it was put in place."""

    kind: Kind
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, kind: Kind) -> Record:
        """Return the record of what is at ``path`` now."""
        found = path.lstat()
        # Time and size of a folder change with what lies in it.
        return cls(kind, 0, 0) if kind == "directory" else cls(kind, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Marker:
    """An archive and its members, by their path below the folder of the marker."""

    finished: bool
    """False while another extraction is under way, so that a killed one is not taken for done."""

    archive_sha256: str
    archive_size: int
    archive_mtime_ns: int
    members: dict[Parts, Record]

    def matched(self, archive: Path, digests: FileDigests) -> Marker | None:
        """Return this marker, with the time that ``archive`` has now, if it was extracted to the end.

        ``None``: it was not, or that was another archive.
        """
        found = archive.stat()
        if not self.finished or found.st_size != self.archive_size:
            return None
        if found.st_mtime_ns == self.archive_mtime_ns:
            return self
        if digests.of(archive, "sha256").hexdigest != self.archive_sha256:
            return None
        return replace(self, archive_mtime_ns=found.st_mtime_ns)

    def is_complete(self, folder: Path) -> bool:
        """Return whether every member is still there, edited or not."""
        return all(os.path.lexists(folder.joinpath(*parts)) for parts in self.members)


def read_marker(path: Path) -> Marker | None:
    """Return the marker at ``path``; ``None`` where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            return None
        members = {tuple(name.split("/")): Record(*record) for name, record in content["members"].items()}
        archive = content["archive"]
        return Marker(content["finished"], archive["sha256"], archive["size"], archive["mtime_ns"], members)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is not a record of an extraction (%s); extracting again", path, error)
        return None


def write_marker(path: Path, marker: Marker) -> None:
    """Write ``marker``, whole or not at all."""
    content = {
        "version": _VERSION,
        "finished": marker.finished,
        "archive": {
            "sha256": marker.archive_sha256,
            "size": marker.archive_size,
            "mtime_ns": marker.archive_mtime_ns,
        },
        "members": {
            "/".join(parts): [record.kind, record.size, record.mtime_ns]
            for parts, record in marker.members.items()
        },
    }
    with part_file(path) as part:
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, path)


def is_marker_name(name: str) -> bool:
    """Return whether ``name`` is one that a marker could have."""
    return name.startswith(".") and name.endswith(_SUFFIX)
