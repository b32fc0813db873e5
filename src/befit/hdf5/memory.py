"""How much memory is free to this process, and which folders lie on a disk and not in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from befit._internal import settings

_UNKNOWN = 4 << 30  # bytes; what is taken to be free where the system does not say
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs", "rootfs", "hugetlbfs"}
_FAR_AWAY = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "glusterfs"),
    *("pvfs2", "orangefs", "ncpfs", "gfs", "gfs2", "ocfs2", "wekafs", "panfs"),
}


def _system_folders() -> list[str]:
    try:
        return [tempfile.gettempdir(), "/var/tmp"]
    except FileNotFoundError:  # none can be written to
        return []


# Asked for now: ``tempfile`` holds a lock the first time, and a fork in that moment would leave it taken.
_SYSTEM_FOLDERS = _system_folders()


def free_memory() -> int:
    """Return the bytes that this process can still use without swapping; its cgroup's limit is respected."""
    return max(0, min([_free_in_machine(), *_free_in_cgroups()]))


def _free_in_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass  # not Linux
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN


def _free_in_cgroups() -> Iterator[int]:
    """Yield what each cgroup above this process leaves, of version 1 or 2; page cache counts as free."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, limit, usage, cache = "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
            usage, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        folder = Path(root, path.lstrip("/"))
        for place in [folder, *folder.parents]:  # in a container the path may not exist below the root
            if place == Path(root).parent:
                break
            try:
                allowed = int((place / limit).read_text())  # "max": no limit
                used = int((place / usage).read_text())
                statistics = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                yield allowed - used + int(statistics.get(cache, 0))
            except (OSError, ValueError):
                continue


def scratch_folder(nbytes: int) -> str | None:
    """Return a folder for a temporary file of ``nbytes``; ``None``: no disk has twice that free.

    ``BEFIT_SCRATCH`` names one; else it is the system's, or ``/var/tmp`` where that one is in memory.
    """
    named = settings.scratch_folder()
    for folder in [named] if named else _SYSTEM_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK) and file_system(folder) not in _IN_MEMORY:
            try:
                status = os.statvfs(folder)
            except (AttributeError, OSError):
                continue
            if status.f_bavail * status.f_frsize >= 2 * nbytes:
                return folder
    return None


def is_far_away(path: str) -> bool:
    """Return whether a file lies on a network file system, where another machine may cut it at any time."""
    name = file_system(path)
    return name in _FAR_AWAY or name.startswith("fuse")


def file_system(path: str) -> str:
    """Return the type of the file system that a path is on, ``""`` where the system does not say."""
    try:
        device = os.stat(path).st_dev
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts:
        head, _, tail = line.partition(" - ")
        if head.split(" ", 3)[2] == wanted:
            return tail.split(" ", 1)[0]
    return ""
