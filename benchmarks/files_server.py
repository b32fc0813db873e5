"""A web server on the loopback, in a process of its own: as fast as the system sends files, or slow.

HTTP/1.1 with keep-alive, Range, If-Range and ETag. `python -m benchmarks.files_server FOLDER` is one.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
import threading
import time
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.hdf5.range_server import started

_TICKS = 100  # slices of a second's bytes
_MOST = 1 << 30  # bytes of one sendfile


class _Bucket:
    """Lets so many bytes through a second, and no burst after a pause."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = time.monotonic()
        self._lock = threading.Lock()

    @property
    def slice(self) -> int:
        return max(1, int(self._rate / _TICKS))

    def wait(self, nbytes: int) -> None:
        with self._lock:
            self._due = max(self._due, time.monotonic() - 1 / _TICKS) + nbytes / self._rate
            pause = self._due - time.monotonic()
        if pause > 0:
            time.sleep(pause)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, rate: float, total: float, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.rate = rate
        self.latency = latency
        self.total = _Bucket(total) if total else None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.bucket = _Bucket(self.server.rate) if self.server.rate else self.server.total

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.server.latency:
            time.sleep(self.server.latency)
        with open(self.server.folder / self.path.lstrip("/"), "rb") as file:
            found = os.fstat(file.fileno())
            etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if match is None or self.headers.get("If-Range", etag) != etag:
                start, stop = 0, found.st_size
                self.send_response(200)
            else:
                start = int(match[1])
                stop = min(int(match[2]) + 1 if match[2] else found.st_size, found.st_size)
                if start >= stop:
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{found.st_size}")
            self.send_header("ETag", etag)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            if self.command == "GET":
                self._send(file.fileno(), start, stop)

    def _send(self, file: int, start: int, stop: int) -> None:
        self.wfile.flush()
        most = _MOST if self.bucket is None else self.bucket.slice
        while start < stop:
            sent = os.sendfile(self.connection.fileno(), file, start, min(most, stop - start))
            if self.bucket is not None:
                self.bucket.wait(sent)
            start += sent

    def log_message(self, *_: object) -> None:
        pass


def served(
    folder: Path, *, rate: float = 0, total: float = 0, latency: float = 0
) -> AbstractContextManager[str]:
    """Serve the files of a folder; gives the URL of the folder.

    Args:
        rate: Bytes a second of each connection; 0: as fast as it goes.
        total: Bytes a second of all connections together.
        latency: Seconds before each answer.
    """
    for name in ("no_proxy", "NO_PROXY"):  # also for the programs that are started
        os.environ[name] = "127.0.0.1"
    command = [sys.executable, "-m", "benchmarks.files_server", str(folder)]
    command += [f"--rate={rate}", f"--total={total}", f"--latency={latency}"]
    return started(command)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("rate", "total", "latency"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    arguments = parser.parse_args()
    with _Server(**vars(arguments)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        server.shutdown()
        server.socket.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
