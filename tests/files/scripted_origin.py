"""An origin that does as it is told, and a transfer from it."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager

import pytest

from befit.errors import DigestError
from befit.files import fetch
from befit.files.digest import Digest
from befit.files.options import TransferOptions
from befit.files.origin import Version
from befit.files.part import part_of
from befit.files.retry import TransientError

CONTENT = bytes(range(251)) * 4000
SHA256 = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
STRONG = Version(len(CONTENT), '"a"', is_strong=True)


class Scripted:
    """An origin: each ``open`` takes the next step of a script, which returns how many bytes it sends."""

    def __init__(self, *steps, content=CONTENT, version=STRONG):
        self.steps = list(steps)
        self.content, self.version = content, version
        self.asked, self.sent = [], 0
        self.guard = threading.Lock()
        self.cancelled = threading.Event()  # somebody stopped reading an answer

    @contextmanager
    def open(self, start, end, known):
        with self.guard:
            self.asked.append((start, end))
            step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Exception):
            raise step
        yield ScriptedBody(self, start, step)

    def close(self):
        self.closed = True


class ScriptedBody:
    media_type = ""
    has_ranges = True

    def __init__(self, origin, start, sends):
        self.origin, self.position, self.sends = origin, start, sends
        self.start, self.version, self.end = start, origin.version, origin.version.total

    def read(self, size):
        if callable(self.sends):
            return self.sends(self, size)
        if self.sends is not None:
            size = min(size, self.sends)
            self.sends -= size
            if not size:
                raise TransientError("cut")
        return self.take(size)

    def take(self, size):
        data = self.origin.content[self.position : self.position + size]
        self.position += len(data)
        with self.origin.guard:
            self.origin.sent += len(data)
        return data

    def cancel(self):
        self.origin.cancelled.set()


@pytest.fixture(name="target")
def target_fixture(tmp_path):
    return tmp_path / "file.dat"


@pytest.fixture(name="run")
def run_fixture(target, monkeypatch):
    """``run(origin)``: the bytes that a transfer brings; ``run.left`` is what it left behind."""

    def call(
        *origins, expected=None, retries=2, connections=1, read_timeout=30.0, work=lambda file: file.read()
    ):
        by_url = {f"http://h{number}/x": origin for number, origin in enumerate(origins)}
        monkeypatch.setattr(fetch, "open_origin", lambda url, options: by_url[url])

        def verify(url, digests, media_type):
            if expected is not None and digests != {expected.algorithm: expected}:
                raise DigestError(f"{url} is wrong")

        with part_of(target, "http://h0/x", expected) as part:
            fetched = fetch.fetch(
                list(by_url),
                part,
                ["sha256"],
                TransferOptions({}, 30.0, read_timeout, retries, connections, progress=False),
                verify=verify,
                work=work,
                description="x",
            )
            content = part.path.read_bytes()
        assert fetched.result == content, "what was read meanwhile is what came"
        assert fetched.digests["sha256"].hexdigest == hashlib.sha256(content).hexdigest()
        assert list(target.parent.iterdir()) == []
        return content

    return call
