"""How much memory is free, and which folder takes temporary files: read off a system that is made up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from befit.errors import ArgumentError
from befit.hdf5 import memory

KIB = 1024


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return a function that makes the files of a system, by absolute path."""

    def make(files: dict[str, str]) -> None:
        for name, content in files.items():
            place = Path(f"{tmp_path}{name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)

    monkeypatch.setattr(memory, "Path", lambda *parts: Path(f"{tmp_path}{Path(*parts)}"))
    return make


MACHINE = {"/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    8000 kB\nSwapFree: 1 kB\n"}


def group(root: str, limit: str, usage: int, cache: int, version: int = 2) -> dict[str, str]:
    """The files of one cgroup."""
    names = {
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        2: ("memory.max", "memory.current", "inactive_file"),
    }[version]
    return {
        f"{root}/{names[0]}": f"{limit}\n",
        f"{root}/{names[1]}": f"{usage}\n",
        f"{root}/memory.stat": f"anon 17\n{names[2]} {cache}\nfile 3\n",
    }


def test_of_the_machine(system):
    system(MACHINE)
    assert memory.free_memory() == 8000 * KIB


def test_half_of_it_where_the_system_does_not_say(system):
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert memory.free_memory() == half
    system({"/proc/meminfo": "MemAvailable: much\n", "/proc/self/cgroup": "0::/\n"})
    assert memory.free_memory() == half


@pytest.mark.parametrize(
    ("line", "root", "version"),
    [
        ("0::/", "/sys/fs/cgroup", 2),
        ("0::/user/me", "/sys/fs/cgroup/user/me", 2),
        ("0::/user/me", "/sys/fs/cgroup/user", 2),  # a limit of a group above
        ("0::/on/the/host", "/sys/fs/cgroup", 2),  # a container sees its own group as the root
        ("7:cpu,memory:/me", "/sys/fs/cgroup/memory/me", 1),
        ("7:memory:/docker/12ab", "/sys/fs/cgroup/memory", 1),
    ],
)
def test_the_limit_of_a_cgroup(system, line, root, version):
    """What is used counts, but not the page cache, which is given back when needed."""
    system(MACHINE | {"/proc/self/cgroup": f"3:cpuset:/\n{line}\n"})
    system(group(root, "3000000", 2_000_000, 500_000, version))
    assert memory.free_memory() == 1_500_000


def test_the_tightest_of_nested_limits_counts(system):
    system(MACHINE | {"/proc/self/cgroup": "0::/a/b\n"})
    system(group("/sys/fs/cgroup/a/b", "max", 10, 0))
    system(group("/sys/fs/cgroup/a", "5000000", 1_000_000, 0))
    system(group("/sys/fs/cgroup", "9000000", 1_000_000, 0))
    assert memory.free_memory() == 4_000_000


def test_a_cgroup_over_its_limit_has_nothing_left(system):
    system(MACHINE | {"/proc/self/cgroup": "0::/\n"} | group("/sys/fs/cgroup", "100", 500, 0))
    assert memory.free_memory() == 0


def test_a_cgroup_that_says_nothing_of_its_cache(system):
    system(MACHINE | {"/proc/self/cgroup": "0::/\n"} | group("/sys/fs/cgroup", "1000", 300, 0))
    system({"/sys/fs/cgroup/memory.stat": "anon 17\n"})
    assert memory.free_memory() == 700


def mounts(path: Path, kind: str) -> dict[str, str]:
    """A list of mounts in which a path is on a file system of a kind."""
    device = path.stat().st_dev
    return {
        "/proc/self/mountinfo": "20 1 0:99999 / / rw - ext4 /dev/other rw\n"
        f"21 1 {os.major(device)}:{os.minor(device)} / /data rw shared:1 master:2 - {kind} source rw\n"
    }


@pytest.mark.parametrize(
    ("kind", "far"),
    [
        *((kind, False) for kind in ("ext4", "overlay", "tmpfs", "xfs")),
        *((kind, True) for kind in ("nfs4", "lustre", "cifs", "fuse.sshfs", "fuseblk")),
    ],
)
def test_files_of_other_machines(system, tmp_path, kind, far):
    system(mounts(tmp_path, kind))
    assert memory.file_system(str(tmp_path)) == kind
    assert memory.is_far_away(str(tmp_path)) is far


def test_a_file_system_that_nobody_names(system, tmp_path):
    assert memory.file_system(str(tmp_path)) == ""
    system({"/proc/self/mountinfo": "20 1 0:99999 / / rw - ext4 /dev/other rw\n"})
    assert memory.file_system(str(tmp_path)) == memory.file_system("/not/there") == ""
    assert not memory.is_far_away(str(tmp_path))


class TestScratchFolder:
    @pytest.fixture(autouse=True)
    def on_disk(self, system, tmp_path, monkeypatch):
        system(mounts(tmp_path, "ext4"))
        monkeypatch.setattr(memory, "_SYSTEM_FOLDERS", [str(tmp_path), "/var/tmp"])
        monkeypatch.delenv("BEFIT_SCRATCH", raising=False)

    def test_is_that_of_the_system(self, tmp_path):
        assert memory.scratch_folder(1) == str(tmp_path)

    def test_is_the_named_one(self, tmp_path, monkeypatch):
        (tmp_path / "named").mkdir()
        monkeypatch.setenv("BEFIT_SCRATCH", str(tmp_path / "named"))
        assert memory.scratch_folder(1) == str(tmp_path / "named")

    def test_must_be_there_if_it_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BEFIT_SCRATCH", str(tmp_path / "none"))
        with pytest.raises(ArgumentError, match=r"BEFIT_SCRATCH names '.*none', which is no folder"):
            memory.scratch_folder(1)

    @pytest.mark.parametrize("named", [False, True])
    @pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
    def test_is_never_in_memory(self, system, tmp_path, monkeypatch, kind, named):
        """Also if it is named: its pages would count as ours."""
        system(mounts(tmp_path, kind))
        if named:
            monkeypatch.setenv("BEFIT_SCRATCH", str(tmp_path))
        folder = memory.scratch_folder(1)
        assert folder is None if named else folder in (None, "/var/tmp")
        if Path("/var/tmp").stat().st_dev == tmp_path.stat().st_dev:
            assert folder is None

    def test_has_twice_the_room(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BEFIT_SCRATCH", str(tmp_path))
        seen = []

        def statvfs(folder):
            seen.append(folder)
            return os.statvfs_result((512, KIB, 50, 40, 30, 0, 0, 0, 0, 255))  # 30 KiB are free to users

        monkeypatch.setattr(os, "statvfs", statvfs)
        assert memory.scratch_folder(15 * KIB) == str(tmp_path)
        assert memory.scratch_folder(15 * KIB + 1) is None
        assert seen == [str(tmp_path)] * 2


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a folder that is in memory")
def test_dev_shm_is_in_memory(monkeypatch):
    """On this machine as it is."""
    if memory.file_system("/dev/shm") != "tmpfs":
        pytest.skip("/dev/shm is none here")
    monkeypatch.setenv("BEFIT_SCRATCH", "/dev/shm")
    assert memory.scratch_folder(1) is None
