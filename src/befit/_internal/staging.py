"""Temporary neighbours of a target: part files and staging folders, and the sweep of abandoned ones.

Each belongs to the process and call whose mark its name bears: only they write it, move it into place and
remove it. What a killed process left behind is removed by the next one that works on the same target; a
download may be claimed instead, and gone on with.
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
    r"\.(?P<stem>.+)\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.(?P<kind>part|staging|download)",
    re.DOTALL,
)
_NOBODY = 0  # in place of a process: whoever comes may have it
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
    for path in _abandoned_beside(target):
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or folder of this module; one that is gone already is no error."""
    with contextlib.suppress(FileNotFoundError):  # its owner was faster
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def new_download(target: Path) -> Path:
    """Create an empty folder beside ``target`` for a download, which the caller removes or gives away."""
    path = target.with_name(_temporary_name(target, "download"))
    path.mkdir(mode=0o700)
    return path


def claim_download(target: Path) -> Path | None:
    """Make a download that its process left the caller's own; ``None`` where there is none.

    Two processes never both get one: that is decided by a rename.
    """
    for path in _abandoned_beside(target, "download"):
        claimed = target.with_name(_temporary_name(target, "download"))
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            os.rename(path, claimed)
            return claimed
    return None


def give_away(download: Path, target: Path) -> None:
    """Leave a download to whoever claims it next."""
    os.rename(download, target.with_name(_temporary_name(target, "download", _NOBODY)))


def abandoned_in(folder: Path) -> list[Path]:
    """Return what processes that are gone left in ``folder``, for any target."""
    return list(_abandoned(folder))


def is_temporary_name(name: str) -> bool:
    """Return whether ``name`` is one that this module could have given."""
    return _NAME.fullmatch(name) is not None


def _temporary_name(target: Path, kind: str, process: int | None = None) -> str:
    owner = os.getpid() if process is None else process
    return f".{_stem(target)}.{_host()}-{owner}-{secrets.token_hex(4)}.{kind}"


def _stem(target: Path) -> str:
    return target.name.encode(errors="surrogateescape")[:100].decode(errors="ignore")


def _host() -> str:
    """Return a mark of this machine: a process number means nothing on another one that shares the disk."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _abandoned_beside(target: Path, kind: str | None = None) -> Iterator[Path]:
    for path in _abandoned(target.parent):
        name = _NAME.fullmatch(path.name)
        if name is not None and name["stem"] == _stem(target) and kind in (None, name["kind"]):
            yield path


def _abandoned(folder: Path) -> Iterator[Path]:
    for entry in list(os.scandir(folder)):
        name = _NAME.fullmatch(entry.name)
        if name is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            if os.name != "nt" and found.st_uid != os.getuid():
                continue  # in a folder that users share
            if _is_abandoned(name["host"], int(name["pid"]), found.st_mtime):
                yield Path(entry.path)


def _is_abandoned(host: str, pid: int, modified: float) -> bool:
    if pid == _NOBODY:
        return True
    if host != _host() or os.name == "nt":  # on Windows, os.kill(pid, 0) would end the process
        return time.time() - modified > _ABANDONED_AFTER
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # it lives, as somebody else's
    return time.time() - modified > _ABANDONED_AFTER
