"""Long campaigns for downloads: servers that fail at random, processes that are killed, many at once."""

from __future__ import annotations

import faulthandler
import hashlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from befit.errors import BefitError
from befit.files import get_file

sys.path.append(str(Path(__file__).parents[1] / "files"))
from hostile_faults import (
    both,
    cut,
    flip,
    gzipped,
    headers,
    how,
    in_ranges,
    later,
    lie,
    page,
    redirect,
    refuse,
)
from hostile_fixtures import many_connections
from hostile_server import Fault, HostileServer

pytestmark = pytest.mark.soak

SCHEDULES = 1_000
KILLS = 500
PROCESSES = 16
WATCHDOG = 60  # seconds, then every stack is printed and the run ends
MOST_REQUESTS = 200  # of one call with all its mirrors
BODY = random.Random(0).randbytes(3 << 20)
OTHER = random.Random(1).randbytes(3 << 20)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine that runs this."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


# Random faults


def honest_faults(chance: random.Random) -> list[Fault]:
    """A server that breaks off, refuses and hangs up, and yet never says what is not so."""
    size = len(BODY)
    return [
        cut(chance.randrange(size)),
        cut(chance.randrange(size), reset=True),
        cut(-1, reset=chance.random() < 0.5),
        cut(chance.randrange(200)),
        how(stall=chance.randrange(size)),
        how(stall=0),
        how(silent=True),
        how(silent=True, reset=True),
        how(leaves=True),
        how(framing="chunked"),
        both(how(framing="chunked"), cut(chance.randrange(size))),
        both(how(framing="close"), cut(chance.randrange(size), reset=True)),
        refuse(chance.choice([408, 425, 429, 500, 502, 503, 504])),
        refuse(503, retry_after=chance.choice(["1", "1000000000", "Wed, 21 Oct 2015 07:28:00 GMT", "?"])),
        redirect("/elsewhere.bin"),
        gzipped,
        in_ranges(headers(content_range=None)),
        in_ranges(headers(etag='"another"')),
        later(chance.randrange(1, 99)),
        how(head_rate=20_000),
    ]


def lying_faults(chance: random.Random) -> list[Fault]:
    """A server that gives wrong bytes as if they were right."""
    return [
        flip(chance.randrange(len(BODY))),
        both(flip(5), cut(chance.randrange(len(BODY)))),
        lie(chance.choice([-1000, -1, 1, 1000])),
        in_ranges(how(body=OTHER[:1000])),
        both(how(framing="close"), cut(chance.randrange(len(BODY)))),
        page(),
        how(body=OTHER),
    ]


def scheduled(chance: random.Random, server: HostileServer, *, lies: bool) -> None:
    """Give a server its faults, perhaps one for ever, and perhaps another content later."""
    choose = lambda: chance.choice(honest_faults(chance) + (lying_faults(chance) if lies else []))  # noqa: E731
    for _ in range(chance.randrange(12)):
        server.faults.append(choose() if chance.random() < 0.7 else lambda reply: reply)
    if chance.random() < 0.15:
        server.always = choose()
    server.supports_ranges = chance.random() < 0.85
    if chance.random() < 0.3:
        change = chance.randrange(1, 8)

        def changed(number: int) -> None:
            if number == change:
                server.content = OTHER if chance.random() < 0.7 else BODY

        server.before_answer = changed


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("mirrors", [0, 2], ids=["alone", "mirrors"])
@pytest.mark.parametrize("validator", ["strong", "weak", "none"])
@pytest.mark.parametrize("digest", [SHA256, None], ids=["digest", "no digest"])
def test_random_faults(connections, mirrors, validator, digest, tmp_path, monkeypatch) -> None:
    """The right bytes or an error, in bounded time and requests; a second call to a healthy server succeeds.

    Without a digest the servers may break off and refuse and change their file, but not lie; then the right
    bytes are those of one of the versions.
    """
    monkeypatch.setattr("befit.files.retry.time.sleep", lambda _: None)
    if connections > 1:
        many_connections(monkeypatch)
    chance = random.Random(f"{connections} {mirrors} {validator} {digest}")
    right = failed = 0
    for number in range(SCHEDULES // 24 + 1):
        cache = tmp_path / str(number)
        with ExitStack() as stack:
            servers = [stack.enter_context(HostileServer(BODY)) for _ in range(1 + mirrors)]
            for server in servers:
                server.etag = validator
                server.modified = None if validator == "none" else server.modified
                server.honours_if_range = chance.random() < 0.8
                scheduled(chance, server, lies=digest is not None)
            first, *others = [server.url for server in servers]

            def call(url: str, *also: str, patience: float = 10.0) -> bytes:
                path = get_file(
                    "data.bin",
                    url,
                    file_hash=digest,
                    cache_dir=cache,  # noqa: B023 (called below only)
                    mirrors=also,
                    connections=connections,
                    timeout=(5.0, patience),
                    progress=False,
                )
                return Path(path).read_bytes()

            versions = (BODY,) if digest else (BODY, OTHER)
            with watchdog():
                try:
                    assert call(first, *others, patience=0.15) in versions, (
                        f"wrong bytes in schedule {number}"
                    )
                    right += 1
                except BefitError:
                    failed += 1
                    assert visible(cache) == set()
                assert sum(len(server.asked) for server in servers) <= MOST_REQUESTS
                with HostileServer(BODY) as healthy:
                    assert call(healthy.url) in versions
            assert visible(cache) == {"data.bin"}
            assert not unfinished(cache)
        shutil.rmtree(cache)
    print(f"\n{right} right, {failed} refused")
    assert right > 5


def visible(cache: Path) -> set[str]:
    return {path.name for path in (cache / "datasets").iterdir() if not path.name.startswith(".")}


def unfinished(cache: Path) -> list[str]:
    """Hidden names that are neither locks nor records."""
    hidden = (path.name for path in (cache / "datasets").iterdir() if path.name.startswith("."))
    return [name for name in hidden if not name.endswith((".lock", ".json"))]


# Killed processes

READY = "import sys; from befit.files import get_file; import befit.files.http; print('ready', flush=True)\n"
# Connections are added, and what has come is noted, as often as in a download that takes ten seconds.
OFTEN = """
from befit.files import pace, transfer
pace._WINDOW, pace._WORTH, transfer._TICK, transfer._SAVE_EVERY = 0.02, 0.02, 0.005, 0.02
"""
EXTRACT = "get_file('flower', sys.argv[1], untar=True, cache_dir=sys.argv[2], progress=False, connections={})"


def members() -> dict[str, bytes]:
    random_bytes = random.Random(0).randbytes
    return {f"{i % 7}/{i}.bin": random_bytes(20_000) for i in range(400)}


def tar_gz(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(f"flower/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def tree(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def start(url: str, cache: Path, connections: int) -> subprocess.Popen[str]:
    """A process that is about to call ``get_file``."""
    command = [sys.executable, "-c", OFTEN + READY + EXTRACT.format(connections), url, str(cache)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def test_kill_9_at_random_moments_of_download_and_extraction(tmp_path: Path) -> None:
    """The next call succeeds, the folder holds nothing else, and what had come is not fetched again."""
    content = members()
    archive = tar_gz(content)
    chance = random.Random(1)
    killed = after_bytes = resumed = 0
    fetched_again = 0.0
    with HostileServer(archive) as server:
        server.rate = 20e6  # bytes a second of each connection
        for number in range(KILLS):
            connections = chance.choice([1, 8])
            cache = tmp_path / str(number)
            with start(server.url, cache, connections) as process:
                # Until a moment of the download, or of the extraction and what follows it.
                goal = chance.randrange(int(1.2 * len(archive)))
                until = time.monotonic() + WATCHDOG
                while server.bytes_sent < min(goal, len(archive)) and process.poll() is None:
                    assert time.monotonic() < until
                    server.stopped.wait(0.001)
                if goal >= len(archive):
                    server.stopped.wait(chance.uniform(0, 0.15))
                process.send_signal(signal.SIGKILL)
                was_killed = process.wait() == -signal.SIGKILL
            came = server.bytes_sent
            server.forget()
            folder = Path(
                get_file("flower", server.url, untar=True, cache_dir=cache, progress=False, connections=8)
            )
            assert tree(folder) == content
            assert visible(cache) == {"flower", "flower.tar.gz"}
            assert not unfinished(cache)
            killed += was_killed
            if was_killed and came > 1 << 20 and server.asked:
                after_bytes += 1
                resumed += all(asked.start > 0 for asked in server.asked)
                fetched_again += max(0, came + server.bytes_sent - len(archive)) / len(archive)
            server.forget()
            shutil.rmtree(cache)
    print(
        f"\n{killed} of {KILLS} killed; of {after_bytes} with more than 1 MiB of the file {resumed} went on"
    )
    print(f"and fetched {fetched_again / after_bytes:.0%} of the file twice, on average")
    assert killed > KILLS // 2
    assert resumed > 0.8 * after_bytes


# Many at once

WAIT_AND_GET = """
import hashlib, json, sys
from befit.files import get_file
import befit.files.http
print("ready", flush=True)
sys.stdin.readline()
path = get_file("data.bin", sys.argv[1], file_hash=sys.argv[3] or None, cache_dir=sys.argv[2], progress=False)
print(json.dumps([path, hashlib.sha256(open(path, "rb").read()).hexdigest()]))
"""


@pytest.mark.parametrize("digest", [SHA256, ""], ids=["digest", "no digest"])
@pytest.mark.parametrize("rate", [None, 4e6], ids=["fast", "slow"])
def test_many_processes_at_once(digest: str, rate: float | None, tmp_path: Path) -> None:
    """Cold, all at the same moment: every byte is sent once, and all get the file."""
    body = BODY * 8 if rate else BODY
    sha256 = hashlib.sha256(body).hexdigest()
    with HostileServer(body) as server, watchdog():
        server.rate = rate
        command = [sys.executable, "-c", WAIT_AND_GET, server.url, str(tmp_path), sha256 if digest else ""]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        for process in processes:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate()[0]) for process in processes]
        assert {tuple(answer) for answer in answers} == {(str(tmp_path / "datasets" / "data.bin"), sha256)}
        print(f"\n{len(server.asked)} requests, {server.bytes_sent / len(body):.3f} times the file")
        assert sum(asked.range is None for asked in server.asked) == 1
        assert server.bytes_sent <= 1.1 * len(body), "what a connection had asked for and another one brought"
        if rate is None:
            assert len(server.asked) == 1
    assert visible(tmp_path) == {"data.bin"}
    assert not unfinished(tmp_path)
