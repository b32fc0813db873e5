"""Downloads: as fast as the loopback goes, and from a server that is slow for each connection."""

from __future__ import annotations

from functools import partial

from benchmarks import files_peers as peers
from benchmarks.files_data import Data, Workplace, scratch
from benchmarks.files_measure import Ways, in_fresh_folders, no_more_than, show
from benchmarks.files_server import served
from benchmarks.loading_measure import Verdict

_ROUNDS = 5
_SLOW_ROUNDS = 2
_SLOW = 8e6  # bytes a second of each connection
_LATENCY = 0.05  # seconds
_CONNECTIONS = 8


def fast() -> list[Verdict]:
    """1 GiB over the loopback, verified."""
    with scratch() as folder:
        place = Workplace(folder)
        data = place.random_file(1024)
        with served(place.served) as server:
            samples = in_fresh_folders(place, _fast_ways(data, f"{server}/{data.name}"), rounds=_ROUNDS)
    note = f"{data.size:,} bytes; of befit, Keras, pooch and aria2c the digest is sha256."
    show("files fast", samples, "limit: socket, no digest", note=note)
    return [no_more_than("1 GiB, loopback, verified", samples, "limit: socket, no digest", 1.5)]


def _fast_ways(data: Data, url: str) -> Ways:
    name, sha256 = data.name, data.sha256
    ways: list[tuple[str, str | None, peers.Way]] = [
        ("limit: socket, no digest", None, lambda folder: peers.through_a_socket(url, folder / name)),
        ("befit", None, lambda folder: peers.befit(data, url, folder)),
        ("befit, 1 connection", None, lambda folder: peers.befit(data, url, folder, connections=1)),
        ("curl, no digest", "curl", lambda folder: peers.curl(url, folder / name)),
        ("curl, then sha256sum", "curl", lambda folder: peers.curl(url, folder / name, sha256)),
        ("Keras, no digest", "import keras", lambda folder: peers.keras(data, url, folder, digest=False)),
        ("Keras", "import keras", lambda folder: peers.keras(data, url, folder)),
        ("pooch", "import pooch", lambda folder: peers.pooch(data, url, folder)),
        ("aria2c -x8", "aria2c", lambda folder: peers.aria2(url, folder / name, sha256)),
    ]
    return dict(peers.offered(ways))


def slow() -> list[Verdict]:
    """128 MiB at 8 MB/s for each connection, 50 ms before each answer, verified."""
    with scratch() as folder:
        place = Workplace(folder)
        data = place.random_file(128)
        with served(place.served, rate=_SLOW, latency=_LATENCY) as server:
            url = f"{server}/{data.name}"
            samples = in_fresh_folders(place, _slow_ways(data, url), rounds=_SLOW_ROUNDS)
    base = "limit: 1 connection"
    show("files slow", samples, base, note=f"{data.size:,} bytes at {_SLOW / 1e6:g} MB/s a connection.")
    return [no_more_than("128 MiB, 8 MB/s a connection, verified", samples, base, 0.17)]


def _slow_ways(data: Data, url: str) -> Ways:
    many = partial(peers.through_sockets, size=data.size, connections=_CONNECTIONS)
    ways: list[tuple[str, str | None, peers.Way]] = [
        ("limit: 1 connection", None, lambda folder: peers.through_a_socket(url, folder / data.name)),
        (f"limit: {_CONNECTIONS} connections", None, lambda folder: many(url, folder / data.name)),
        ("befit", None, lambda folder: peers.befit(data, url, folder)),
        ("curl, no digest", "curl", lambda folder: peers.curl(url, folder / data.name)),
        ("aria2c -x8", "aria2c", lambda folder: peers.aria2(url, folder / data.name, data.sha256)),
    ]
    return dict(peers.offered(ways))
