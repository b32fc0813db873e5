"""What extraction brings, and the limits that it keeps."""

import errno
import gzip
import os
import random
import shutil
import stat
import tarfile
import tracemalloc

import pytest

from befit.errors import ArchiveError, ArgumentError, UnsafeArchiveError
from befit.files import tree
from befit.files.limits import Budget, Limits
from befit.files.marker import Record

HARD, SYM, DIR = tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


def link(kind, name, target):
    return (name, kind, {"linkname": target})


@pytest.mark.parametrize("kind", ["descriptors", "paths"])
def test_files_and_folders_arrive(archives, unpack, monkeypatch, kind):
    """The way of Windows gives the same tree as the way of POSIX."""
    monkeypatch.setattr(tree, "HAS_DESCRIPTORS", kind == "descriptors")
    names = ["a/b/c/1", "a/b/2", "x/3", "a/b/c/4", "5", "a/6"]
    found = unpack(archives.tar(("a", DIR), ("e", DIR), *((name, name.encode() * 9) for name in names)))
    assert {name: (found.root / name).read_bytes() for name in names} == {
        name: name.encode() * 9 for name in names
    }
    assert list((found.root / "e").iterdir()) == []
    kinds = {"/".join(parts): record.kind for parts, record in found.members.items()}
    assert kinds == dict.fromkeys(["a", "a/b", "a/b/c", "x", "e"], "directory") | dict.fromkeys(names, "file")


@pytest.mark.parametrize("kind", ["descriptors", "paths"])
def test_members_are_recorded_as_the_file_system_has_them(archives, unpack, monkeypatch, kind):
    """One that rounds times, too: a record that differs from its file would make it an edited one."""
    monkeypatch.setattr(tree, "HAS_DESCRIPTORS", kind == "descriptors")

    def rounding(path, *, ns, utime=os.utime):
        utime(path, ns=(ns[0], ns[1] // 10**10 * 10**10))

    monkeypatch.setattr(os, "utime", rounding)
    members = [("d/f", b"xx", {"mtime": 1_600_000_003}), ("e", DIR)]
    if tree.HAS_DESCRIPTORS:
        members += [link(HARD, "h", "d/f"), link(HARD, "h2", "h"), link(SYM, "l", "d/f")]
    found = unpack(archives.tar(*members), wanted="w")
    assert found.members == {
        parts: Record.of(found.root.joinpath(*parts), record.kind) for parts, record in found.members.items()
    }
    assert found.members["w", "d", "f"] == Record("file", 2, 1_600_000_000 * 10**9)


def test_without_descriptors_links_are_refused(archives, unpack, monkeypatch):
    monkeypatch.setattr(tree, "HAS_DESCRIPTORS", False)
    with pytest.raises(UnsafeArchiveError, match="not extracted on this system"):
        unpack(archives.tar(("f", b"xx"), link(SYM, "l", "f")))


def test_links_inside_are_made(archives, unpack):
    found = unpack(
        archives.tar(
            link(SYM, "d/early", "../real/f"),
            ("real/f", b"content"),
            link(SYM, "chain", "d/early"),
            link(SYM, "folder", "./real"),
            link(HARD, "hard", "real/f"),
            link(HARD, "harder", "hard"),
            link(SYM, "to-hard", "hard"),
        ),
    )
    for name in ("d/early", "chain", "folder/f", "hard", "harder", "to-hard"):
        assert (found.root / name).read_bytes() == b"content"
    assert os.readlink(found.root / "chain") == "d/early"
    assert (found.root / "hard").stat().st_nlink == 3


def test_a_symlink_in_a_zip_is_a_symlink(archives, unpack):
    found = unpack(archives.zip(("d/f", b"content"), ("l", b"d/f", stat.S_IFLNK | 0o777)))
    assert os.readlink(found.root / "l") == "d/f"


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
@pytest.mark.parametrize("make", ["tar", "zip"])
def test_of_modes_only_executable_remains(archives, unpack, make):
    """Cases 14 and 42."""
    modes = {"setuid": 0o4777, "world": 0o666, "secret": 0o000, "run": 0o755}
    if make == "tar":
        content = archives.tar(*((name, b"xx", {"mode": mode}) for name, mode in modes.items()))
    else:
        content = archives.zip(*((name, b"xx", stat.S_IFREG | mode) for name, mode in modes.items()))
    old = os.umask(0)
    try:
        root = unpack(content).root
    finally:
        os.umask(old)
    found = {name: (root / name).stat().st_mode & 0o7777 for name in modes}
    assert found == {"setuid": 0o755, "world": 0o644, "secret": 0o644, "run": 0o755}


def test_a_sparse_file_is_filled_with_its_zeros(archives, unpack):
    """As ``tar --sparse`` writes it: one kilobyte of data in the middle of zeros."""
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 1024
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (4096, 1024)
    block[483:495] = b"%011o\0" % 10_000
    block[148:156] = b" " * 8
    block[148:155] = b"%06o\0" % sum(block)
    found = unpack(bytes(block) + b"x" * 1024 + bytes(1024))
    assert (found.root / "sparse").read_bytes() == bytes(4096) + b"x" * 1024 + bytes(10_000 - 5120)


def test_many_small_files_in_many_folders_need_few_descriptors(archives, unpack):
    resource = pytest.importorskip("resource")
    names = [f"{folder % 700}/{folder}/file" for folder in range(1500)]
    content = archives.tar(*((name, b"xx") for name in names), mode="w")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, used + 80), hard))
    try:
        found = unpack(content)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum(record.kind == "file" for record in found.members.values()) == 1500


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_bomb_is_refused_and_the_message_says_how_to_allow_it(archives, unpack, kind):
    """Cases 15 and 36."""
    bomb = getattr(archives, kind)(("zeros", bytes(80 << 20)))
    with pytest.raises(UnsafeArchiveError, match=r"250 times.*Limits\(ratio="):
        unpack(bomb)
    found = unpack(bomb, Limits(ratio=2000))
    assert (found.root / "zeros").stat().st_size == 80 << 20


def test_zeros_behind_the_end_mark_count_too(archives, unpack):
    with pytest.raises(UnsafeArchiveError, match="250 times"):
        unpack(gzip.compress(archives.tar(("a", b"xx"), mode="w") + bytes(80 << 20)))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(total_bytes=100), "more than 100 bytes"),
        (Limits(members=2), "more than 2 members"),
        (Limits(path_bytes=3), "path of 4 bytes"),
        (Limits(depth=1), "2 folders deep"),
    ],
)
def test_each_limit_counts(archives, unpack, limits, says):
    content = archives.tar(("a", b"x" * 90), ("b", b"xx"), ("long", b"y" * 90), ("d/e/f", b"xx"))
    with pytest.raises(UnsafeArchiveError, match=says):
        unpack(content, limits)


@pytest.mark.parametrize("name", ["total_bytes", "members", "ratio", "path_bytes", "depth"])
def test_limits_are_numbers_above_zero(name):
    with pytest.raises(ArgumentError, match=name):
        Limits(**{name: 0})


def test_nothing_nested_is_unpacked(archives, unpack):
    """Case 31."""
    inner = archives.tar(("evil", b"xx"))
    found = unpack(archives.tar(("inner.tar.gz", inner)))
    assert (found.root / "inner.tar.gz").read_bytes() == inner
    assert len(found.members) == 1


def test_a_disk_error_is_not_called_a_broken_archive(archives, unpack, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tree.DescriptorTree, "write", full)
    with pytest.raises(OSError, match="No space left") as caught:
        unpack(archives.tar(("a", b"xx")))
    assert not isinstance(caught.value, ArchiveError)


def test_a_wanted_folder_is_made_where_the_archive_has_none(archives, unpack):
    found = unpack(archives.tar(("data/x", b"xx"), link(SYM, "data/l", "x"), ("y", b"yy")), wanted="flower")
    assert (found.root / "flower" / "data" / "l").read_bytes() == b"xx"
    assert [("/".join(parts), record.kind) for parts, record in found.members.items()] == [
        ("flower", "directory"),
        ("flower/data", "directory"),
        ("flower/data/x", "file"),
        ("flower/data/l", "symlink"),
        ("flower/y", "file"),
    ]


def test_a_wanted_folder_that_the_archive_has_is_taken(archives, unpack):
    found = unpack(archives.tar(("flower/x", b"xx"), ("README", b"yy")), wanted="flower")
    assert sorted(os.listdir(found.root)) == ["README", "flower"]


def test_an_archive_cannot_replace_itself(archives, unpack):
    with pytest.raises(ArchiveError, match="the name of the archive file itself; pass another fname"):
        unpack(archives.tar(("archive/x", b"xx")))


@pytest.mark.parametrize(
    "name",
    [".mnist.npz.extracted.json", ".Mnist.npz.EXTRACTED.json", ".x.lock", ".x.0123abcd-77-89abcdef.part"],
)
def test_names_of_our_own_records_are_refused_at_the_top_only(archives, unpack, name):
    """Case 49."""
    with pytest.raises(UnsafeArchiveError, match="its own records"):
        unpack(archives.tar((name, b"xx")))
    assert unpack(archives.tar((f"d/{name}", b"xx"))).members
    assert unpack(archives.tar((name, b"xx")), wanted="d").members


def test_times_of_files_are_kept(archives, unpack):
    found = unpack(
        archives.tar(
            ("a", b"xx", {"mtime": 1_000_000_000}),
            ("b", b"xx", {"mtime": 1.25}),
            ("c", b"xx", {"mtime": -5.0}),
            link(HARD, "d", "a"),
        )
    )
    times = {name: (found.root / name).stat().st_mtime_ns for name in "abcd"}
    assert times == {"a": 10**18, "b": 1_250_000_000, "c": -5_000_000_000, "d": 10**18}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_full_disk_is_noticed_before_anything_is_written(archives, unpack, monkeypatch, kind):
    free = shutil.disk_usage("/")._replace(free=900)
    monkeypatch.setattr("befit.files.room.shutil.disk_usage", lambda path: free)
    content = getattr(archives, kind)(("a", b"x" * 1000))
    with pytest.raises(OSError, match="the disk has 900 bytes left") as caught:
        unpack(content)
    assert caught.value.errno == errno.ENOSPC
    assert not isinstance(caught.value, ArchiveError)


def test_a_disk_of_unknown_size_is_written_to(archives, unpack, monkeypatch):
    nothing = shutil.disk_usage("/")._replace(total=0, free=0)
    monkeypatch.setattr("befit.files.room.shutil.disk_usage", lambda path: nothing)
    assert unpack(archives.tar(("a", b"x" * 1000))).members


def test_limits_count_content_and_not_headers(archives, unpack):
    assert unpack(archives.tar(("a", b"x" * 90)), Limits(total_bytes=90)).members


@pytest.mark.soak
def test_fifty_thousand_empty_files(archives, unpack):
    """Case 47."""
    found = unpack(archives.zip(*((f"d{number % 100}/{number}", b"") for number in range(50_000))))
    assert len(found.members) == 50_100
    assert len(os.listdir(found.root / "d7")) == 500


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_memory_does_not_grow_with_the_archive(archives, unpack, kind):
    """24 MiB in one member, and as much in the stream, pass through a few of them."""
    content = getattr(archives, kind)(("a", random.Random(0).randbytes(1 << 20) * 24))
    tracemalloc.start()
    try:
        unpack(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_what_unpacks_to_much_at_first_waits_for_more_of_the_archive(monkeypatch):
    monkeypatch.setattr("befit.files.limits._NEVER_A_BOMB", 100)
    waited = []

    def arrived(wanted):
        waited.append(wanted)
        return min(wanted + 10, 40)  # the archive has forty bytes

    budget = Budget(Limits(ratio=10), arrived)
    for _ in range(4):
        budget.decode(100)
    assert waited == [20, 40], "thirty bytes had come, which is enough for three hundred"
    with pytest.raises(UnsafeArchiveError, match="more than 10 times its size of 40 bytes"):
        budget.decode(1)
