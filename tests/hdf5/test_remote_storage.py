"""Bytes from behind a URL are the file's own, or an error: whatever server, network and fork do."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from befit.errors import ArgumentError, DatasetError, MissingDependencyError
from befit.hdf5 import fetching, remote
from befit.hdf5.remote import RemoteFile, RemoteStorage

sys.path.append(str(Path(__file__).parent))
from range_server import Fault, RangeServer

CONTENT = np.random.default_rng(4).bytes(50_000)
BYTES = np.frombuffer(CONTENT, np.uint8)
RETRIES = 4
PASSING_FAULTS: list[Fault] = ["cut", "reset", "500", "503", "short", "elsewhere", "whole"]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_PAUSES", (0.0,) * RETRIES)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer(CONTENT) as server:
        yield server


@pytest.fixture
def storage(server: RangeServer) -> RemoteStorage:
    """The served file, opened; its requests are not counted."""
    storage = RemoteStorage(RemoteFile(server.url))
    server.forget()
    return storage


def rows(storage: RemoteStorage, addresses: list[int], nbytes: int) -> np.ndarray:
    return storage.rows(np.array(addresses, np.int64), nbytes)


def is_right(storage: RemoteStorage) -> bool:
    """Whether three rows far from each other are the file's."""
    addresses = np.array([40_000, 7, 20_000])
    found = storage.rows(addresses, 100)
    return bool((found == BYTES[addresses[:, None] + np.arange(100)]).all())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    addresses=st.lists(st.integers(0, len(CONTENT) - 300), max_size=40),
    nbytes=st.integers(0, 300),
    gap=st.sampled_from([0, 1, 100, 5000]),
    piece=st.sampled_from([1 << 22, 997]),
)
def test_rows_are_the_bytes_at_any_addresses(
    storage: RemoteStorage, addresses: list[int], nbytes: int, gap: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_GAP", gap)
        patch.setattr(fetching, "_PIECE", piece)
        found = rows(storage, addresses, nbytes)
    assert found.shape == (len(addresses), nbytes)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    for row, address in zip(found, addresses, strict=True):
        assert row.tobytes() == CONTENT[address : address + nbytes]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spans=st.lists(st.tuples(st.integers(0, len(CONTENT) - 3000), st.integers(0, 3000)), max_size=30),
    gap=st.sampled_from([0, 1, 100, 5000]),
    piece=st.sampled_from([1 << 22, 997]),
)
def test_spans_are_the_bytes_of_any_spans(
    storage: RemoteStorage, spans: list[tuple[int, int]], gap: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_GAP", gap)
        patch.setattr(fetching, "_PIECE", piece)
        found = storage.spans([start for start, _ in spans], [size for _, size in spans])
    assert [span.tobytes() for span in found] == [CONTENT[a : a + n] for a, n in spans]
    assert not any(span.flags.writeable for span in found if span.size)


def test_neighbours_and_duplicates_are_one_request(server: RangeServer, storage: RemoteStorage) -> None:
    rows(storage, [300, 100, 300, 200, 40_000], 100)
    assert server.ranges == [(100, 40_100)]  # a request would cost more than what lies between


def test_what_is_far_apart_is_asked_for_apart(
    server: RangeServer, storage: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_GAP", 1000)
    rows(storage, [300, 100, 300, 40_000, 1400], 100)
    assert sorted(server.ranges) == [(100, 1500), (40_000, 40_100)]
    assert server.bytes_sent == 1500


def test_a_long_span_comes_in_pieces(
    server: RangeServer, storage: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_PIECE", 20_000)
    assert storage.spans([0], [50_000])[0].tobytes() == CONTENT
    assert sorted(server.ranges) == [(0, 20_000), (20_000, 40_000), (40_000, 50_000)]


def test_requests_are_on_their_way_together(
    server: RangeServer, storage: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_GAP", 0)
    together = threading.Barrier(50, timeout=60)  # no answer before all 50 have been asked for
    server.before_answer = lambda number: together.wait()
    addresses = list(range(0, 50_000, 1000))
    assert rows(storage, addresses, 10).tobytes() == b"".join(CONTENT[a : a + 10] for a in addresses)


def test_several_threads_read_at_once(storage: RemoteStorage) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: is_right(storage), range(40)))


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_fault_that_passes_is_not_noticed(
    server: RangeServer, storage: RemoteStorage, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_GAP", 0)
    server.faults.extend([fault] * RETRIES)
    assert is_right(storage)
    assert server.requests == 3 + RETRIES


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_a_fault_that_stays_is_an_error(server: RangeServer, storage: RemoteStorage, fault: Fault) -> None:
    server.faults.extend([fault] * 50)
    with pytest.raises(DatasetError, match=f"{server.url} cannot be read: .*tried 5 times"):
        rows(storage, [5], 10)
    # Where a connection ends without an answer, aiohttp itself asks once more.
    assert 1 + RETRIES <= server.requests <= (1 + RETRIES) * (2 if fault == "reset" else 1)


def test_a_server_that_stalls_is_asked_again(server: RangeServer) -> None:
    storage = RemoteStorage(RemoteFile(server.url, {"timeout": aiohttp.ClientTimeout(sock_read=0.2)}))
    server.faults.append("stall")
    assert rows(storage, [5], 10).tobytes() == CONTENT[5:15]
    server.faults.extend(["stall"] * 50)
    with pytest.raises(DatasetError, match="no byte came in time"):
        rows(storage, [5], 10)


def test_a_request_without_options_has_an_end(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_STALLED", 0.2)
    storage = RemoteStorage(RemoteFile(server.url))
    server.faults.extend(["stall"] * 50)
    with pytest.raises(DatasetError, match="no byte came in time"):
        rows(storage, [5], 10)


def test_a_loop_that_answers_no_more_is_an_error(
    storage: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_STALLED", 0.05)
    stuck, go_on = threading.Event(), threading.Event()
    connection = storage.file._connected()

    def wait() -> None:
        stuck.set()
        go_on.wait()

    connection._loop.call_soon_threadsafe(wait)
    stuck.wait()
    with pytest.raises(DatasetError, match="thread of requests hangs"):
        rows(storage, [5], 10)
    go_on.set()
    assert rows(storage, [5], 10).tobytes() == CONTENT[5:15]


def test_an_interrupt_ends_the_wait(server: RangeServer, storage: RemoteStorage) -> None:
    server.faults.append("stall")
    main = threading.get_ident()
    server.before_answer = lambda number: signal.pthread_kill(main, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        rows(storage, [5], 10)
    server.before_answer = None
    assert is_right(storage)


def test_a_server_that_went_away_is_an_error(server: RangeServer, storage: RemoteStorage) -> None:
    assert is_right(storage)
    server.stop()
    with pytest.raises(DatasetError, match=server.url):
        is_right(storage)
    with pytest.raises(DatasetError, match=server.url):
        RemoteFile(server.url)


def test_a_server_without_ranges_is_refused(server: RangeServer) -> None:
    server.supports_ranges = False
    with pytest.raises(DatasetError, match=r"whole file when asked for a part.*befit\.get_file"):
        RemoteFile(server.url)


def other_version(server: RangeServer) -> None:
    server.content = CONTENT[::-1]
    server.modified = "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize("validators", ["etag", "weak", "date"])
def test_another_version_of_the_same_size_is_noticed(server: RangeServer, validators: Any) -> None:
    server.validators = validators
    storage = RemoteStorage(RemoteFile(server.url))
    assert is_right(storage)
    other_version(server)
    with pytest.raises(DatasetError, match="has changed since it was opened"):
        is_right(storage)


def test_another_size_is_noticed_without_validators(server: RangeServer) -> None:
    server.validators = "none"
    storage = RemoteStorage(RemoteFile(server.url))
    server.content = CONTENT + b"more"
    with pytest.raises(DatasetError, match="had 50000 bytes and has 50004"):
        is_right(storage)
    server.content = CONTENT[:30_000]  # a row is behind its end
    with pytest.raises(DatasetError, match="had 50000 bytes and has 30000"):
        is_right(storage)


def test_versions_are_never_mixed(
    server: RangeServer, storage: RemoteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_GAP", 0)
    server.before_answer = lambda number: other_version(server) if number == 3 else None
    with pytest.raises(DatasetError, match="has changed"):
        is_right(storage)


def test_a_file_that_is_not_there(server: RangeServer, storage: RemoteStorage) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        RemoteFile(server.url.replace("data", "missing"))
    server.status = 404
    with pytest.raises(DatasetError, match="gone since it was opened"):
        is_right(storage)
    assert server.requests == 2  # and not asked again


def test_an_empty_file_is_an_error(server: RangeServer) -> None:
    server.content = b""
    with pytest.raises(DatasetError, match="empty"):
        RemoteFile(server.url)


def test_addresses_outside_of_the_file_are_an_error(storage: RemoteStorage) -> None:
    for address in (-1, 49_995):
        with pytest.raises(DatasetError, match="has 50000 bytes"):
            rows(storage, [address], 10)


def test_options_reach_the_client(server: RangeServer) -> None:
    storage = RemoteStorage(RemoteFile(server.url, {"headers": {"Authorization": "Bearer abc"}}))
    is_right(storage)
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer abc"}
    assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}


def test_options_and_protocols_that_nobody_knows(server: RangeServer) -> None:
    with pytest.raises(ArgumentError, match="colour"):
        RemoteFile(server.url, {"colour": "green"})
    with pytest.raises(ArgumentError, match="gopher"):
        RemoteFile("gopher://host/data.h5")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["fsspec.registry"],
        "known_implementations",
        {"far": {"class": "no_such_package.FS", "err": "install farfs to reach far"}},
    )
    with pytest.raises(MissingDependencyError, match=r"install farfs.*befit\[remote\]"):
        RemoteFile("far://host/data.h5")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError, match=r"fsspec.*befit\[remote\]"):
        RemoteFile("far://host/data.h5")


def test_secrets_are_in_no_text(server: RangeServer) -> None:
    secret_url = server.url.replace("//", "//me:passw0rd@") + "?X-Signature=s1gnature"
    options = {"headers": {"X-Token": "t0ken"}, "client_kwargs": {"cookies": {"a": "c00kie"}}}
    file = RemoteFile(secret_url, options)
    texts = [repr(file), str(file), file.shown]
    for status in (401, 404, 418, 500):
        server.status = status
        for action in (lambda: RemoteFile(secret_url, options), lambda: file.spans([0], [1])):
            with pytest.raises(OSError, match=r"data\.h5") as caught:
                action()
            texts.append(str(caught.value))
    with pytest.raises(ArgumentError) as refused:
        RemoteFile(secret_url, {**options, "ssl": "c00kie"})
    texts.append(str(refused.value))
    for secret in ("passw0rd", "s1gnature", "t0ken", "c00kie"):
        assert not [text for text in texts if secret in text]


def test_a_pickled_file_is_the_same_version(server: RangeServer, storage: RemoteStorage) -> None:
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.file == storage.file
    assert hash(copy.file) == hash(storage.file)
    assert server.requests == 0
    assert is_right(copy)
    other_version(server)
    with pytest.raises(DatasetError, match="has changed"):
        is_right(pickle.loads(pickle.dumps(storage)))
