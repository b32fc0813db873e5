"""A web server on the loopback that answers range requests, slowly or wrongly as a test asks.

``RangeServer`` runs in threads of this process; ``served`` runs one in a process of its own, so that a
measurement does not share the interpreter with it. Both end with their ``with`` block.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Literal

Fault = Literal[
    "cut",  # the connection ends in the middle of the body
    "reset",  # the connection ends before the answer
    "500",
    "503",
    "short",  # a correct answer for half of the range
    "elsewhere",  # a correct answer for other bytes of the file
    "whole",  # 200 and the whole file
    "stall",  # the headers and half of the body, then nothing until the server stops
]


class RangeServer(ThreadingHTTPServer):
    """Serves one file under every path but ``/missing``; counts what it is asked for."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, content: bytes, latency: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.latency = latency  # seconds before every answer
        self.supports_ranges = True
        self.status: int | None = None  # answered to everything
        self.validators: Literal["etag", "weak", "date", "none"] = "etag"
        self.modified = "Mon, 01 Jan 2024 00:00:00 GMT"
        self.faults: deque[Fault] = deque()  # one for each of the next requests
        self.ranges: list[tuple[int, int] | None] = []  # asked for; None: the whole file
        self.headers: list[dict[str, str]] = []
        self.bytes_sent = 0
        self.before_answer: Any = None  # called with the number of the request
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[Any] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.h5"

    @property
    def requests(self) -> int:
        return len(self.ranges)

    @property
    def etag(self) -> str:
        digest = hashlib.sha256(self.content).hexdigest()[:16]
        return f'W/"{digest}"' if self.validators == "weak" else f'"{digest}"'

    def forget(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self.ranges, self.headers, self.bytes_sent = [], [], 0

    def count(self, wanted: tuple[int, int] | None, headers: dict[str, str]) -> tuple[int, Fault | None]:
        with self._lock:
            self.ranges.append(wanted)
            self.headers.append(headers)
            return len(self.ranges), self.faults.popleft() if self.faults else None

    def count_bytes(self, nbytes: int) -> None:
        with self._lock:
            self.bytes_sent += nbytes

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""

    def stop(self) -> None:
        """Refuse new connections and end the open ones."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(2)
        self._thread.join()

    def __exit__(self, *error: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer
    wbufsize = 1 << 18  # headers and body in one packet
    disable_nagle_algorithm = True
    statuses: ClassVar[dict[str, int]] = {"500": 500, "503": 503}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server = self.server
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        wanted = (int(match[1]), int(match[2]) + 1) if match else None
        number, fault = server.count(wanted, dict(self.headers))
        if server.latency:
            time.sleep(server.latency)
        if server.before_answer is not None:
            server.before_answer(number)
        if fault == "reset":
            self.close_connection = True
            return
        status = 404 if self.path.startswith("/missing") else server.status
        status = self.statuses.get(fault or "", status)
        if status is not None:
            self._answer(status, b"no", {})
            return
        content = server.content
        headers = {}
        if server.validators in ("etag", "weak"):
            headers["ETag"] = server.etag
        if server.validators != "none":
            headers["Last-Modified"] = server.modified
        if wanted is None or not server.supports_ranges or fault == "whole":
            self._answer(200, content, headers)
            return
        start, stop = wanted[0], min(wanted[1], len(content))
        if start >= stop:
            self._answer(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
            return
        if fault == "short":
            stop = start + (stop - start) // 2
        if fault == "elsewhere":
            start, stop = (start - 1, stop - 1) if start else (start + 1, stop + 1)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self._answer(206, content[start:stop], headers, fault)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault in ("cut", "stall"):
            body = body[: len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)
        self.server.count_bytes(len(body))
        if fault == "stall":
            self.wfile.flush()
            self.server.stopped.wait()

    def log_message(self, *arguments: Any) -> None:
        """Write no lines."""


def served(path: Path, latency: float) -> AbstractContextManager[str]:
    """Serve the file in a process of its own; gives the URL."""
    return started([sys.executable, __file__, str(path), "--latency", str(latency)])


@contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """Run a server that prints its URL and ends with its standard input; gives the URL."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()  # its end is what the server waits for, so that it never outlives us


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    arguments = parser.parse_args()
    with RangeServer(arguments.path.read_bytes(), arguments.latency) as server:
        server.validators = "date"  # no digest of the whole content for each request
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
