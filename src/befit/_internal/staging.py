"""Temporary neighbours of a target: part files and staging folders, and the sweep of abandoned ones.

Each belongs to the process and call whose mark its name bears: only they write it, move it into place and
remove it. What a killed process left behind is removed by the next one that works on the same target.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(
    r"\.(?P<stem>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.(part|staging)", re.DOTALL
)
_ABANDONED_AFTER = 24 * 3600.0  # seconds, where the process cannot be asked whether it lives


@contextmanager
def part_file(target: Path) -> Iterator[Path]:
    """Create an empty file beside ``target``; remove it at the end unless it has been moved away."""
    path = target.with_name(_temporary_name(target, "part"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(path, flags, 0o666))
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """Create an empty folder beside ``target`` that only this user can enter; remove it at the end."""
    path = target.with_name(_temporary_name(target, "staging"))
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def sweep(target: Path) -> None:
    """Remove what killed processes left beside ``target``. The caller holds the lock of ``target``."""
    for entry in list(os.scandir(target.parent)):
        name = _NAME.fullmatch(entry.name)
        if name is None or name["stem"] != _stem(target):
            continue
        with contextlib.suppress(FileNotFoundError):  # its owner was faster
            if not _abandoned(name["host"], int(name["pid"]), entry.stat(follow_symlinks=False).st_mtime):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def is_temporary_name(name: str) -> bool:
    """Return whether ``name`` is one that this module could have given."""
    return _NAME.fullmatch(name) is not None


def _temporary_name(target: Path, kind: str) -> str:
    return f".{_stem(target)}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.{kind}"


def _stem(target: Path) -> str:
    return target.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")


def _host() -> str:
    """Return a mark of this machine: a process number means nothing on another one that shares the disk."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _abandoned(host: str, pid: int, modified: float) -> bool:
    if host != _host() or os.name == "nt":  # on Windows, os.kill(pid, 0) would end the process
        return time.time() - modified > _ABANDONED_AFTER
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it lives, as somebody else's
    return time.time() - modified > _ABANDONED_AFTER
