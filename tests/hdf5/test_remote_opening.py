"""Opening a remote file takes few round trips; forks, garbage and the end of the interpreter do no harm."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
import h5py
import numpy as np
import pytest

from befit.errors import DatasetError
from befit.hdf5 import fetching, remote, remote_reader
from befit.hdf5.remote import RemoteFile, RemoteStorage, is_url, local_path

sys.path.append(str(Path(__file__).parent))
from range_server import RangeServer, served

ROWS = 6000


def write(path: Path, **options: Any) -> Path:
    """A file whose chunk index has three levels where its B-tree is of version 1."""
    with h5py.File(path, "w", **options) as file:
        maxshape = (None, 4) if "libver" in options else None
        dataset = file.create_dataset("x", (ROWS, 4), "i4", chunks=(1, 4), maxshape=maxshape)
        dataset[:] = np.arange(ROWS * 4).reshape(ROWS, 4)
        file["y"] = np.arange(ROWS)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("remote") / "data.h5")


@pytest.fixture
def server(path: Path) -> Iterator[RangeServer]:
    with RangeServer(path.read_bytes()) as server:
        yield server


def chunks(source: Any) -> list[tuple[Any, int, int]]:
    """Where every chunk of ``x`` is."""
    found: list[tuple[Any, int, int]] = []
    with h5py.File(source, "r") as file:
        file["x"].id.chunk_iter(lambda info: found.append((info.chunk_offset, info.byte_offset, info.size)))
    return found


def round_trips(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the tables of the file are waited for, where no two of their parts are near each other."""
    monkeypatch.setattr(remote, "_GAP", 0)
    monkeypatch.setattr(remote_reader, "_BLOCK", 1024)
    trips = []
    load = RemoteFile.load
    monkeypatch.setattr(RemoteFile, "load", lambda *arguments: (trips.append(1), load(*arguments))[1])
    with RangeServer(path.read_bytes()) as server:
        with RemoteFile(server.url).open_for_h5py() as reader:
            assert chunks(reader) == chunks(path)
        assert server.bytes_sent < len(server.content)
    return len(trips)


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, 8), ({"userblock_size": 1024}, 8), ({"libver": "latest"}, 40)],
    ids=["earliest", "user block", "latest"],
)
def test_the_chunk_table_takes_few_round_trips(
    tmp_path: Path, options: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert round_trips(write(tmp_path / "data.h5", **options), monkeypatch) <= most


def test_a_large_chunk_table_is_read_ahead_in_large_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(30_000, "i1"), chunks=(1,))  # some 500 nodes below 10
    monkeypatch.setattr(remote_reader, "_NODES_AHEAD", 200)
    trips = round_trips(tmp_path / "data.h5", monkeypatch)
    assert trips <= 9


def test_what_is_kept_of_the_tables_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_reader, "_BLOCK", 512)
    monkeypatch.setattr(remote_reader, "_BLOCKS_KEPT", 3)
    monkeypatch.setattr(remote_reader, "_NODES_AHEAD", 7)
    monkeypatch.setattr(remote_reader, "_NODES_KEPT", 5)
    with RangeServer(path.read_bytes()) as server, RemoteFile(server.url).open_for_h5py() as reader:
        assert chunks(reader) == chunks(path)
        assert len(reader._blocks) == 3  # type: ignore[attr-defined]
        assert len(reader._nodes) == 5  # type: ignore[attr-defined]


def test_h5py_reads_rows_too(server: RangeServer) -> None:
    with RemoteFile(server.url).open_for_h5py() as reader, h5py.File(reader, "r") as file:
        assert (file["x"][5990:] == np.arange(ROWS * 4).reshape(ROWS, 4)[5990:]).all()
        assert (file["y"][:] == np.arange(ROWS)).all()


@pytest.mark.parametrize("damage", [b"TREE\x01\x01" + b"\xff" * 18, b"TREE\x01\x01\xff\xff"])
def test_a_damaged_index_is_an_error_of_h5py(path: Path, damage: bytes) -> None:
    content = path.read_bytes()
    node = content.index(b"TREE\x01")
    damaged = content[:node] + damage + content[node + len(damage) :]
    with (
        RangeServer(damaged) as server,
        RemoteFile(server.url).open_for_h5py() as reader,
        pytest.raises((OSError, RuntimeError)),
    ):
        chunks(reader)


def test_a_fault_while_h5py_reads_is_an_error(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", (0.0,))
    with RemoteFile(server.url).open_for_h5py() as reader:
        server.status = 500
        with pytest.raises(OSError, match="cannot be read"):
            chunks(reader)
        server.status = None
        assert len(chunks(reader)) == ROWS


def test_garbage_of_h5py_does_not_block_its_own_reads(server: RangeServer, path: Path) -> None:
    """h5py's lock is held while it reads; collecting one of its objects in another thread takes that lock."""

    class Knot:
        def __init__(self, held: object) -> None:
            self.held, self.itself = held, self

    with h5py.File(path, "r") as file:
        datasets = [file["x"] for _ in range(200)]

    def make_garbage(number: int) -> None:
        for _ in range(min(len(datasets), 10)):
            Knot(datasets.pop())

    server.before_answer = make_garbage
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        with RemoteFile(server.url).open_for_h5py() as reader:
            reading = threading.Thread(target=chunks, args=(reader,), daemon=True)
            reading.start()
            reading.join(30)
            assert not reading.is_alive()
            assert len(datasets) < 200
    finally:
        gc.set_threshold(*thresholds)
    assert gc.isenabled()


def reads(storage: RemoteStorage, content: bytes) -> bool:
    return storage.rows(np.array([70_000, 8]), 50).tobytes() == content[70_000:70_050] + content[8:58]


def forked(is_right: Callable[[], bool]) -> int:
    """Call it in a child; return 0 if all was well there."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if is_right() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def test_a_forked_child_connects_anew(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_GAP", 0)
    # A lost connection is asked again after this time, and then there is one request more.
    storage = RemoteStorage(RemoteFile(server.url, {"timeout": aiohttp.ClientTimeout(sock_read=2)}))
    assert reads(storage, server.content)
    inherited = storage.file._connected()._client._fs  # type: ignore[attr-defined]
    server.forget()

    def in_child() -> bool:
        right = reads(storage, server.content)
        # What the end of an interpreter does; here it must not reach the parent's connections.
        inherited.close_session(inherited._loop, inherited._session)
        return right

    assert forked(in_child) == 0
    assert server.requests == 2
    assert reads(storage, server.content)
    assert server.requests == 4


def test_a_fork_in_the_middle_of_reads(server: RangeServer) -> None:
    storage = RemoteStorage(RemoteFile(server.url))
    stop, wrong = threading.Event(), []

    def keep_reading() -> None:
        while not stop.is_set():
            if not reads(storage, server.content):
                wrong.append(1)

    threads = [threading.Thread(target=keep_reading) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert forked(lambda: reads(storage, server.content)) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def run(program: str, *arguments: str, data: bytes = b"") -> None:
    """Run it in a new interpreter, which must end well and silently."""
    command = [sys.executable, "-c", textwrap.dedent(program), *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_another_process_unpickles_it(server: RangeServer) -> None:
    program = """
        import pickle, sys, numpy
        storage, expected = pickle.load(sys.stdin.buffer)
        assert storage.rows(numpy.array([70_000]), 50).tobytes() == expected
    """
    storage = RemoteStorage(RemoteFile(server.url))
    run(program, data=pickle.dumps((storage, server.content[70_000:70_050])))


def test_the_interpreter_ends_with_everything_open(server: RangeServer) -> None:
    program = """
        import sys, h5py, numpy
        from befit.hdf5.remote import RemoteFile, RemoteStorage
        remote = RemoteFile(sys.argv[1])
        file = h5py.File(remote.open_for_h5py(), "r")
        file["x"][0]
        storage = RemoteStorage(remote)
        storage.rows(numpy.array([0]), 50)
    """
    run(program, server.url)


def test_no_client_is_imported_before_a_url_comes() -> None:
    run("import sys, befit.hdf5.remote; assert not {'fsspec', 'aiohttp'} & set(sys.modules)")


class TestMemory:
    """A protocol of fsspec that knows neither concurrency nor HTTP's headers."""

    @pytest.fixture
    def url(self, path: Path) -> Iterator[str]:
        url = "memory://folder/data.h5"
        with fsspec.open(url, "wb") as file:
            file.write(path.read_bytes())
        yield url
        fsspec.filesystem("memory").rm("/folder", recursive=True)

    def test_it_is_read(self, url: str, path: Path) -> None:
        file = RemoteFile(url)
        assert file.nbytes == path.stat().st_size
        assert reads(RemoteStorage(file), path.read_bytes())
        with file.open_for_h5py() as reader:
            assert chunks(reader) == chunks(path)

    def test_a_change_is_noticed(self, url: str, path: Path) -> None:
        storage = RemoteStorage(RemoteFile(url))
        with fsspec.open(url, "wb") as file:
            file.write(path.read_bytes()[::-1])
        with pytest.raises(DatasetError, match="has changed"):
            reads(storage, b"")
        fsspec.filesystem("memory").rm("/folder/data.h5")
        with pytest.raises(DatasetError, match="gone"):
            reads(storage, b"")

    def test_faults_of_the_client(self, url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fetching, "_PAUSES", (0.0, 0.0))
        storage = RemoteStorage(RemoteFile(url))
        memory = type(fsspec.filesystem("memory"))
        cat_file, faults = memory.cat_file, []

        def fail(fs: Any, path: str, start: int, stop: int) -> bytes:
            fault = faults.pop() if faults else None
            if isinstance(fault, Exception):
                raise fault
            return cat_file(fs, path, start, stop)[: None if fault is None else fault]

        monkeypatch.setattr(memory, "cat_file", fail)
        monkeypatch.setattr(remote, "_GAP", 0)
        faults.extend([1, ConnectionResetError("gone")])
        assert reads(storage, path.read_bytes())
        faults.extend([1] * 9)
        with pytest.raises(DatasetError, match=r"1 bytes came when 50 were asked for; tried 3 times"):
            reads(storage, b"")
        faults[:] = [PermissionError("no")]
        with pytest.raises(DatasetError, match="PermissionError: no"):
            reads(storage, b"")

    def test_no_file_and_a_folder(self, url: str) -> None:
        with pytest.raises(FileNotFoundError, match="other"):
            RemoteFile("memory://folder/other.h5")
        with pytest.raises(DatasetError, match="is a folder"):
            RemoteFile("memory://folder")

    def test_a_chain_of_protocols(self, server: RangeServer, tmp_path: Path) -> None:
        """fsspec's cache downloads the file, so that the server needs to know no ranges."""
        server.supports_ranges = False
        options = {"simplecache": {"cache_storage": str(tmp_path)}}
        storage = RemoteStorage(RemoteFile(f"simplecache::{server.url}", options))
        assert reads(storage, server.content)
        assert options == {"simplecache": {"cache_storage": str(tmp_path)}}


def test_which_paths_are_urls() -> None:
    urls = ["http://h/a.h5", "s3://b/k", "simplecache::https://h/a.h5", "zip://a.h5::/tmp/b.zip"]
    paths = ["a.h5", "/tmp/a.h5", "C:\\a.h5", "C://a.h5", "file:///tmp/a.h5", "dir/x://y", ""]
    assert [is_url(url) for url in urls + paths] == [True] * len(urls) + [False] * len(paths)
    assert local_path("file:///tmp/a%20b.h5") == "/tmp/a b.h5"
    assert local_path("dir/a%20b.h5") == "dir/a%20b.h5"


def test_a_batch_over_a_slow_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 rows one after the other would take 128 times the latency."""
    monkeypatch.setattr(remote, "_GAP", 0)
    latency = 0.05
    with served(path, latency) as url:
        storage = RemoteStorage(RemoteFile(url))
        begin = time.perf_counter()
        storage.rows(np.arange(0, 128_000, 1000), 16)
        assert time.perf_counter() - begin < 128 * latency / 3
