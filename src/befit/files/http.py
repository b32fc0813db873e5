"""HTTP: requests, redirects, proxies, certificates; every failure as a sentence."""

from __future__ import annotations

import base64
import contextlib
import http
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, unquote, urljoin

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    ProtocolError,
    ProxyError,
    ProxySchemeUnknown,
    SSLError,
)

import befit
from befit._internal import settings
from befit.errors import ArgumentError, DownloadError
from befit.files.encoding import decoded
from befit.files.options import HARMLESS_HEADERS, TransferOptions
from befit.files.origin import Body, DisagreementError, NoRangesError, Version
from befit.files.retry import TransientError, retry_after
from befit.files.url import is_same_host, shown, split_url, without_credentials

MOST_REDIRECTS = 10

_CHUNK = 1 << 17
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_LENGTH = re.compile(r"[0-9]{1,18}")
_WHOLE = {200, 203}
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429}  # and every 5xx


class HttpOrigin:
    """See ``Origin``. Connections are kept between answers, to each host as many as threads used them."""

    def __init__(self, url: str, options: TransferOptions) -> None:
        self._start = split_url(url)
        if not self._start.hostname:
            raise ArgumentError(f"the URL {shown(url)!r} names no host")
        self._url = without_credentials(self._start)
        self._options = options
        self._headers = _with_credentials(options.headers, self._start)
        self._pools: dict[tuple[str, str], urllib3.PoolManager] = {}
        self._opening = threading.Lock()
        self._may_ask_if_range = True

    @contextmanager
    def open(self, start: int, end: int | None, known: Version | None) -> Iterator[Body]:
        """See ``Origin``."""
        asked = _range_headers(start, end, known if self._may_ask_if_range else None)
        with self._answer(asked) as (response, address):
            is_whole = response.status != 206
            if is_whole and "Range" in asked and response.status in _WHOLE:
                refusal = f"{shown(address)} sends the whole file when asked for a part"
                if _version(response) != known:
                    raise DisagreementError(f"{refusal}, because it has changed")
                if "If-Range" not in asked:
                    raise NoRangesError(refusal)
            else:
                yield self._body(response, address, start, is_part="Range" in asked)
                return
        # Some servers do not know their own ETag in If-Range. The validator of the part is compared anyway.
        self._may_ask_if_range = False
        with self.open(start, end, known) as body:
            yield body

    def close(self) -> None:
        """See ``Origin``."""
        for pools in self._pools.values():
            pools.clear()

    def _body(self, response: urllib3.BaseHTTPResponse, address: str, start: int, *, is_part: bool) -> Body:
        if is_part and response.status == 416:
            raise DisagreementError(f"{shown(address)} has no bytes from {start:,} on (416)")
        end: int | None
        if is_part and response.status == 206:
            version, end = _part_of(response, address, start)
        else:
            _check_status(response, address)
            version = _version(response)
            end = version.total
        encoding = response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return _HttpBody(response, address, start, end, version)
        if is_part:
            raise NoRangesError(f"{shown(address)} compresses a part of the file for the way")
        return _EncodedBody(response, address, encoding)

    @contextmanager
    def _answer(self, asked: Mapping[str, str]) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
        """Send a request and follow its redirects; a connection that is not read to its end is closed."""
        address = self._url
        for _ in range(MOST_REDIRECTS + 1):
            headers = {**_allowed(self._headers, self._start, address), **asked}
            with _explained(address):
                response = self._pool_for(address).urlopen(
                    "GET", address, headers=headers, redirect=False, retries=False, preload_content=False
                )
            if response.status in _REDIRECTS:
                response.close()
                address = _redirected(address, response.headers.get("Location"))
                continue
            try:
                yield response, address
            finally:
                response.close()
            return
        raise DownloadError(
            f"{shown(self._url)} leads through more than {MOST_REDIRECTS} redirects, last to {shown(address)}"
        )

    def _pool_for(self, address: str) -> urllib3.PoolManager:
        key = (split_url(address).scheme, settings.proxy_for(address) or "")
        with self._opening:
            if key not in self._pools:
                self._pools[key] = _new_pools(address, self._options)
            return self._pools[key]


class _HttpBody:
    """See ``Body``."""

    def __init__(
        self,
        response: urllib3.BaseHTTPResponse,
        address: str,
        start: int,
        end: int | None,
        version: Version,
    ) -> None:
        self._response = response
        self._address = address
        self.start = start
        self.end = end
        self.version = version
        refused = response.headers.get("Accept-Ranges", "").strip().lower() == "none"
        self.has_ranges = version.total is not None and not refused
        self.media_type = _media_type(response)

    def read(self, size: int) -> bytes:
        with _explained(self._address):
            return self._response.read1(size, decode_content=False)

    def cancel(self) -> None:
        _cancel(self._response)


class _EncodedBody:
    """See ``Body``: a file that was compressed for the way; how long it is nobody knows before its end."""

    start = 0
    has_ranges = False

    def __init__(self, response: urllib3.BaseHTTPResponse, address: str, encoding: str) -> None:
        self._response = response
        self._address = address
        self._chunks = decoded(self._raw(), encoding, shown(address))
        self._rest = b""
        self.end: int | None = None
        self.version = Version()
        self.media_type = _media_type(response)

    def read(self, size: int) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def cancel(self) -> None:
        _cancel(self._response)

    def _raw(self) -> Iterator[bytes]:
        with _explained(self._address):
            while chunk := self._response.read1(_CHUNK, decode_content=False):
                yield chunk


def _cancel(response: urllib3.BaseHTTPResponse) -> None:
    # The other errors: it has ended by itself, or its connection is gone.
    with contextlib.suppress(RuntimeError, ValueError, OSError):
        response.shutdown()


def _range_headers(start: int, end: int | None, known: Version | None) -> dict[str, str]:
    if start == 0 and end is None:
        return {}
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    if known is not None and known.is_strong and known.validator is not None:
        headers["If-Range"] = known.validator
    return headers


def _version(response: urllib3.BaseHTTPResponse) -> Version:
    """Return what an answer says of the file; its length only if the body is the file as it is."""
    headers = response.headers
    length = headers.get("Content-Length", "")
    total = int(length) if _LENGTH.fullmatch(length) and not headers.get("Transfer-Encoding") else None
    tag = headers.get("ETag", "").strip()
    if tag:
        return Version(total, tag, is_strong=tag.startswith('"'))
    modified = headers.get("Last-Modified", "").strip()
    return Version(total, modified or None, is_strong=_is_old(modified, headers.get("Date", "")))


def _is_old(modified: str, date: str) -> bool:
    """Return whether a time of change is a strong validator: RFC 9110, 8.8.2.2.

    A file could change twice in the second that it names. That cannot be any more if the server's clock is at
    least a minute further.
    """
    try:
        seconds = (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return False
    return seconds >= 60


def _part_of(response: urllib3.BaseHTTPResponse, address: str, start: int) -> tuple[Version, int]:
    """Return the version and the end of the part that a 206 brings.

    Raises:
        DisagreementError: it is another part than the one that begins at ``start``.
    """
    named = response.headers.get("Content-Range", "")
    found = _CONTENT_RANGE.fullmatch(named.strip())
    if found is None:
        raise NoRangesError(f"{shown(address)} sends a part and does not say which ({named!r})")
    first, last, total = map(int, found.groups())
    if first != start or not first <= last < total:
        raise DisagreementError(f"{shown(address)} sends {named!r} when asked for the bytes from {start} on")
    length = response.headers.get("Content-Length")
    if length is not None and length != str(last + 1 - first):
        raise DisagreementError(f"{shown(address)} sends {length} bytes as {named!r}")
    return replace(_version(response), total=total), last + 1


def _media_type(response: urllib3.BaseHTTPResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _new_pools(address: str, options: TransferOptions) -> urllib3.PoolManager:
    """Return the way to ``address``: direct, or through the proxy that the environment names."""
    timeout = urllib3.Timeout(connect=options.connect_timeout, read=options.read_timeout)
    proxy = settings.proxy_for(address)
    context = _tls_context() if address.startswith("https:") or (proxy or "").startswith("https:") else None
    if proxy is None:
        return urllib3.PoolManager(maxsize=options.connections, timeout=timeout, ssl_context=context)
    parts = split_url(proxy if "://" in proxy else f"http://{proxy}")
    try:
        return urllib3.ProxyManager(
            without_credentials(parts),
            maxsize=options.connections,
            timeout=timeout,
            ssl_context=context,
            proxy_headers=_with_credentials({}, parts, header="Proxy-Authorization"),
        )
    except ProxySchemeUnknown as error:
        raise DownloadError(
            f"the environment names the proxy {without_credentials(parts)}, and befit speaks to http and "
            f"https proxies only; unset it, or add the host to NO_PROXY"
        ) from error


def _tls_context() -> ssl.SSLContext:
    bundle = settings.ca_bundle()  # SSL_CERT_FILE and SSL_CERT_DIR are read by OpenSSL itself
    if bundle is None:
        return ssl.create_default_context()
    if os.path.isdir(bundle):
        return ssl.create_default_context(capath=bundle)
    return ssl.create_default_context(cafile=bundle)


def _with_credentials(
    headers: Mapping[str, str], parts: SplitResult, header: str = "Authorization"
) -> dict[str, str]:
    """Return ``headers`` with the user name and password of a URL, unless they say who asks already."""
    result = dict(headers)
    if parts.username is not None and header.lower() not in map(str.lower, result):
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        result[header] = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
    return result


def _allowed(headers: Mapping[str, str], start: SplitResult, address: str) -> dict[str, str]:
    """Return the headers of a request: the caller's own go to the host that they were given for only."""
    same = is_same_host(start, split_url(address))
    result = {name: value for name, value in headers.items() if same or name.lower() in HARMLESS_HEADERS}
    given = set(map(str.lower, result))
    for name, value in (("User-Agent", f"befit/{befit.__version__}"), ("Accept", "*/*")):
        if name.lower() not in given:
            result[name] = value
    result = {name: value for name, value in result.items() if name.lower() != "accept-encoding"}
    result["Accept-Encoding"] = "identity"
    return result


def _redirected(address: str, target: str | None) -> str:
    if not target:
        raise DownloadError(f"{shown(address)} redirects without saying where to")
    with contextlib.suppress(UnicodeError):  # it should be ASCII, and where it is not it is UTF-8
        target = target.encode("latin-1").decode()
    try:
        parts = split_url(urljoin(address, target))
    except ValueError as error:
        raise DownloadError(f"{shown(address)} redirects to {shown(target)!r}, which is not a URL") from error
    following = without_credentials(parts)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadError(
            f"{shown(address)} redirects to {shown(following)!r}; only http and https are followed"
        )
    if address.startswith("https:") and parts.scheme == "http":
        raise DownloadError(
            f"{shown(address)} redirects to {shown(following)}, which is not encrypted; not followed"
        )
    return following


def _check_status(response: urllib3.BaseHTTPResponse, address: str) -> None:
    status = response.status
    if status in _WHOLE:
        return
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else response.reason or ""
    answer = f"{status} {phrase}".strip()
    if status in _PASSING or status >= 500:
        wait = retry_after(response.headers.get("Retry-After"))
        raise TransientError(f"{shown(address)} answered {answer}", wait)
    if status in (404, 410):
        raise DownloadError(f"the server has no such file ({answer}): {shown(address)}")
    if status in (401, 403, 407, 451):
        raise DownloadError(
            f"the server does not give this file to us ({answer}): {shown(address)}; if it wants to know who "
            f"asks, pass headers={{'Authorization': …}}"
        )
    raise DownloadError(f"{shown(address)} answered {answer}, not a file")


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn urllib3's errors into befit's."""
    try:
        yield
    except LocationValueError as error:
        raise ArgumentError(f"{shown(address)!r} cannot be requested: {error}") from error
    except SSLError as error:
        if isinstance(error.args[0] if error.args else None, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"the certificate of {shown(address)} is not trusted ({error}); behind a proxy that has its "
                f"own authority, name its file in SSL_CERT_FILE or REQUESTS_CA_BUNDLE"
            ) from error
        raise TransientError(f"no secure connection to {shown(address)}: {error}") from error
    except ProxyError as error:
        raise TransientError(
            f"the proxy for {shown(address)} (from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) does not answer: "
            f"{error}"
        ) from error
    except HTTPError as error:
        # An answer that broke off has the same text twice.
        reason = error.args[0] if isinstance(error, ProtocolError) and error.args else error
        raise TransientError(f"{shown(address)} cannot be read: {reason}") from error
