"""HTTP: requests, redirects, proxies, certificates; every failure as a sentence."""

from __future__ import annotations

import base64
import http
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import SplitResult, unquote, urljoin

import urllib3
from urllib3.exceptions import (
    HTTPError,
    LocationValueError,
    ProxyError,
    ProxySchemeUnknown,
    SSLError,
)

import befit
from befit._internal import settings
from befit.errors import ArgumentError, DownloadError
from befit.files.encoding import decoded
from befit.files.retry import TransientError, retry_after
from befit.files.transfer import Body, TransferOptions
from befit.files.url import split_url, without_credentials

MOST_REDIRECTS = 10

_CHUNK = 1 << 17
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429}  # and every 5xx
_DEFAULT_PORTS = {"http": 80, "https": 443}
# All that may go on to another host: any other header can be a credential.
_HARMLESS_HEADERS = {"user-agent", "accept", "accept-language"}


@contextmanager
def open_http(url: str, options: TransferOptions) -> Iterator[Body]:
    """Request ``url``, follow its redirects, and offer the body of the answer.

    Raises:
        ArgumentError: not a URL that can be requested.
        DownloadError: the server refused, or redirected to where befit does not follow.
        TransientError: a failure that may pass.
    """
    start = split_url(url)
    if not start.hostname:
        raise ArgumentError(f"the URL {url!r} names no host")
    first = address = without_credentials(start)
    headers = _with_credentials(options.headers, start)
    for _ in range(MOST_REDIRECTS + 1):
        with _answer(address, _allowed(headers, start, address), options) as response:
            if response.status in _REDIRECTS:
                address = _redirected(address, response.headers.get("Location"))
                continue
            _check_status(response, address)
            encoding = response.headers.get("Content-Encoding", "")
            length = response.length_remaining
            chunks = decoded(_chunks(response, address), encoding, address)
            yield Body(chunks, length if not encoding else None)
            return
    raise DownloadError(f"{first} leads through more than {MOST_REDIRECTS} redirects, last to {address}")


@contextmanager
def _answer(
    address: str, headers: Mapping[str, str], options: TransferOptions
) -> Iterator[urllib3.BaseHTTPResponse]:
    """Send one request; the connection ends with the block."""
    timeout = urllib3.Timeout(connect=options.connect_timeout, read=options.read_timeout)
    pools = _pools(address, timeout)
    try:
        with _explained(address):
            response = pools.urlopen(
                "GET", address, headers=headers, redirect=False, retries=False, preload_content=False
            )
        try:
            yield response
        finally:
            response.close()
    finally:
        pools.clear()


def _chunks(response: urllib3.BaseHTTPResponse, address: str) -> Iterator[bytes]:
    """Yield the body as it is sent; urllib3 raises if it is shorter than announced."""
    with _explained(address):
        yield from response.stream(_CHUNK, decode_content=False)


def _pools(address: str, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Return the way to ``address``: direct, or through the proxy that the environment names."""
    proxy = settings.proxy_for(address)
    context = _tls_context() if address.startswith("https:") or (proxy or "").startswith("https:") else None
    if proxy is None:
        return urllib3.PoolManager(num_pools=1, timeout=timeout, ssl_context=context)
    parts = split_url(proxy if "://" in proxy else f"http://{proxy}")
    try:
        return urllib3.ProxyManager(
            without_credentials(parts),
            num_pools=1,
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
    same = _same_host(start, split_url(address))
    result = {name: value for name, value in headers.items() if same or name.lower() in _HARMLESS_HEADERS}
    given = set(map(str.lower, result))
    for name, value in (("User-Agent", f"befit/{befit.__version__}"), ("Accept", "*/*")):
        if name.lower() not in given:
            result[name] = value
    result = {name: value for name, value in result.items() if name.lower() != "accept-encoding"}
    result["Accept-Encoding"] = "identity"
    return result


def _same_host(start: SplitResult, other: SplitResult) -> bool:
    if start.hostname != other.hostname:
        return False
    ports = [parts.port or _DEFAULT_PORTS.get(parts.scheme) for parts in (start, other)]
    upgraded = (start.scheme, other.scheme) == ("http", "https") and ports == [80, 443]
    return upgraded or (start.scheme == other.scheme and ports[0] == ports[1])


def _redirected(address: str, target: str | None) -> str:
    if not target:
        raise DownloadError(f"{address} redirects without saying where to")
    try:
        parts = split_url(urljoin(address, target))
    except ValueError as error:
        raise DownloadError(f"{address} redirects to {target!r}, which is not a URL") from error
    following = without_credentials(parts)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadError(f"{address} redirects to {following!r}; only http and https are followed")
    if address.startswith("https:") and parts.scheme == "http":
        raise DownloadError(f"{address} redirects to {following}, which is not encrypted; not followed")
    return following


def _check_status(response: urllib3.BaseHTTPResponse, address: str) -> None:
    status = response.status
    if status in (200, 203):
        return
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else response.reason or ""
    answer = f"{status} {phrase}".strip()
    if status in _PASSING or status >= 500:
        wait = retry_after(response.headers.get("Retry-After"))
        raise TransientError(f"{address} answered {answer}", wait)
    if status in (404, 410):
        raise DownloadError(f"the server has no such file ({answer}): {address}")
    if status in (401, 403, 407, 451):
        raise DownloadError(
            f"the server does not give this file to us ({answer}): {address}; if it wants to know who asks, "
            f"pass headers={{'Authorization': …}}"
        )
    raise DownloadError(f"{address} answered {answer}, not a file")


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn urllib3's errors into befit's."""
    try:
        yield
    except LocationValueError as error:
        raise ArgumentError(f"{address!r} cannot be requested: {error}") from error
    except SSLError as error:
        if isinstance(error.args[0] if error.args else None, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"the certificate of {address} is not trusted ({error}); behind a proxy that has its own "
                f"authority, name its file in SSL_CERT_FILE or REQUESTS_CA_BUNDLE"
            ) from error
        raise TransientError(f"no secure connection to {address}: {error}") from error
    except ProxyError as error:
        raise TransientError(
            f"the proxy for {address} (from HTTP_PROXY, HTTPS_PROXY or ALL_PROXY) does not answer: {error}"
        ) from error
    except HTTPError as error:
        raise TransientError(f"{address} cannot be read: {error}") from error
