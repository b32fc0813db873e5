"""The stamp of a file in the cache: its digests, and the state of the file that they hold for.

It is a small record beside the file, ``.name.stamp.json``. While the file has the state that the stamp
describes, its bytes need not be read again. A stamp guards against accidents, not against somebody who may
write to the cache and could write a stamp too. One that cannot be read or written only costs time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

_VERSION = 1
_SUFFIX = ".stamp.json"
_SECOND = 10**9  # nanoseconds
_TICK = 20_000_000  # nanoseconds; clocks of file systems go forward in steps of up to 16 ms
_COARSE_TICK = 2 * _SECOND  # where they store whole seconds (FAT: every other one)
_DAY = 24 * 3600.0  # seconds


class Fingerprint(NamedTuple):
    """The state of a file: whoever changes its bytes changes one of these."""

    size: int
    mtime_ns: int
    ctime_ns: int
    """When anything of the file changed last; nobody can set it back. On Windows it is 0: there the system
    calls the time of creation so."""
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> Fingerprint:
        """Return the fingerprint in what ``stat`` said."""
        ctime_ns = 0 if os.name == "nt" else found.st_ctime_ns
        return cls(found.st_size, found.st_mtime_ns, ctime_ns, found.st_ino, found.st_dev)

    def is_same(self, other: Fingerprint) -> bool:
        """Return whether nothing has changed between the two."""
        # A disk on the network has another device number on each machine and after each start, and a copy of
        # a file cannot have its ctime; so the device says something only where there is no ctime.
        return self[:4] == other[:4] and (os.name != "nt" or self.device == other.device)

    def is_settled(self, now_ns: int) -> bool:
        """Return whether a write from ``now_ns`` on is sure to change this fingerprint.

        Two writes within one tick of the file system's clock leave the same times: bytes that are read
        right after the first one may be changed by the second without a trace.
        """
        return is_past_tick(self.mtime_ns if os.name == "nt" else self.ctime_ns, now_ns)


def is_past_tick(changed_ns: int, now_ns: int) -> bool:
    """Return whether a change from ``now_ns`` on has another time than one at ``changed_ns``."""
    return changed_ns + (_TICK if changed_ns % _SECOND else _COARSE_TICK) < now_ns


@dataclass(frozen=True)
class Stamp:
    """What befit knows of a file."""

    fingerprint: Fingerprint
    digests: Mapping[str, str]
    """Hexadecimal digits by algorithm."""

    url: str | None = None
    """Where befit got it from; ``None``: befit found it in the cache."""

    validator: str | None = None
    """The entity tag, or the time of change, that the server gave."""

    downloaded: float | None = None
    """When, in seconds since 1970."""


def stamp_path(file: Path) -> Path:
    """Return where the stamp of ``file`` is, or would be."""
    return file.with_name(f".{file.name}{_SUFFIX}")


def stamped_name(name: str) -> str | None:
    """Return the name of the file whose stamp is called ``name``; ``None`` if that is no stamp's name."""
    return name[1 : -len(_SUFFIX)] or None if name.startswith(".") and name.endswith(_SUFFIX) else None


def read_stamp(file: Path) -> Stamp | None:
    """Return the stamp of ``file``, whatever state that is in now; ``None`` where none can be read."""
    path = stamp_path(file)
    try:
        with open(path, "rb") as stored:
            content = json.loads(stored.read())
        if content["version"] != _VERSION:
            return None
        return Stamp(
            Fingerprint(*map(int, content["file"])),
            {str(algorithm): str(digits) for algorithm, digits in content["digests"].items()},
            content["url"],
            content["validator"],
            content["downloaded"],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.info("%s cannot be read (%s); %s will be", path, error, file.name)
        return None


def write_stamp(
    file: Path,
    digests: Mapping[str, str],
    *,
    url: str,
    validator: str | None = None,
    written: os.stat_result | None = None,
) -> None:
    """Record what this process has just downloaded, and moved to ``file``.

    Args:
        file: The file, at its place.
        digests: The digests of what was written, in hexadecimal digits by algorithm.
        url: Where it is from, without anything secret.
        validator: The entity tag, or the time of change, that the server gave.
        written: What ``stat`` said of the file after its last byte was written and before it was moved here.
            If something else stands here now, no stamp is written.
    """
    # The times of the file are as young as can be here, and the stamp is trusted all the same: until the move
    # nobody else had the file's name, so what was written is what was hashed. A move changes only the ctime.
    try:
        found = Fingerprint.of(file.stat())
    except FileNotFoundError:
        return
    if written is not None:
        before = Fingerprint.of(written)
        if (before.size, before.mtime_ns, before.inode) != (found.size, found.mtime_ns, found.inode):
            logger.info("%s was replaced by another process while it was put in place", file)
            return
    save_stamp(file, Stamp(found, dict(digests), url, validator, time.time()))


def save_stamp(file: Path, stamp: Stamp) -> None:
    """Write the stamp of ``file``."""
    content = {
        "version": _VERSION,
        "file": stamp.fingerprint,
        "digests": dict(stamp.digests),
        "url": stamp.url,
        "validator": stamp.validator,
        "downloaded": stamp.downloaded,
    }
    path = stamp_path(file)
    try:
        # In place: half a stamp only costs time, and so a killed process leaves no temporary file of one.
        with open(path, "wb", opener=_never_through_a_link) as stored:
            stored.write(json.dumps(content).encode())
    except OSError as error:
        logger.info("cannot write %s (%s); %s is read again when its digest is wanted", path, error, file)


def _never_through_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def last_used(file: Path) -> float:
    """Return when a call asked for ``file`` last, in seconds since 1970, to the day."""
    return stamp_path(file).stat().st_mtime


def mark_used(file: Path) -> None:
    """Note that a call asked for ``file``: its stamp, if there is one, is given the time of today."""
    with contextlib.suppress(OSError):  # no stamp, or a cache that cannot be written: nothing to note
        path = stamp_path(file)
        if time.time() - os.stat(path).st_mtime > _DAY:
            os.utime(path)
