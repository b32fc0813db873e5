"""Ranges of bytes behind a URL: fsspec's clients, their answers checked and, where it may help, asked again.

Requests run in an event loop of befit's own, one daemon thread for each process; whoever wants bytes waits
for it. What a process inherits by a fork belongs to its parent: the child keeps it untouched and connects
anew.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import os
import random
import re
import selectors
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from befit._internal.optional import require
from befit.errors import ArgumentError, DatasetError, MissingDependencyError
from befit.typing import Array

Stamp: TypeAlias = tuple[int, str | None]
"""Size in bytes, and what the protocol calls this version of the file: an ETag, or a time of change."""

_T = TypeVar("_T")

_PIECE = 1 << 22  # bytes of a request at most, so that long ranges come over several connections
_AT_ONCE = 64  # requests; aiohttp opens 100 connections at most
_STALLED = 60.0  # seconds without a byte
_LONGEST = 300.0  # seconds for a request, where the client does not tell whether bytes come
_PAUSES = (0.1, 0.3, 1.0, 3.0)  # seconds between the attempts
_PASSING = {408, 425, 429}  # and every 5xx

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")
_VERSION_KEYS = ("ETag", "etag", "e_tag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified")
_PERMANENT = (PermissionError, IsADirectoryError, TypeError, ValueError, ImportError, NotImplementedError)


class Address:
    """A URL and the options of its client, shown without what they keep secret."""

    def __init__(self, url: str, options: Mapping[str, Any] | None) -> None:
        self.url = url
        self.options = dict(options or {})
        start, _, query = url.partition("?")
        scheme, _, rest = start.rpartition("://")
        host, slash, path = rest.partition("/")
        user, _, host = host.rpartition("@")
        self.shown = f"{scheme}://{host}{slash}{path}" + ("?…" if query else "")  # a query may be a signature
        self._secrets = [query, user.partition(":")[2], *_strings(self.options)]

    def words(self, error: BaseException) -> str:
        """Return what ``error`` says."""
        status = getattr(error, "status", None)  # aiohttp's text of a bad answer has the whole URL
        text = f"{status} {getattr(error, 'message', '')}" if isinstance(status, int) else str(error)
        for secret in sorted(self._secrets, key=len, reverse=True):
            if len(secret) > 2:  # shorter ones are parts of words
                text = text.replace(secret, "…")
        return f"{type(error).__name__}: {text}" if text else type(error).__name__


def compare(shown: str, found: Stamp, stamp: Stamp) -> None:
    """See whether a file is what it was, as far as both stamps say.

    Raises:
        DatasetError: it is not.
    """
    (size, version), (old_size, old_version) = found, stamp
    if size != old_size or (version != old_version and None not in (version, old_version)):
        change = f"had {old_size} bytes and has {size}" if size != old_size else "is another version"
        raise DatasetError(f"{shown} has changed since it was opened: it {change}; make a new HDF5Matrix")


class Connection:
    """One file in one process, through the client that fsspec has for its protocol.

    Raises:
        ArgumentError: nobody knows the protocol, or its client does not take the options.
        MissingDependencyError: a package that the protocol needs is not installed.
    """

    def __init__(self, address: Address) -> None:
        self.process = os.getpid()
        self._address = address
        self._loop = _event_loop()
        self._client = _connect(address, self._loop)
        self._gate = asyncio.Semaphore(_AT_ONCE)
        _connections.add(self)

    def stamp(self) -> Stamp:
        """Ask what the file is now.

        Raises:
            FileNotFoundError: there is no such file.
            DatasetError: the file cannot be read, or not in parts.
        """
        return self._run(self._retried(self._client.stamp))

    def read(self, ranges: Sequence[tuple[int, int]], buffer: Array, stamp: Stamp) -> None:
        """Fill ``buffer`` with the bytes of the ranges ``(start, stop)``, one after the other.

        Raises:
            DatasetError: the file has changed, or its bytes do not come; ``buffer`` then holds anything.
        """
        try:
            self._run(self._fill(ranges, buffer, stamp))
        except FileNotFoundError:
            raise DatasetError(f"{self._address.shown} is gone since it was opened") from None

    async def _fill(self, ranges: Sequence[tuple[int, int]], buffer: Array, stamp: Stamp) -> None:
        async def fetch(start: int, stop: int, target: Array) -> None:
            async with self._gate:
                data = await self._retried(lambda: self._client.get(start, stop, stamp))
            target[:] = np.frombuffer(data, np.uint8)

        try:
            async with asyncio.TaskGroup() as group:
                for (start, stop), target in _pieces(ranges, buffer):
                    group.create_task(fetch(start, stop, target))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if not self._client.states_version:
            compare(self._address.shown, await self._retried(self._client.stamp), stamp)

    async def _retried(self, request: Callable[[], Awaitable[_T]]) -> _T:
        for pause in (*_PAUSES, None):
            try:
                return await request()
            except _TransientError as error:
                failure = str(error)
            if pause is not None:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        raise DatasetError(f"{self._address.shown} cannot be read: {failure}; tried {len(_PAUSES) + 1} times")

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for ``work``; each request in it ends in time, and so does a loop that answers no more."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        alive, asked = threading.Event(), time.monotonic()
        self._loop.call_soon_threadsafe(alive.set)
        try:
            while True:
                concurrent.futures.wait([future], timeout=1.0)  # where longer waits cannot be interrupted
                if future.done():
                    return future.result()
                if alive.is_set():
                    alive.clear()
                    asked = time.monotonic()
                    self._loop.call_soon_threadsafe(alive.set)
                elif time.monotonic() > asked + _STALLED:
                    raise DatasetError(f"{self._address.shown} cannot be read: the thread of requests hangs")
        except BaseException:
            future.cancel()  # after Ctrl-C nobody wants the bytes
            raise


class _TransientError(Exception):
    """A request failed in a way that may pass."""


class _Client(Protocol):
    """How the bytes of one file come."""

    states_version: bool
    """Whether ``get`` sees for itself that the file has changed."""

    async def stamp(self) -> Stamp:
        """Ask what the file is now."""

    async def get(self, start: int, stop: int, stamp: Stamp) -> bytes:
        """Return all the bytes of a range."""


def _connect(address: Address, loop: asyncio.AbstractEventLoop) -> _Client:
    purpose = f"reading {address.shown}"
    fsspec = require("fsspec", extra="remote", purpose=purpose)
    options = {
        key: dict(value) if isinstance(value, dict) else value for key, value in address.options.items()
    }
    try:
        scheme = address.url.partition("://")[0].partition("::")[0]
        # A chain, as simplecache::https://…, has a client in a client; only the outer one would get our loop.
        is_async = "::" not in address.url and fsspec.get_filesystem_class(scheme).async_impl
        if is_async:
            options["loop"] = loop
        fs, path = fsspec.core.url_to_fs(address.url, skip_instance_cache=True, **options)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs a package that is not installed ({address.words(error)}); for http and https "
            'write: pip install "befit[remote]"'
        ) from None
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{address.shown} and its storage_options: {address.words(error)}") from None
    if any(cls.__module__ == "fsspec.implementations.http" for cls in type(fs).__mro__):
        return _HTTP(fs, path, address)
    return _AnyProtocol(fs, path, address, is_async)


class _HTTP:
    """Requests in fsspec's session; fsspec's own ``cat_file`` would take whatever comes for the range."""

    states_version = True

    def __init__(self, fs: Any, path: str, address: Address) -> None:
        self._fs, self._path, self._address = fs, path, address
        self._aiohttp = require("aiohttp", extra="remote", purpose=f"reading {address.shown}")
        self._options = dict(fs.kwargs)
        self._headers = dict(self._options.pop("headers", {}))
        if "timeout" not in fs.client_kwargs:
            patience = self._aiohttp.ClientTimeout(total=None, connect=_STALLED, sock_read=_STALLED)
            self._options.setdefault("timeout", patience)

    async def stamp(self) -> Stamp:
        """Ask for a few bytes: not every server answers HEAD, and this shows whether it knows ranges."""
        return (await self._request(0, 8, None))[1]

    async def get(self, start: int, stop: int, stamp: Stamp) -> bytes:
        return (await self._request(start, stop, stamp))[0]

    async def _request(self, start: int, stop: int, stamp: Stamp | None) -> tuple[bytes, Stamp]:
        headers = {**self._headers, "Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        aiohttp, address = self._aiohttp, self._address
        try:
            session = await self._fs.set_session()
            url = self._fs.encode_url(self._path)
            async with session.get(url, headers=headers, **self._options) as response:
                found = self._check_answer(response, start, stop, stamp)
                return await response.content.readexactly(min(stop, found[0]) - start), found
        except (TypeError, ValueError) as error:  # aiohttp's InvalidURL is one
            raise ArgumentError(f"{address.shown} and its storage_options: {address.words(error)}") from None
        except aiohttp.ClientSSLError as error:
            raise DatasetError(f"no secure connection to {address.shown}: {address.words(error)}") from None
        except TimeoutError:
            raise _TransientError("no byte came in time") from None
        except (aiohttp.ClientError, ConnectionError, EOFError) as error:
            raise _TransientError(address.words(error)) from None

    def _check_answer(self, response: Any, start: int, stop: int, stamp: Stamp | None) -> Stamp:
        """Return what the file is, if the answer is what was asked for."""
        shown, status, headers = self._address.shown, response.status, response.headers
        answer = f"the server answered {status} {response.reason}"
        if status in _PASSING or status >= 500:
            raise _TransientError(answer)
        if status in (404, 410):
            raise FileNotFoundError(errno.ENOENT, "there is no HDF5 file", shown)
        if status in (401, 403, 407):
            raise DatasetError(
                f"{shown} is not given to us ({answer}); if the server wants to know who asks, pass "
                "storage_options={'headers': {'Authorization': …}}"
            )
        if status not in (200, 206, 416):
            raise DatasetError(f"{shown} cannot be read: {answer} and not a range of bytes")
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        length = match[3] if match is not None else headers.get("Content-Length")
        if stamp is not None:
            versions = {headers.get("ETag"), headers.get("Last-Modified")} - {None}
            same = not versions or stamp[1] in versions
            compare(shown, (int(length or stamp[0]), stamp[1] if same else "another"), stamp)
        if headers.get("Content-Encoding", "identity") != "identity":
            raise DatasetError(f"{shown} is compressed on its way; download it first (befit.get_file)")
        if status == 200:
            raise _TransientError(
                "the server sends the whole file when asked for a part of it; download the file first "
                "(befit.get_file) and open the copy"
            )
        if status == 416 or match is None or length is None:
            raise DatasetError(f"{shown} is empty, or the server does not say how long it is ({answer})")
        size = int(length)
        if (match[1], match[2]) != (str(start), str(min(stop, size) - 1)):
            raise _TransientError(f"bytes {match[1]}-{match[2]} came when {start}-{stop - 1} were asked for")
        return size, headers.get("ETag") or headers.get("Last-Modified")


class _AnyProtocol:
    """What fsspec offers for all of them; one request at a time where the client is not made for more."""

    states_version = False

    def __init__(self, fs: Any, path: str, address: Address, is_async: bool) -> None:
        self._fs, self._path, self._address, self._is_async = fs, path, address, is_async
        self._alone = asyncio.Lock()

    async def stamp(self) -> Stamp:
        self._fs.invalidate_cache(self._path)
        info = await self._call("info", self._path)
        if info.get("type") == "directory":
            raise DatasetError(f"{self._address.shown} is a folder; pass the URL of an HDF5 file in it")
        if not info.get("size"):
            raise DatasetError(f"{self._address.shown} is empty, or its size is not known")
        version = next((info[key] for key in (*_VERSION_KEYS, "updated", "created") if info.get(key)), None)
        return int(info["size"]), None if version is None else str(version)

    async def get(self, start: int, stop: int, stamp: Stamp) -> bytes:
        data: bytes = await self._call("cat_file", self._path, start, stop)
        if len(data) != stop - start:
            raise _TransientError(f"{len(data)} bytes came when {stop - start} were asked for")
        return data

    async def _call(self, method: str, *arguments: Any) -> Any:
        shown = self._address.shown
        try:
            if self._is_async:
                return await asyncio.wait_for(getattr(self._fs, f"_{method}")(*arguments), _LONGEST)
            async with self._alone:
                call = asyncio.to_thread(getattr(self._fs, method), *arguments)
                return await asyncio.wait_for(call, _LONGEST)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "there is no HDF5 file", shown) from None
        except _PERMANENT as error:
            raise DatasetError(f"{shown} cannot be read: {self._address.words(error)}") from None
        except Exception as error:  # noqa: BLE001 - every client has failures of its own
            raise _TransientError(self._address.words(error)) from None


def _pieces(ranges: Sequence[tuple[int, int]], buffer: Array) -> Iterator[tuple[tuple[int, int], Array]]:
    """Cut long ranges; each piece comes with the part of ``buffer`` that is its own."""
    at = 0
    for start, stop in ranges:
        for begin in range(start, stop, _PIECE):
            end = min(begin + _PIECE, stop)
            yield (begin, end), buffer[at : at + end - begin]
            at += end - begin


def _strings(options: object) -> Iterator[str]:
    if isinstance(options, str):
        yield options
    elif isinstance(options, Mapping):
        for value in options.values():
            yield from _strings(value)
    elif isinstance(options, (list, tuple)):
        for value in options:
            yield from _strings(value)


_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_inherited: list[object] = []


def _event_loop() -> asyncio.AbstractEventLoop:
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            # poll keeps its list of connections in this process. epoll, which fsspec's own loop has, shares
            # it with a forked child: if that closed what it inherited, the parent would wait in vain.
            poll = getattr(selectors, "PollSelector", None)
            loop = asyncio.new_event_loop() if poll is None else asyncio.SelectorEventLoop(poll())
            threading.Thread(target=loop.run_forever, name="befit-remote", daemon=True).start()
            _loops[os.getpid()] = loop
        return loop


def _after_fork() -> None:
    """Keep what the parent connected: what is collected here would say goodbye to the parent's servers."""
    global _lock
    _lock = threading.Lock()
    _inherited.extend(connection._client for connection in list(_connections))
    _inherited.extend(_loops.values())
    _loops.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
