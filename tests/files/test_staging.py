"""Part files and staging folders, and what killed processes leave behind."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from befit._internal import staging
from befit._internal.staging import (
    claim_download,
    give_away,
    is_temporary_name,
    new_download,
    part_file,
    staging_folder,
    sweep,
)


def test_a_part_file_is_a_neighbour_and_goes_away(tmp_path):
    target = tmp_path / "data.csv"
    with contextlib.suppress(KeyboardInterrupt), part_file(target) as part:
        assert part.parent == tmp_path
        assert is_temporary_name(part.name)
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_part_file_that_was_moved_into_place_stays(tmp_path):
    target = tmp_path / "data.csv"
    with part_file(target) as part:
        os.replace(part, target)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name == "nt", reason="umask is POSIX")
def test_a_part_file_can_be_read_by_whom_the_umask_allows(tmp_path):
    old = os.umask(0o027)
    try:
        with part_file(tmp_path / "data.csv") as part:
            assert part.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


def test_a_staging_folder_is_private_and_goes_away(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), staging_folder(tmp_path / "x") as folder:
        assert os.name == "nt" or folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir()
        (folder / "a" / "b").write_text("b")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 230, "é" * 115, "a\udcff" * 50])
def test_long_and_odd_names_have_neighbours_too(tmp_path, name):
    with part_file(tmp_path / name) as part:
        assert part.exists()
        sweep(tmp_path / name)
        assert part.exists(), "its process lives"


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leave(folder, pid, *, host=None, stem="data.csv", kind="part"):
    path = folder / f".{stem}.{host or staging._host()}-{pid}-0123abcd.{kind}"
    if kind == "part":
        path.write_bytes(b"half")
    else:
        (path / "members").mkdir(parents=True)
        (path / "members" / "a").write_text("a")
    return path


posix = pytest.mark.skipif(os.name == "nt", reason="Windows cannot ask whether a process lives")


@posix
def test_the_sweep_removes_what_dead_processes_left(tmp_path, dead):
    leave(tmp_path, dead)
    leave(tmp_path, dead, kind="staging")
    leave(tmp_path, 10**15)
    sweep(tmp_path / "data.csv")
    assert list(tmp_path.iterdir()) == []


@posix
def test_the_sweep_leaves_everything_else(tmp_path, dead):
    kept = {
        leave(tmp_path, os.getpid()),
        leave(tmp_path, os.getppid()),
        leave(tmp_path, dead, host="0" * 8),
        leave(tmp_path, dead, stem="other.csv"),
        tmp_path / "data.csv",
        tmp_path / ".data.csv.part",
        tmp_path / f".data.csv.{staging._host()}-{dead}-0123abcd.part.txt",
    }
    for path in kept:
        path.touch()
    sweep(tmp_path / "data.csv")
    assert set(tmp_path.iterdir()) == kept


def test_what_another_machine_left_goes_after_a_day(tmp_path):
    path = leave(tmp_path, 1, host="0" * 8)
    sweep(tmp_path / "data.csv")
    assert path.exists()
    os.utime(path, (0, time.time() - 25 * 3600))
    sweep(tmp_path / "data.csv")
    assert not path.exists()


@posix
def test_the_sweep_does_not_follow_a_link(tmp_path, dead):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    link = leave(tmp_path, dead)
    link.unlink()
    link.symlink_to("precious")
    sweep(tmp_path / "data.csv")
    assert not link.is_symlink()
    assert (tmp_path / "precious" / "file").read_text() == "x"


@posix
def test_what_another_user_left_is_not_touched(tmp_path, dead, monkeypatch):
    kept = {leave(tmp_path, dead), leave(tmp_path, dead, kind="download")}
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    sweep(tmp_path / "data.csv")
    assert claim_download(tmp_path / "data.csv") is None
    assert set(tmp_path.iterdir()) == kept


@posix
def test_a_process_that_may_not_be_asked_lives(tmp_path, monkeypatch):
    path = leave(tmp_path, os.getppid())

    def kill(pid, signal):
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    sweep(tmp_path / "data.csv")
    assert path.exists()


@posix
def test_only_a_download_is_claimed(tmp_path, dead):
    kept = {leave(tmp_path, dead), leave(tmp_path, dead, kind="staging")}
    assert claim_download(tmp_path / "data.csv") is None
    assert set(tmp_path.iterdir()) == kept
    leave(tmp_path, dead, kind="download")
    claimed = claim_download(tmp_path / "data.csv")
    assert set(tmp_path.iterdir()) == {claimed, *kept}


@posix
def test_a_download_is_private_until_it_is_moved(tmp_path):
    old = os.umask(0)
    try:
        folder = new_download(tmp_path / "x")
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    give_away(folder, tmp_path / "x")
    assert claim_download(tmp_path / "x").stat().st_mode & 0o777 == 0o700
