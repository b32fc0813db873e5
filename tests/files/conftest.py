"""A server on 127.0.0.1 that does as it is told, and archives to serve."""

from __future__ import annotations

import io
import os
import ssl
import tarfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from befit.errors import BefitError
from befit.files import Limits, get_file
from befit.files.digest import digests_of
from befit.files.extract import extract

CERTIFICATE = Path(__file__).parent / "certificates" / "localhost.pem"


@dataclass
class Answer:
    """What the server sends: the first ``sent`` bytes of ``body``, under a Content-Length of ``length``."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    length: int | None = -1  # None: no Content-Length; -1: the right one
    chunked: bool = False


@dataclass
class Seen:
    path: str
    headers: dict[str, str]


class Server(ThreadingHTTPServer):
    """Answers each path with its list of answers, one after the other; the last one again and again."""

    daemon_threads = True
    scheme = "http"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[Seen] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def serve(self, path: str, *answers: Answer | bytes) -> str:
        """Set the answers of ``path`` and return its URL."""
        self.answers[path] = [Answer(answer) if isinstance(answer, bytes) else answer for answer in answers]
        return self.url(path)

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}{path}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append(
            Seen(self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        answers = self.server.answers.get(self.path, [Answer(b"nothing here", 404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        sent = answer.body if answer.sent is None else answer.body[: answer.sent]
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            sent = b"%x\r\n%s\r\n" % (len(answer.body), sent) + (b"0\r\n\r\n" if answer.sent is None else b"")
        elif answer.length is not None:
            self.send_header(
                "Content-Length", str(len(answer.body) if answer.length == -1 else answer.length)
            )
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def new_server() -> Iterator[Callable[..., Server]]:
    """Start servers; all are stopped at the end."""
    servers: list[Server] = []

    def start(*, tls: bool = False) -> Server:
        server = Server()
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.scheme = "https"
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def certificate() -> Path:
    """The certificate of the server with TLS; also its own authority."""
    return CERTIFICATE


@pytest.fixture(autouse=True)
def plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates of the machine that runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, noted and not slept."""
    noted: list[float] = []
    monkeypatch.setattr("befit.files.retry.time.sleep", noted.append)
    return noted


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder for ``cache_dir`` that does not exist yet."""
    return tmp_path / "cache"


class Archives:
    """Builds archives, the impossible ones too."""

    @staticmethod
    def tar(*members: Any, mode: str = "w:gz", format: int = tarfile.PAX_FORMAT) -> bytes:
        """Each member: ``(name, content)`` or ``(name, type)``, then perhaps fields of its TarInfo."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode, format=format) as archive:
            for name, what, *fields in members:
                info = tarfile.TarInfo(name)
                content = b""
                if isinstance(what, bytes) and len(what) == 1:
                    info.type = what
                else:
                    content, info.size = what, len(what)
                for key, value in (fields[0] if fields else {}).items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(content))
        return stream.getvalue()

    @staticmethod
    def zip(*members: Any, method: int = zipfile.ZIP_DEFLATED) -> bytes:
        """Each member: ``(name, content)``, then perhaps its mode."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Duplicate name")
            for name, content, *mode in members:
                info = zipfile.ZipInfo("placeholder")
                info.filename = name
                info.compress_type = method
                info.create_system = 3
                info.external_attr = (mode[0] if mode else 0o100644) << 16
                archive.writestr(info, content)
        return stream.getvalue()


@pytest.fixture(scope="session")
def archives() -> type[Archives]:
    return Archives


@pytest.fixture
def flower() -> bytes:
    """A tar.gz with the folder ``flower``."""
    return Archives.tar(
        ("flower", tarfile.DIRTYPE), ("flower/rose.txt", b"red"), ("flower/deep/iris.txt", b"blue")
    )


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., str]:
    """``source(content, name)``: the file URL of a new file."""

    def write(content: bytes, name: str = "source.bin") -> str:
        path = tmp_path / "origin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path.as_uri()

    return write


@pytest.fixture
def files_in() -> Callable[[Path], set[str]]:
    """``files_in(folder)``: everything below it, except lock files."""

    def listed(folder: Path) -> set[str]:
        found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        return {name for name in found if not name.endswith(".lock")}

    return listed


@pytest.fixture
def unpack(tmp_path):
    """``unpack(content)``: the result of an extraction below the test's folder."""

    def call(content, limits=None, wanted=None):
        number = len(os.listdir(tmp_path))
        staging = tmp_path / f"staging{number}"
        staging.mkdir()
        return extract(
            io.BytesIO(content),
            lambda _: len(content),
            staging,
            name="archive",
            formats=("tar", "zip"),
            limits=limits or Limits(),
            wanted=wanted,
            label="archive",
        )

    return call


@pytest.fixture
def outside(tmp_path):
    """A folder around the cache, with a victim at every height that ``..`` could reach."""
    for folder in (tmp_path, tmp_path / "cache", tmp_path / "cache" / "datasets"):
        folder.mkdir(exist_ok=True)
        (folder / "victim").write_text("unharmed")
    return tmp_path


@pytest.fixture
def refuse(outside, source, files_in):
    """``refuse(content, error, untar)``: ``get_file`` raises ``error`` and leaves everything as it was."""

    def call(content, error, untar):
        url = source(content.replace(b"{outside}", str(outside).encode()), "archive")
        before = files_in(outside)
        with pytest.raises(error, match="from file://") as caught:
            get_file("out", url, untar=untar, extract=not untar, cache_dir=outside / "cache", progress=False)
        assert type(caught.value) is error or error is BefitError
        assert files_in(outside) == before, "neither members nor the archive nor a staging folder"
        assert all(path.read_text() == "unharmed" for path in outside.rglob("victim"))

    return call


@pytest.fixture
def readings(monkeypatch):
    """Which digests were computed from the bytes of a file in the cache."""
    noted = []

    def counted(path, algorithms):
        noted.append(set(algorithms))
        return digests_of(path, algorithms)

    monkeypatch.setattr("befit.files.digest.digests_of", counted)
    return noted


@pytest.fixture
def later(monkeypatch):
    """``later()``: everything that is in the cache has been there for some seconds."""

    def call():
        monkeypatch.setattr("befit.files.digest.time_ns", lambda: time.time_ns() + 5 * 10**9)
        monkeypatch.setattr("befit.files.marker.time_ns", lambda: time.time_ns() + 5 * 10**9)

    return call
