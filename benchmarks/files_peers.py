"""The peers of `get_file`, and what none of them can be faster than."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from befit import get_file
from benchmarks.files_data import Data

_CHUNK = 1 << 20

Way = Callable[[Path], object]
"""What is done with an empty folder."""


def can(name: str) -> bool:
    """Whether a program or, with `import `, a module is there."""
    if name.startswith("import "):
        return importlib.util.find_spec(name.removeprefix("import ")) is not None
    return shutil.which(name) is not None


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


# Downloads


def through_a_socket(url: str, target: Path, *, start: int = 0, stop: int | None = None) -> None:
    """The limit: what comes is written as it comes, and nobody looks at it."""
    parts = urlsplit(url)
    asked = f"GET {parts.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    if stop is not None:
        asked += f"Range: bytes={start}-{stop - 1}\r\n"
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(f"{asked}\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(_CHUNK)
            body = head.partition(b"\r\n\r\n")[2]
            start += os.pwrite(descriptor, body, start)
            while count := connection.recv_into(buffer):
                start += os.pwrite(descriptor, view[:count], start)
    finally:
        os.close(descriptor)


def through_sockets(url: str, target: Path, size: int, connections: int) -> None:
    """The limit with many connections: parts of one size, each known from the start."""
    cuts = [size * number // connections for number in range(connections + 1)]
    readers = [
        threading.Thread(target=through_a_socket, args=(url, target), kwargs={"start": start, "stop": stop})
        for start, stop in itertools.pairwise(cuts)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if target.stat().st_size != size:
        raise RuntimeError(f"{target.stat().st_size} bytes came, not {size}")


def curl(url: str, target: Path, sha256: str | None = None) -> None:
    run("curl", "--silent", "--show-error", "--fail", "--output", target, url)
    if sha256 is not None:
        subprocess.run(
            ["sha256sum", "--check", "--status"], input=f"{sha256}  {target}", check=True, text=True
        )


def aria2(url: str, target: Path, sha256: str, connections: int = 8) -> None:
    many = [f"--max-connection-per-server={connections}", f"--split={connections}", "--min-split-size=1M"]
    checked = [f"--checksum=sha-256={sha256}", "--file-allocation=none", "--quiet"]
    run("aria2c", *many, *checked, f"--dir={target.parent}", f"--out={target.name}", url)


def keras(data: Data, url: str, folder: Path, *, digest: bool = True, extract: bool = False) -> str:
    import keras as keras_package

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        path: str = keras_package.utils.get_file(
            data.name, url, cache_dir=folder, file_hash=data.sha256 if digest else None, extract=extract
        )
    return path


def pooch(data: Data, url: str, folder: Path, *, extract: bool = False) -> object:
    import pooch as pooch_package

    pooch_package.get_logger().setLevel("ERROR")
    return pooch_package.retrieve(
        url,
        f"sha256:{data.sha256}",
        data.name,
        folder,
        processor=pooch_package.Untar() if extract else None,
    )


def befit(data: Data, url: str, folder: Path, **options: Any) -> str:
    return get_file(data.name, url, file_hash=data.sha256, cache_dir=folder, progress=False, **options)


# Archives


def stdlib_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")


def keras_tar(archive: Path, folder: Path) -> None:
    from keras.src.utils.file_utils import extract_archive

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        extract_archive(str(archive), str(folder), "tar")


def pooch_tar(archive: Path, folder: Path) -> None:
    import pooch as pooch_package

    pooch_package.get_logger().setLevel("ERROR")
    pooch_package.Untar(extract_dir=str(folder / "out"))(str(archive), "download", None)


def program_tar(program: str, archive: Path, folder: Path) -> None:
    run(program, "-xzf", archive, "-C", folder)


def piped_tar(url: str, folder: Path) -> None:
    """The limit of a download that is extracted on the way: nothing is kept, nothing verified."""
    with subprocess.Popen(["curl", "--silent", "--fail", url], stdout=subprocess.PIPE) as download:
        subprocess.run(["tar", "-xz", "-C", str(folder)], stdin=download.stdout, check=True)


def offered(ways: Iterable[tuple[str, str | None, Way]]) -> Iterator[tuple[str, Way]]:
    """Yield name and way of those whose program or module, if they need one, is there."""
    for name, needed, way in ways:
        if needed is None or can(needed):
            yield name, way


@functools.cache
def absent() -> str:
    """The peers that are not installed, for a note below a table."""
    wanted = ("curl", "aria2c", "tar", "bsdtar", "import keras", "import pooch")
    gone = [name.removeprefix("import ") for name in wanted if not can(name)]
    return f"Not installed, therefore not measured: {', '.join(gone)}." if gone else ""
