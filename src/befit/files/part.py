"""A download that is not finished: its bytes, and what a later process must know to go on with it.

It is a folder beside the target, so that one rename gives both to another process: ``content``, written in
place, and ``state.json``, which says of which URL or digest the bytes are, of which version, and which are
missing. Whoever has the folder under the mark of its own process (see ``staging``) is the only one that
writes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from befit._internal.staging import claim_download, give_away, new_download, remove, sweep
from befit.files.digest import Digest
from befit.files.origin import Version
from befit.files.plan import Interval, Plan, Segment
from befit.files.room import free_bytes

logger = logging.getLogger(__name__)

_FORMAT = 1
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_WORTH_KEEPING = 1 << 16  # bytes; fewer are sooner fetched again


class Part:
    """The bytes of one download, and how far it is."""

    def __init__(self, folder: Path, expected: Digest | None) -> None:
        self.folder = folder
        self.path = folder / "content"
        self.state = folder / "state.json"
        self.expected = expected
        self.url = ""
        """Where the bytes are from; with a digest they may be from elsewhere too."""

        self.version = Version()
        self.plan = Plan(None)
        self.is_begun = False
        """Whether ``version`` and ``plan`` are those of bytes that are there or on their way."""

        self.is_mixed = False
        """Whether the bytes may be of several files, so that a wrong digest may be right the next time."""

    @property
    def can_resume(self) -> bool:
        """Whether the bytes that are missing can be had without the others."""
        known = self.is_begun and self.version.total is not None
        return known and (self.expected is not None or self.version.is_strong)

    def begin(self, url: str, version: Version, size: int) -> Segment | None:
        """Start from nothing; return the first bytes, about ``size``, for the connection that has them.

        Raises:
            OSError: the disk has no room for the file.
        """
        self.forget()
        self.state.unlink(missing_ok=True)
        os.close(os.open(self.path, _CREATE, 0o666))  # what an earlier beginning brought makes room
        free = free_bytes(self.folder)
        if version.total is not None and version.total > free:
            raise OSError(
                errno.ENOSPC, f"{version.total:,} bytes are to come and {free:,} are free", str(self.folder)
            )
        self.url, self.version, self.plan = url, version, Plan(version.total)
        segment = self.plan.claim(size)
        if segment is not None:
            segment.reads_on = True
        self.is_begun = True  # the last: from here on other connections may take bytes
        return segment

    def forget(self) -> None:
        """Give up the bytes that are there; whoever waits for more is told so."""
        self.plan.abandon()
        self.is_begun = self.is_mixed = False

    def accept(self, version: Version) -> bool:
        """Return whether more bytes, of ``version``, may go into this file."""
        if not self.is_begun or not self.version.agrees(version, verified=self.expected is not None):
            return False
        if self.version.validator is None:
            self.version = version
        self.is_mixed |= not self.version.is_strong
        return True

    def go_on(self, url: str) -> None:
        """Prepare for a transfer from ``url``: with a digest, its bytes are as good as those of any other."""
        if not self.is_begun:
            return
        if not self.can_resume or (self.url != url and self.expected is None):
            self.forget()
            return
        if self.url != url:  # what one server calls a version, another does not know
            self.url, self.version, self.is_mixed = url, Version(self.version.total), True
        self.plan = Plan(self.version.total, self.plan.missing())

    @property
    def received(self) -> int:
        """How many bytes are there."""
        remaining = self.plan.remaining
        return self.plan.front if remaining is None else (self.plan.total or 0) - remaining

    def taken_out(self) -> Path:
        """Return the content as a temporary file, and remove all the rest.

        So whoever is killed after the file has got its name leaves nothing beside it.
        """
        path = self.folder.with_suffix(".part")
        os.rename(self.path, path)
        remove(self.folder)
        return path

    def save(self) -> None:
        """Note how far the download is, for a process that goes on after this one was killed."""
        if not self.can_resume:
            os.utime(self.folder)  # so that it does not look abandoned after a day
            return
        missing = self.plan.missing()  # before the bytes are synced, never after
        boot = _boot()
        if boot is None:
            with self.path.open("r+b") as content:
                os.fsync(content.fileno())
        state = {
            "format": _FORMAT,
            "boot": boot,
            "url": _mark(self.url),
            "digest": None if self.expected is None else str(self.expected),
            "total": self.version.total,
            "validator": self.version.validator,
            "is_strong": self.version.is_strong,
            "missing": missing,
        }
        written = self.folder / "state.json.new"
        written.write_text(json.dumps(state), encoding="utf-8")
        os.replace(written, self.state)

    def load(self, url: str) -> bool:
        """Take over what an earlier process noted; return whether that is of any use for ``url``."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            if not self._is_wanted(state, url):
                return False
            version = Version(state["total"], state["validator"], state["is_strong"])
            missing = _checked_intervals(state["missing"], state["total"], self.path)
        except FileNotFoundError:
            return False
        except _DAMAGE as error:
            logger.warning("what is left of a download of %s cannot be used (%s)", self.folder, error)
            return False
        if self.expected is None and not missing and version.total:
            missing = [(version.total - 1, version.total)]  # so that the origin is asked for its version
        self.url = url if state["url"] == _mark(url) else ""
        self.version, self.is_begun, self.is_mixed = version, True, True
        self.plan = Plan(version.total, missing)
        return True

    def is_worth_keeping(self) -> bool:
        """Whether a later call would be quicker with these bytes."""
        return self.can_resume and self.received >= _WORTH_KEEPING and self.path.exists()

    def _is_wanted(self, state: dict[str, Any], url: str) -> bool:
        if state["format"] != _FORMAT:
            return False
        if self.expected is not None:
            return bool(state["digest"] == str(self.expected))
        same_boot = state["boot"] == _boot()
        return bool(
            same_boot and state["digest"] is None and state["url"] == _mark(url) and state["is_strong"]
        )


def _mark(url: str) -> str:
    """Return what tells a URL from others and not what it says: there may be a signature in it."""
    return hashlib.sha256(url.encode()).hexdigest()


def _boot() -> str | None:
    """Return a mark of this run of the machine; ``None`` where there is none.

    What was written is there for every process until the machine stops. If it stops without warning, a file
    may be long enough and yet empty inside.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().decode().strip()
    except OSError:
        return None


@contextmanager
def part_of(target: Path, url: str, expected: Digest | None) -> Iterator[Part]:
    """Go on with a download of ``target`` that ended early, or begin one; the caller holds the lock.

    Its folder is gone at the end, or after an error left for the next call if that can go on with it.
    """
    part = _claimed(target, url, expected) or Part(new_download(target), expected)
    sweep(target)
    try:
        yield part
    except BaseException:
        if part.is_worth_keeping():
            try:
                part.save()
            except OSError as error:  # the disk is full; an older note holds as well
                logger.warning("cannot note how far the download of %s is (%s)", target, error)
            give_away(part.folder, target)
        raise
    finally:
        remove(part.folder)


def _claimed(target: Path, url: str, expected: Digest | None) -> Part | None:
    while (folder := claim_download(target)) is not None:
        part = Part(folder, expected)
        if folder.is_dir() and not folder.is_symlink() and part.load(url):
            for path in folder.iterdir():
                if path not in (part.path, part.state):  # members of an extraction that ended early too
                    remove(path)
            return part
        remove(folder)
    return None


def _checked_intervals(missing: list[list[int]], total: int, content: Path) -> list[Interval]:
    """Return the intervals; refuse any that cannot be, or that ``content`` is too short for."""
    if type(total) is not int:
        raise ValueError(f"its length is {total!r}")
    intervals = [(int(start), int(end)) for start, end in missing]
    ends = [0, *(number for interval in intervals for number in interval), total]
    if ends != sorted(ends):
        raise ValueError("the missing parts overlap")
    found = content.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("its content is no file")
    there = 0  # where the last byte that is there ends
    position = 0
    for start, end in [*intervals, (total, total)]:
        there = start if start > position else there
        position = end
    if found.st_size < there:
        raise ValueError(f"{found.st_size} bytes are there of {there}")
    return intervals
