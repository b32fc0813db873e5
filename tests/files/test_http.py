"""What servers do, and what comes of it: the right file or a clear error."""

import gzip
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from befit.errors import ArgumentError, DownloadError
from befit.files import get_file, http
from befit.files.origin import Version

BODY = bytes(range(256)) * 2000
OLD = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.fixture
def get(cache):
    """Download to ``file.dat`` and return the bytes; check that nothing else is left when it fails."""

    def call(url, **options):
        try:
            return Path(get_file("file.dat", url, cache_dir=cache, **options)).read_bytes()
        except Exception:
            assert [path.name for path in (cache / "datasets").iterdir() if path.suffix != ".lock"] == []
            raise

    return call


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"chunked": True},
        {"length": None},
        {"status": 203},
        {"headers": {"Content-Type": "text/html", "Set-Cookie": "a=b"}},
    ],
)
def test_a_body_arrives_however_it_is_framed(server, answer, get, plain):
    assert get(server.serve("/file", answer(BODY, **plain))) == BODY
    (request,) = server.seen
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("befit/")


@pytest.mark.parametrize(
    "broken",
    [
        {"sent": 0},
        {"sent": 1000},
        {"sent": len(BODY) - 1},
        {"chunked": True, "sent": 1000},
        {"length": len(BODY) + 5},
        {"status": 500},
        {"status": 502},
        {"status": 503},
        {"status": 429},
        {"status": 408},
        {"status": 425},
    ],
)
def test_what_may_pass_is_tried_again(server, answer, get, pauses, broken):
    url = server.serve("/file", answer(BODY, **broken), answer(BODY, **broken), answer(BODY))
    assert get(url) == BODY
    assert len(server.seen) == 3
    assert len(pauses) == 2


@pytest.mark.parametrize("broken", [{"sent": 1000}, {"status": 503}, {"chunked": True, "sent": 1000}])
def test_what_never_passes_is_an_error_in_the_end(server, answer, get, pauses, broken):
    with pytest.raises(DownloadError, match=r"/file .*\(tried 3 times; retries=2\)"):
        get(server.serve("/file", answer(BODY, **broken)), retries=2)
    assert len(server.seen) == 3
    assert len(pauses) == 2


def test_retry_after_is_honoured_and_capped(server, answer, get, pauses):
    url = server.serve(
        "/file",
        answer(status=503, headers={"Retry-After": "7"}),
        answer(status=429, headers={"Retry-After": "1000000000"}),
        answer(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        answer(BODY),
    )
    assert get(url) == BODY
    assert pauses[:2] == [7.0, 60.0]
    assert pauses[2] < 60


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "no such file .404 Not Found"),
        (410, "no such file .410 Gone"),
        (401, "does not give this file to us .401 Unauthorized"),
        (403, "does not give this file to us .403 Forbidden"),
        (204, "204 No Content, not a file"),
        (206, "206 Partial Content, not a file"),
        (304, "304 Not Modified, not a file"),
        (418, "418"),
        (299, "299"),
    ],
)
def test_a_refusal_is_said_plainly_and_not_tried_again(server, answer, get, status, says):
    with pytest.raises(DownloadError, match=says) as caught:
        get(server.serve("/file", answer(status=status)))
    assert server.url("/file") in str(caught.value)
    assert len(server.seen) == 1


def test_nobody_there(get, pauses):
    with socket.socket() as placeholder:  # bound and not listening: connections are refused
        placeholder.bind(("127.0.0.1", 0))
        port = placeholder.getsockname()[1]
        with pytest.raises(DownloadError, match=r"cannot be read.*refused"):
            get(f"http://127.0.0.1:{port}/file", retries=1)
    assert len(pauses) == 1


def test_a_server_that_says_nothing_runs_into_the_timeout(get):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DownloadError, match="timed out"):
        get(f"http://127.0.0.1:{silent.getsockname()[1]}/file", timeout=(5.0, 0.05), retries=0)


@pytest.mark.parametrize("url", ["http://", "http:///file", "http://h:port/file", "http://[::1/file"])
def test_what_is_no_url_is_refused(cache, url):
    with pytest.raises(ArgumentError):
        get_file("file.dat", url, cache_dir=cache)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, answer, get, status):
    server.serve("/a/start", answer(status=status, headers={"Location": "../next?x=1"}))
    server.serve("/next?x=1", answer(status=302, headers={"Location": server.url("/end")}))
    server.serve("/end", BODY)
    assert get(server.url("/a/start")) == BODY


def test_a_redirect_to_a_name_that_is_not_ascii_is_followed(server, answer, get):
    """Its bytes are UTF-8, and ``http.server`` writes Latin-1."""
    server.serve("/%C3%A9", BODY)
    location = "/\u00e9".encode().decode("latin-1")
    assert get(server.serve("/a", answer(status=302, headers={"Location": location}))) == BODY


def test_a_loop_of_redirects_ends(server, answer, get):
    url = server.serve("/a", answer(status=302, headers={"Location": "/a"}))
    with pytest.raises(DownloadError, match="more than 10 redirects"):
        get(url)
    assert len(server.seen) == 11


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:text/plain,x",
        "http://h:x/",
        "",
        "javascript:1",
    ],
)
def test_redirects_to_other_than_http_are_not_followed(server, answer, get, target):
    url = server.serve("/a", answer(status=302, headers={"Location": target}))
    with pytest.raises(DownloadError, match="redirects"):
        get(url)
    assert len(server.seen) == 1


def test_encryption_is_never_given_up(new_server, answer, get, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure, plain = new_server(tls=True), new_server()
    plain.serve("/file", BODY)
    url = secure.serve("/file", answer(status=302, headers={"Location": plain.url("/file")}))
    with pytest.raises(DownloadError, match="not encrypted"):
        get(url)
    assert plain.seen == []


SECRETS = {
    "Authorization": "Bearer secret",
    "Cookie": "secret",
    "X-Api-Key": "secret",
    "Proxy-Authorization": "secret",
}


def test_headers_reach_the_server_they_are_for(server, answer, get):
    server.serve("/a", answer(status=302, headers={"Location": "/b"}))
    server.serve("/b", BODY)
    assert get(server.url("/a"), headers={**SECRETS, "User-Agent": "mine", "Accept-Encoding": "br"}) == BODY
    for request in server.seen:
        assert {name: request.headers[name.lower()] for name in SECRETS} == SECRETS
        assert request.headers["user-agent"] == "mine"
        assert request.headers["accept-encoding"] == "identity", "a compressed file would not be the file"


@pytest.mark.parametrize("other", ["host", "port"])
def test_no_secret_goes_to_another_server(new_server, answer, get, other):
    first, second = new_server(), new_server()
    target = second.serve("/b", BODY) if other == "port" else first.serve("/b", BODY)
    if other == "host":
        target = target.replace("127.0.0.1", "localhost")
    url = first.serve("/a", answer(status=302, headers={"Location": target}))
    assert get(url, headers={**SECRETS, "User-Agent": "mine"}) == BODY
    last = (second if other == "port" else first).seen[-1]
    assert "secret" not in str(last.headers)
    assert last.headers["user-agent"] == "mine"


def test_no_secret_goes_to_a_mirror_elsewhere(new_server, answer, get):
    first, second = new_server(), new_server()
    urls = [
        first.serve("/b", answer(status=404)),
        first.serve("/c", answer(status=404)),
        second.serve("/b", BODY),
    ]
    assert get(urls[0], mirrors=urls[1:], headers={**SECRETS, "User-Agent": "mine"}) == BODY
    assert "secret" in str(first.seen[1].headers), "the same server"
    assert "secret" not in str(second.seen[0].headers)
    assert second.seen[0].headers["user-agent"] == "mine"


def test_a_password_in_the_url_is_sent_as_credentials_and_never_shown(server, answer, get):
    url = server.serve("/file", BODY).replace("http://", "http://me:p%40ss@")
    assert get(url) == BODY
    assert server.seen[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    server.serve("/file", answer(status=404))
    with pytest.raises(DownloadError) as caught:
        get_file("other.dat", url)
    assert "p%40ss" not in str(caught.value)


def test_a_password_in_a_redirect_is_ignored(server, answer, get):
    target = server.serve("/b", BODY).replace("http://", "http://evil:pass@")
    assert get(server.serve("/a", answer(status=302, headers={"Location": target}))) == BODY
    assert "authorization" not in server.seen[1].headers


@pytest.mark.parametrize("headers", [{"A": "x\r\nB: y"}, {"A\n": "x"}, {"A": 1}, {"A": "\u4e2d"}])
def test_headers_that_cannot_be_sent_are_refused(cache, headers):
    with pytest.raises(ArgumentError, match="header"):
        get_file("x", "http://127.0.0.1:1/x", headers=headers, cache_dir=cache)


# Encodings


def test_a_body_that_was_compressed_for_the_way_is_unpacked(server, answer, get):
    assert (
        get(server.serve("/file", answer(gzip.compress(BODY), headers={"Content-Encoding": "gzip"}))) == BODY
    )


def test_a_gz_file_is_kept_as_it_is(server, answer, get):
    packed = gzip.compress(BODY)
    assert get(server.serve("/file.gz", answer(packed, headers={"Content-Encoding": "gzip"}))) == packed


def test_a_compressed_body_that_is_cut_without_a_length_is_noticed(server, answer, get):
    short = answer(gzip.compress(BODY), headers={"Content-Encoding": "gzip"}, sent=100, length=None)
    url = server.serve("/file", short, answer(BODY))
    assert get(url) == BODY
    assert len(server.seen) == 2


# Lengths and parts


def test_a_length_of_thousands_of_digits_is_none(server, answer, get):
    url = server.serve("/file", answer(BODY, length=None, headers={"Content-Length": "1" * 5000}))
    assert get(url) == BODY
    assert len(server.seen) == 1


def test_a_part_that_names_no_version_is_asked_for_once(server, answer, get):
    old = {"Last-Modified": OLD}
    cut = answer(BODY, headers=old, sent=100_000)
    rest = answer(BODY[100_000:], 206, {"Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"})
    assert get(server.serve("/file", cut, rest, cut, answer(BODY, headers=old)), connections=1) == BODY
    asked = [request.headers.get("range") for request in server.seen]
    assert asked == [None, f"bytes=100000-{len(BODY) - 1}", None, None]
    assert server.seen[1].headers["if-range"] == old["Last-Modified"]


def test_a_file_that_has_changed_is_still_asked_for_in_parts(server, answer, get):
    old, new = {"ETag": '"a"'}, {"ETag": '"b"'}
    rest = {**new, "Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
    cut = answer(BODY, headers=new, sent=100_000)
    answers = [answer(BODY[::-1], headers=old, sent=100_000), cut, cut, answer(BODY[100_000:], 206, rest)]
    assert get(server.serve("/file", *answers), connections=1) == BODY
    asked = [request.headers.get("if-range") for request in server.seen]
    assert asked == [None, '"a"', None, '"b"']


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"Content-Length": "5", "ETag": '"a"'}, Version(5, '"a"', is_strong=True)),
        ({"Content-Length": "5", "Transfer-Encoding": "chunked"}, Version()),
        ({"ETag": 'W/"a"'}, Version(None, 'W/"a"')),
        ({"Last-Modified": OLD, "Date": "Wed, 21 Oct 2015 07:28:59 GMT"}, Version(None, OLD)),
        ({"Last-Modified": OLD, "Date": "Wed, 21 Oct 2015 07:29:00 GMT"}, Version(None, OLD, is_strong=True)),
        ({"Last-Modified": OLD}, Version(None, OLD)),
    ],
)
def test_only_a_version_that_is_strong_goes_into_if_range(headers, version):
    assert http._version(SimpleNamespace(headers=headers)) == version
    asked = http._range_headers(2, 4, version)
    assert asked.pop("If-Range", None) == (version.validator if version.is_strong else None)
    assert asked == {"Range": "bytes=2-3"}


# Certificates and proxies


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_names_certificates_to_trust(new_server, get, certificate, monkeypatch, variable):
    server = new_server(tls=True)
    monkeypatch.setenv(variable, str(certificate))
    assert get(server.serve("/file", BODY)) == BODY


def test_an_unknown_certificate_is_refused_at_once(new_server, get, pauses):
    with pytest.raises(DownloadError, match=r"not trusted.*SSL_CERT_FILE or REQUESTS_CA_BUNDLE"):
        get(new_server(tls=True).serve("/file", BODY))
    assert pauses == []


def test_a_bundle_that_does_not_exist_is_named(new_server, get, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ArgumentError, match=r"REQUESTS_CA_BUNDLE names '/nowhere/ca.pem'"):
        get(new_server(tls=True).serve("/file", BODY))


@pytest.fixture
def proxy():
    """A proxy for plain http that answers everything itself, and says what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Proxy-Authorization")))
            self.send_response(200)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"via proxy")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.asked = asked
    server.address = f"127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_environment_names_a_proxy(get, proxy, monkeypatch, variable):
    monkeypatch.setenv(variable, f"http://me:secret@{proxy.address}")
    assert get("http://somewhere.invalid/file") == b"via proxy"
    assert proxy.asked == [("http://somewhere.invalid/file", "Basic bWU6c2VjcmV0")]


def test_no_proxy_names_hosts_to_reach_directly(get, server, proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.address)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert get(server.serve("/file", BODY)) == BODY
    assert proxy.asked == []


def test_a_proxy_that_is_not_there_is_named_as_the_cause(get, monkeypatch):
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{placeholder.getsockname()[1]}")
        with pytest.raises(DownloadError, match=r"the proxy for http://somewhere.invalid/file"):
            get("http://somewhere.invalid/file", retries=0)


def test_a_proxy_of_an_unknown_kind_is_refused(get, monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(DownloadError, match=r"the proxy socks5://127.0.0.1:1") as caught:
        get("http://somewhere.invalid/file")
    assert "secret" not in str(caught.value)
