"""Fixtures around ``HostileServer``; a test module imports them from here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hostile_server import Fault, HostileServer

from befit.errors import BefitError
from befit.files import get_file
from befit.files.pace import Pace

MOST_REQUESTS = 400  # of one call: sixteen parts, each halved until nothing is left of it, and some


@pytest.fixture(name="hostile")
def hostile_fixture() -> Iterator[Callable[..., HostileServer]]:
    """``hostile(content, *faults, **settings)``: a server; none was asked without bounds in the end."""
    servers: list[HostileServer] = []
    with ExitStack() as stack:

        def start(
            content: bytes, *faults: Fault, certificate: Path | None = None, **settings: Any
        ) -> HostileServer:
            server = HostileServer(content, certificate=certificate, faults=faults)
            for name, value in settings.items():
                assert hasattr(server, name)
                setattr(server, name, value)
            servers.append(stack.enter_context(server))
            return server

        yield start
    assert all(len(server.asked) <= MOST_REQUESTS for server in servers)


@pytest.fixture(name="get", params=[1, 8], ids=["1 connection", "8 connections"])
def get_fixture(
    cache: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., bytes]:
    """``get(server or URL, **options)``: what ``get_file`` stored; in its folder lies what belongs there."""
    folder = cache / "datasets"
    if request.param > 1:
        many_connections(monkeypatch)

    def call(server: HostileServer | str, *, fname: str = "data.bin", **options: Any) -> bytes:
        options = {"connections": request.param, **options}
        url = server if isinstance(server, str) else server.url
        try:
            path = Path(get_file(fname, url, cache_dir=cache, progress=False, **options))
        except BefitError:
            assert not (folder / fname).exists()
            assert not strangers(folder)
            raise
        assert path == folder / fname
        assert not strangers(folder) - {fname}
        return path.read_bytes()

    return call


def many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read small files by many connections at once, too, however fast they come."""

    class Eager(Pace):
        def look(self, now: float, received: int, remaining: int | None, latency: float) -> None:
            if not self._is_settled:
                self.wanted = self._most

    monkeypatch.setattr("befit.files.transfer.Pace", Eager)
    monkeypatch.setattr("befit.files.transfer._TICK", 0.001)
    monkeypatch.setattr("befit.files.connection.SMALLEST", 1 << 17)
    monkeypatch.setattr("befit.files.transfer.SMALLEST", 1 << 17)
    monkeypatch.setattr("befit.files.connection._LARGEST", 1 << 19)
    monkeypatch.setattr("befit.files.connection.CHUNK", 1 << 16)


def strangers(folder: Path) -> set[str]:
    """What lies in a folder of ``get_file``, except its records and what is left of unfinished transfers."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
