"""Whatever is packed, by Python or by the system's tar, the result is that of ``tarfile.extractall``."""

import gzip
import io
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from befit.errors import MissingDependencyError
from befit.files.decompress import zstd_codec
from befit.files.extract import extract
from befit.files.limits import Limits

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links and modes are POSIX")

PART = st.text("abcé日 .-_" + "x" * 3, min_size=1, max_size=12).filter(
    lambda part: part not in (".", "..") and part.strip() == part
)
LONG = st.integers(90, 180).map(lambda length: "n" * length)
CONTENT = st.one_of(
    st.binary(max_size=2000), st.sampled_from([b"", bytes(512), b"x" * 511, b"y" * 1025, bytes(300_000)])
)


@st.composite
def trees(draw):
    """A tree: each path to ``bytes`` (a file), ``None`` (a folder) or text (a symbolic link)."""
    tree = {}
    folders = [()]
    for _ in range(draw(st.integers(0, 12))):
        above = draw(st.sampled_from(folders))
        path = (*above, draw(st.one_of(PART, LONG)))
        folded = {"/".join(known).casefold() for known in tree}
        if "/".join(path).casefold() in folded or len("/".join(path)) > 800:
            continue
        kind = draw(st.sampled_from(["file", "file", "file", "folder", "symlink"]))
        files = [known for known, what in tree.items() if isinstance(what, bytes)]
        if kind == "folder":
            tree[path] = None
            folders.append(path)
        elif kind == "symlink" and files:
            target = draw(st.sampled_from(files))
            tree[path] = os.path.relpath("/".join(target), "/".join(above) or ".")
        else:
            tree[path] = draw(CONTENT)
    return tree


def build(tree, root, executable):
    for number, (path, what) in enumerate(tree.items()):
        place = root.joinpath(*path)
        if what is None:
            place.mkdir()
        elif isinstance(what, str):
            place.symlink_to(what)
        else:
            place.write_bytes(what)
            place.chmod(0o755 if number % 3 == executable else 0o640)
            os.utime(place, ns=(1_500_000_000_000_000_000 + number * 10**9,) * 2)


def tree_in(root, *, times=True):
    """Everything below ``root``: content, target, executable or not, and time in seconds."""
    found = {}
    for path in sorted(root.rglob("*")):
        name, state = path.relative_to(root).as_posix(), path.lstat()
        if stat.S_ISLNK(state.st_mode):
            found[name] = os.readlink(path)
        elif stat.S_ISDIR(state.st_mode):
            found[name] = None
        else:
            time = state.st_mtime_ns // 10**9 if times else 0
            found[name] = (path.read_bytes(), bool(state.st_mode & 0o100), time, state.st_nlink)
    return found


def ours(content, folder):
    staging = folder / "ours"
    staging.mkdir()
    found = extract(
        io.BytesIO(content),
        lambda _: len(content),
        staging,
        name="archive",
        formats=("tar", "zip"),
        limits=Limits(),
        wanted=None,
        label="archive",
    )
    assert {"/".join(parts) for parts in found.members} == set(tree_in(found.root))
    return tree_in(found.root)


def of_tarfile(content, folder):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder / "theirs", filter="data")
    return tree_in(folder / "theirs")


def pack_with_tarfile(root, format):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, path.name)
    return stream.getvalue()


slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@slow
@given(tree=trees(), executable=st.integers(0, 3), pack=st.sampled_from([bytes, gzip.compress]))
def test_archives_of_tarfile(tmp_path_factory, format, tree, executable, pack):
    folder = tmp_path_factory.mktemp("oracle")
    (folder / "packed").mkdir()
    build(tree, folder / "packed", executable)
    content = pack(pack_with_tarfile(folder / "packed", format))
    found = ours(content, folder)
    assert found == of_tarfile(content, folder)
    assert {name: what[0] if isinstance(what, tuple) else what for name, what in found.items()} == {
        "/".join(path): what for path, what in tree.items()
    }
    shutil.rmtree(folder)


GNU_TAR = shutil.which("tar")


@pytest.mark.skipif(GNU_TAR is None, reason="no program tar")
@pytest.mark.parametrize("format", ["gnu", "oldgnu", "pax", "ustar", "v7"])
@settings(slow, max_examples=15)
@given(tree=trees(), executable=st.integers(0, 3))
def test_archives_of_the_system_s_tar(tmp_path_factory, format, tree, executable):
    folder = tmp_path_factory.mktemp("oracle")
    packed = folder / "packed"
    packed.mkdir()
    if format in ("ustar", "v7"):  # these have no long names, and no letters but ASCII
        tree = {path: what for path, what in tree.items() if len("/".join(path)) < 90}
        tree = {path: what for path, what in tree.items() if path[:-1] in ((), *tree)}
        tree = {
            path: what
            for path, what in tree.items()
            if not isinstance(what, str)
            or (len(what) < 90 and Path(os.path.normpath(Path(*path[:-1]) / what)).parts in tree)
        }
    build(tree, packed, executable)
    for number, path in enumerate([path for path, what in tree.items() if isinstance(what, bytes)][:2]):
        os.link(packed.joinpath(*path), packed / f"hard{number}")
    command = [GNU_TAR, f"--format={format}", "-cf", folder / "a.tar", "-C", packed, "."]
    ran = subprocess.run(command, capture_output=True, text=True)
    if "nrecognized" in ran.stderr or "unknown" in ran.stderr.lower():
        pytest.skip("another tar")
    assert ran.returncode == 0, ran.stderr
    content = (folder / "a.tar").read_bytes()
    assert ours(content, folder) == of_tarfile(content, folder)
    shutil.rmtree(folder)


@pytest.mark.skipif(GNU_TAR is None, reason="no program tar")
@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd", "pigz", "lbzip2", "pzstd"])
def test_what_programs_compress(tmp_path, program):
    """A compressed tar of some megabytes, by the programs themselves."""
    if shutil.which(program) is None:
        pytest.skip(f"no program {program}")
    if "zst" in program:
        try:
            zstd_codec()
        except MissingDependencyError:
            pytest.skip("no decoder of Zstandard")
    (tmp_path / "packed").mkdir()
    build(
        {("d",): None, ("d", "a"): os.urandom(500_000) + bytes(4 << 20), ("b",): b"xx"},
        tmp_path / "packed",
        0,
    )
    plain = pack_with_tarfile(tmp_path / "packed", tarfile.PAX_FORMAT)
    packed = subprocess.run([program, "-c"], input=plain, capture_output=True, check=True).stdout
    assert ours(packed, tmp_path) == of_tarfile(plain, tmp_path)


@slow
@given(
    tree=trees(),
    executable=st.integers(0, 3),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]),
    streamed=st.booleans(),
)
def test_archives_of_zipfile(tmp_path_factory, tree, executable, method, streamed):
    """Streamed: to a file that cannot be sought, so that sizes stand behind the data."""

    class Stream(io.BytesIO):
        def seekable(self):
            return not streamed

        def seek(self, *place):
            if streamed:
                raise io.UnsupportedOperation
            return super().seek(*place)

        def tell(self):
            if streamed:
                raise OSError
            return super().tell()

    folder = tmp_path_factory.mktemp("oracle")
    (folder / "packed").mkdir()
    build(tree, folder / "packed", executable)
    stream = Stream()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for path in sorted((folder / "packed").rglob("*")):
            if not path.is_symlink():
                archive.write(path, path.relative_to(folder / "packed"))
    content = stream.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder / "theirs")
    wanted = {
        name: what[0] if what else None for name, what in tree_in(folder / "theirs", times=False).items()
    }
    found = ours(content, folder)
    assert {name: what[0] if what else None for name, what in found.items()} == wanted
    for name, what in found.items():
        original = (folder / "packed" / name).lstat()
        if what is not None:
            assert what[1] == bool(original.st_mode & 0o100)
            assert abs(what[2] - original.st_mtime) < 2, "zip has times in steps of two seconds"
    shutil.rmtree(folder)
