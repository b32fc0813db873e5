"""A web server on the loopback that keeps the HTTP contract to the letter, and breaks it as a test asks.

``HostileServer`` computes the right ``Reply`` to each request: ranges, If-Range, validators, keep-alive. A
fault is a function that turns it into a wrong one; ``faults`` has one for each of the next requests, and
``always`` is the one for every request after them. The faults themselves are in ``hostile_faults``.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Literal, Self, TypeAlias

PIECE = 1 << 16
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Reply:
    """What the server sends, and how."""

    status: int
    headers: dict[str, str]
    body: bytes
    framing: Literal["length", "chunked", "close"] = "length"
    announced: int | None = None
    """The Content-Length, where it is not the length of the body."""

    cut: int | None = None
    """After so many bytes of the body the connection ends."""

    reset: bool = False
    """It ends with a reset, not in order."""

    stall: int | None = None
    """After so many bytes of the body nothing more is sent, and the connection stays."""

    rate: float | None = None
    """Bytes of the body a second."""

    head_rate: float | None = None
    """Bytes of the status line and the headers a second."""

    leaves: bool = False
    """The connection ends after the answer, and nothing says so before."""

    silent: bool = False
    """The connection ends without an answer."""


Fault: TypeAlias = Callable[[Reply], Reply]


@dataclass
class Asked:
    """One request, and what came of it."""

    number: int
    connection: int
    path: str
    headers: dict[str, str]
    status: int = 0
    start: int = 0
    """Where in the content the body of the answer begins."""

    sent: int = 0
    """Bytes of the body that went out."""

    @property
    def range(self) -> tuple[int, int | None] | None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return None if match is None else (int(match[1]), int(match[2]) + 1 if match[2] else None)


class HostileServer:
    """Serves ``content`` under every path; ends with its ``with`` block."""

    def __init__(
        self, content: bytes, *, certificate: Path | None = None, faults: tuple[Fault, ...] = ()
    ) -> None:
        self.content = content
        self.etag: Literal["strong", "weak", "none"] = "strong"
        self.modified: str | None = "Mon, 01 Jan 2024 00:00:00 GMT"
        self.supports_ranges = True
        self.honours_if_range = True
        self.faults: deque[Fault] = deque(faults)
        self.always: Fault | None = None
        self.fault_of: Callable[[Asked], Fault | None] | None = None
        """Chooses a fault by the request; goes before the others."""

        self.before_answer: Callable[[int], None] | None = None
        """Called with the number of the request, from 0, before its reply is computed."""

        self.rate: float | None = None
        """Bytes a second of each connection."""

        self.latency = 0.0
        """Seconds before each answer."""

        self.asked: list[Asked] = []
        self.stopped = threading.Event()
        self._certificate = certificate
        self._connections: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return self.url_of("/data.bin")

    def url_of(self, path: str) -> str:
        return f"http{'s' if self._certificate else ''}://127.0.0.1:{self.port}{path}"

    @property
    def bytes_sent(self) -> int:
        return sum(asked.sent for asked in self.asked)

    def forget(self) -> None:
        with self._lock:
            self.asked = []

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()  # no connection is added any more
        self._listener.close()
        with self._lock:
            for connection in self._connections.values():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        for number in range(1 << 30):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # stopped
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections[number] = connection
                thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            stream = self._encrypted(connection)
            with self._lock:
                self._connections[number] = stream
                if self.stopped.is_set():
                    return
            try:
                for path, headers in _requests(stream):
                    if not self._answer(stream, number, path, headers):
                        break
            finally:
                stream.close()
        with self._lock:
            self._connections.pop(number, None)

    def _encrypted(self, connection: socket.socket) -> socket.socket:
        if self._certificate is None:
            return connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate)
        return context.wrap_socket(connection, server_side=True)

    def _answer(self, connection: socket.socket, number: int, path: str, headers: dict[str, str]) -> bool:
        """Answer one request; return whether the connection stays open."""
        with self._lock:
            asked = Asked(len(self.asked), number, path, headers)
            self.asked.append(asked)
            if self.before_answer is not None:
                self.before_answer(asked.number)
            fault = self.fault_of(asked) if self.fault_of is not None else None
            if fault is None:
                fault = self.faults.popleft() if self.faults else self.always
            reply = self._right_reply(asked)
        if self.latency:
            self.stopped.wait(self.latency)
        if fault is not None:
            reply = fault(reply)
        asked.status = reply.status
        return _Sending(connection, reply, asked, self.stopped).stays_open()

    def _right_reply(self, asked: Asked) -> Reply:
        headers = {"Date": formatdate(usegmt=True)}
        if self.supports_ranges:
            headers["Accept-Ranges"] = "bytes"
        validators = set()
        if self.etag != "none":
            headers["ETag"] = f'{"W/" if self.etag == "weak" else ""}"{_digest(self.content)}"'
            validators |= {headers["ETag"]} if self.etag == "strong" else set()
        if self.modified is not None:
            headers["Last-Modified"] = self.modified
            validators.add(self.modified)
        wanted = asked.range if self.supports_ranges else None
        condition = asked.headers.get("if-range")
        if condition is not None and self.honours_if_range and condition not in validators:
            wanted = None
        if wanted is None:
            return Reply(200, headers, self.content, rate=self.rate)
        size = len(self.content)
        start, stop = wanted[0], min(size if wanted[1] is None else wanted[1], size)
        if start >= stop:
            return Reply(416, {**headers, "Content-Range": f"bytes */{size}"}, b"")
        asked.start = start
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        return Reply(206, headers, self.content[start:stop], rate=self.rate)


@dataclass
class _Sending:
    """One reply on its way."""

    connection: socket.socket
    reply: Reply
    asked: Asked
    stopped: threading.Event

    def stays_open(self) -> bool:
        reply = self.reply
        if not reply.silent:
            self._pieces(self._head(), reply.head_rate)
            body = reply.body if reply.cut is None else reply.body[: reply.cut]
            if reply.stall is not None:
                self._body(body[: reply.stall])
                self.connection.recv(1)  # until the client, or the server, gives up
                return False
            self._body(body)
            if reply.framing == "chunked" and reply.cut is None:
                self.connection.sendall(b"0\r\n\r\n")
        if reply.silent or reply.cut is not None or reply.leaves or reply.framing == "close":
            if reply.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            return False
        return True

    def _head(self) -> bytes:
        reply = self.reply
        phrase = HTTPStatus(reply.status).phrase if reply.status in set(HTTPStatus) else "Whatever"
        lines = [
            f"HTTP/1.1 {reply.status} {phrase}",
            *(f"{name}: {text}" for name, text in reply.headers.items()),
        ]
        if reply.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif reply.framing == "length":
            lines.append(f"Content-Length: {len(reply.body) if reply.announced is None else reply.announced}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _body(self, data: bytes) -> None:
        if self.reply.framing == "chunked":
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                # A cut falls into the middle of a chunk.
                length = len(piece) + (self.reply.cut is not None and start + PIECE >= len(data))
                self.connection.sendall(b"%x\r\n" % length)
                self._pieces(piece, self.reply.rate, count=True)
                self.connection.sendall(b"\r\n" if length == len(piece) else b"")
        else:
            self._pieces(data, self.reply.rate, count=True)

    def _pieces(self, data: bytes, rate: float | None, *, count: bool = False) -> None:
        view = memoryview(data)
        size = PIECE if rate is None else max(1, min(PIECE, int(rate / 50)))
        for start in range(0, len(data), size):
            piece = view[start : start + size]
            self.connection.sendall(piece)
            self.asked.sent += len(piece) if count else 0
            # Not time.sleep: tests of get_file replace it.
            if rate is not None and self.stopped.wait(len(piece) / rate):
                return


@lru_cache(maxsize=8)
def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _requests(connection: socket.socket) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path and the headers of each request of a connection."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            more = connection.recv(PIECE)
            if not more:
                return
            received += more
            if not received.startswith(b"GET "[: len(received)]):  # such as the start of TLS
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                return
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        yield first.split()[1], {name.strip().lower(): text.strip() for name, _, text in pairs}
