"""Downloads that are killed, that race, that meet a full disk or a lock that lies."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from befit.files import get_file

BODY = bytes(range(256)) * 4096
FLOWER_FILES = {
    *("flower", "flower.tar.gz"),
    *(".flower.extracted.json", ".flower.members.json", ".flower.tar.gz.stamp.json"),
}
FLOWER = {"rose.txt": b"red" * 1000, "deep/iris.txt": b"blue" * 1000}


class Server(ThreadingHTTPServer):
    """Sends ``body``; while ``gate`` is closed, only the first half of it."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.requests = 0
        self.half_sent = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        with self.server.counting:
            self.server.requests += 1
        body = self.server.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[: len(body) // 2])
            self.server.half_sent.release()
            self.server.gate.wait()
            self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def flower() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in FLOWER.items():
            info = tarfile.TarInfo(f"flower/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def serve(monkeypatch):
    """``serve(body)``: a server on this machine, stopped at the end."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers: list[tuple[Server, threading.Thread]] = []

    def start(body: bytes) -> Server:
        server = Server(body)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def in_another_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run ``code``, which finds its arguments in ``argv``, with a running start for ``get_file``."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys; from befit.files import get_file; argv = sys.argv[1:]\n{code}"]
        + [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def content_of(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


DOWNLOAD = "get_file('data', argv[0], cache_dir=argv[1], progress=False)"


def test_kill_during_a_download(serve, tmp_path):
    """No half file has the final name, and the next call succeeds and cleans up."""
    server = serve(BODY)
    server.gate.clear()
    process = in_another_process(DOWNLOAD, server.url, tmp_path)
    assert server.half_sent.acquire(timeout=60)
    process.kill()
    process.communicate()
    left = files_of(tmp_path / "datasets")
    assert "data" not in left
    assert len(left) == 1, "the part file, which nobody could remove"
    server.gate.set()
    path = get_file("data", server.url, cache_dir=tmp_path)
    assert Path(path).read_bytes() == BODY
    assert files_of(tmp_path / "datasets") == {"data", ".data.stamp.json"}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_during_a_download(serve, tmp_path):
    server = serve(BODY)
    server.gate.clear()
    process = in_another_process(DOWNLOAD, server.url, tmp_path)
    assert server.half_sent.acquire(timeout=60)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert "KeyboardInterrupt" in errors
    assert files_of(tmp_path / "datasets") == set()


DIE_AT = """
import os
from befit.files import obtain, place, tree
left = int(argv[2])
def mortal(function):
    def call(*args, **kwargs):
        global left
        if left == 0:
            os._exit(9)  # as SIGKILL: no handler, no cleaning up
        left -= 1
        return function(*args, **kwargs)
    return call
os.replace = mortal(os.replace)
os.mkdir = mortal(os.mkdir)
tree.DescriptorTree.write = mortal(tree.DescriptorTree.write)
get_file('flower', argv[0], untar=True, cache_dir=argv[1], force_download=True)
"""


@pytest.mark.parametrize("older", [False, True], ids=["fresh", "over an older extraction"])
def test_killed_at_each_step_of_an_extraction(serve, tmp_path, flower, older):
    """Wherever it ends, the next call gives the whole folder and nothing is left over."""
    server = serve(flower)
    for step in range(30):
        cache = tmp_path / str(step)
        if older:
            get_file("flower", server.url, untar=True, cache_dir=cache)
            Path(cache, "datasets", "flower", "rose.txt").unlink()
        process = in_another_process(DIE_AT, server.url, cache, step)
        _, errors = process.communicate()
        assert process.returncode in (0, 9), errors
        path = get_file("flower", server.url, untar=True, cache_dir=cache)
        assert content_of(path) == FLOWER
        left = files_of(cache / "datasets")
        assert left | {".flower.tar.gz.stamp.json"} == FLOWER_FILES, "a stamp is not necessary"
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert step >= 6, "the steps were counted"


def test_four_processes_download_once(serve, tmp_path, flower):
    server = serve(flower)
    server.gate.clear()
    code = "print(get_file('flower', argv[0], untar=True, cache_dir=argv[1]))"
    processes = [in_another_process(code, server.url, tmp_path) for _ in range(4)]
    assert server.half_sent.acquire(timeout=60)
    server.gate.set()
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, results
    assert {out.strip() for out, _ in results} == {str(tmp_path / "datasets" / "flower")}
    assert content_of(str(tmp_path / "datasets" / "flower")) == FLOWER
    assert server.requests == 1


def test_with_a_lock_that_lies_everybody_still_gets_the_right_files(serve, tmp_path, flower, monkeypatch):
    """As on some network file systems: four at once believe that they hold the lock."""

    @contextlib.contextmanager
    def nothing(path):
        yield

    monkeypatch.setattr("befit.files.obtain.exclusive", nothing)
    server = serve(flower)
    server.gate.clear()

    def call(_):
        return get_file("flower", server.url, untar=True, cache_dir=tmp_path)

    with ThreadPoolExecutor(4) as threads:
        paths = threads.map(call, range(4))
        for _ in range(4):
            assert server.half_sent.acquire(timeout=60)
        server.gate.set()
        assert set(paths) == {str(tmp_path / "datasets" / "flower")}
    assert server.requests == 4
    assert content_of(str(tmp_path / "datasets" / "flower")) == FLOWER
    assert files_of(tmp_path / "datasets") == FLOWER_FILES


FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    get_file('data', argv[0], cache_dir=argv[1], retries=3)
except OSError as error:
    print(type(error).__name__, error.errno)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_said_at_once_and_leaves_nothing(serve, tmp_path):
    server = serve(BODY)
    out, errors = in_another_process(FULL_DISK, server.url, tmp_path).communicate()
    assert out.split() == ["OSError", "27"], errors
    assert server.requests == 1, "trying again would not help"
    assert files_of(tmp_path / "datasets") == set()
