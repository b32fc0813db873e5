"""Servers that break off, lie, change their mind or want something else: the right file or a clear error.

The numbers are those of the list of servers that other downloaders were measured against. What a server does
to a request for a part of the file is in ``test_hostile_ranges``.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path

import pytest

from befit.errors import BefitError, DigestError, DownloadError
from befit.files import get_file, tree

sys.path.append(str(Path(__file__).parent))
from hostile_faults import LOGIN_PAGE, both, cut, flip, gzipped, headers, how, lie, page, redirect, refuse
from hostile_fixtures import get_fixture, hostile_fixture  # noqa: F401

pytestmark = pytest.mark.timeout(60)  # a hang is what these tests are about

QUARTER = 1 << 19  # bytes
BODY = random.Random(0).randbytes(4 * QUARTER)
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def impatient(monkeypatch):
    """A connection that brings next to nothing is given up after half a second."""
    monkeypatch.setattr("befit.files.transfer._SLOW_FOR", 0.5)
    monkeypatch.setattr("befit.files.transfer._JOIN", 0.5)


def right_or_error(get, server, **options):
    """Return the error, if it is one; never other bytes."""
    try:
        assert get(server, **options) == BODY
    except BefitError as error:
        return error
    return None


def test_the_right_file_comes_from_a_server_that_keeps_the_contract(hostile, get):
    server = hostile(BODY)
    assert get(server, file_hash=SHA256) == BODY
    assert {asked.status for asked in server.asked} <= {200, 206}


def test_s01_cut_once(hostile, get):
    """What came is kept: the rest is asked for, under the condition that the file is still the same."""
    server = hostile(BODY, cut(QUARTER))
    assert get(server, connections=1) == BODY
    for asked in server.asked[1:]:
        assert asked.range is not None
        assert asked.range[0] >= QUARTER
        assert asked.status == 206
        assert asked.headers["if-range"].startswith('"')
    assert server.bytes_sent == len(BODY)


@pytest.mark.parametrize("reset", [False, True], ids=["in order", "with a reset"])
@pytest.mark.parametrize("after", [QUARTER, 300_000])
def test_s02_cut_always(hostile, get, after, reset):
    """As long as bytes arrive, it goes on; retries count what brings nothing."""
    server = hostile(BODY, always=cut(after, reset=reset))
    if not reset:
        assert get(server) == BODY
    else:  # a reset may take bytes with it that had arrived
        right_or_error(get, server)


def test_s03_cut_and_no_ranges(hostile, get):
    server = hostile(BODY, cut(QUARTER), supports_ranges=False)
    assert get(server) == BODY
    assert {asked.status for asked in server.asked} == {200}


def test_s03_cut_always_and_no_ranges(hostile, get):
    server = hostile(BODY, always=cut(QUARTER), supports_ranges=False)
    with pytest.raises(DownloadError):
        get(server, connections=1)
    assert len(server.asked) <= 12


def test_s04_content_length_too_short(hostile, get):
    """Only a digest can tell."""
    server = hostile(BODY, always=lie(-1000))
    with pytest.raises((DigestError, DownloadError)):
        get(server, file_hash=SHA256)


def test_s05_content_length_too_long(hostile, get):
    server = hostile(BODY, always=lie(1000))
    right_or_error(get, server)


def test_s06_chunked(hostile, get):
    assert get(hostile(BODY, always=how(framing="chunked"))) == BODY


def test_s07_chunked_and_cut(hostile, get):
    assert get(hostile(BODY, both(how(framing="chunked"), cut(QUARTER)))) == BODY


def test_s07_chunked_and_always_cut(hostile, get):
    server = hostile(BODY, always=both(how(framing="chunked"), cut(QUARTER)), supports_ranges=False)
    with pytest.raises(DownloadError):
        get(server)


def test_s08_no_length(hostile, get):
    assert get(hostile(BODY, always=how(framing="close"))) == BODY


def test_s09_no_length_and_cut(hostile, get):
    """Only a digest can tell."""
    server = hostile(BODY, always=both(how(framing="close"), cut(QUARTER)), supports_ranges=False)
    with pytest.raises((DigestError, DownloadError)):
        get(server, file_hash=SHA256)


def test_s09_no_length_and_reset(hostile, get):
    assert get(hostile(BODY, both(how(framing="close"), cut(QUARTER, reset=True)))) == BODY


def test_s10_content_encoding_gzip(hostile, get):
    assert get(hostile(BODY, always=gzipped)) == BODY


@pytest.mark.parametrize("gzipped_first", [True, False])
def test_s10_content_encoding_gzip_and_cut(hostile, get, gzipped_first):
    """Bytes of the compressed answer are not continued with bytes of the file, nor the other way round."""
    faults = [both(gzipped, cut(QUARTER))] if gzipped_first else [cut(QUARTER), gzipped]
    assert get(hostile(BODY, *faults)) == BODY


def test_s11_content_encoding_gzip_of_a_gz_file(hostile, get):
    """Many servers say so of the file as it is."""
    packed = gzip.compress(BODY[:100_000])
    server = hostile(packed, always=headers(content_encoding="gzip"))
    assert get(server.url_of("/data.gz"), fname="data.gz") == packed


@pytest.mark.parametrize("promised", [{}, {"file_hash": SHA256}], ids=["no digest", "digest"])
def test_s12_login_page(hostile, get, promised):
    with pytest.raises((DownloadError, DigestError), match="web page"):
        get(hostile(BODY, always=page()), **promised)


def test_s12_login_page_instead_of_the_rest(hostile, get):
    """It is not appended to what came before."""
    server = hostile(BODY, cut(QUARTER), always=page())
    with pytest.raises((DownloadError, DigestError), match="web page"):
        get(server)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_s13_s14_a_refusal_that_passes(hostile, get, status):
    server = hostile(BODY, refuse(status), both(cut(QUARTER)), refuse(status))
    assert get(server) == BODY
    assert [asked.status for asked in server.asked].count(status) == 2


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_s13_s14_a_refusal_that_does_not(hostile, get, status):
    server = hostile(BODY, always=refuse(status))
    with pytest.raises(DownloadError, match=str(status)):
        get(server, retries=3)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("wanted", "least"),
    [
        ("2", 2),
        ("1000000000", 60),
        (formatdate(4_000_000_000, usegmt=True), 60),
        ("-5", 0),
        ("soon", 0),
        ("9" * 400, 60),
    ],
)
def test_s13_retry_after(hostile, get, pauses, wanted, least):
    """Seconds or a date, waited for up to a minute; what is neither does no harm."""
    assert get(hostile(BODY, refuse(503, retry_after=wanted))) == BODY
    assert least <= sum(pauses) <= 61


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://", "//[", ""]
)
def test_s15_redirect_to_what_is_not_followed(hostile, get, target):
    server = hostile(BODY, always=redirect(target))
    with pytest.raises(DownloadError, match="redirect"):
        get(server)
    assert len(server.asked) <= 11


def test_s16_redirect_loop(hostile, get):
    server = hostile(BODY, always=redirect("/again"))
    with pytest.raises(DownloadError, match="redirects"):
        get(server)
    assert len(server.asked) <= 11


def test_s16_redirects_to_the_file(hostile, get):
    """301, then 302, then the file; what follows goes there again, or straight."""
    server = hostile(BODY, redirect("/one", 301), redirect("/two", 302), cut(QUARTER))
    assert get(server) == BODY


def test_s17_redirect_to_another_host(hostile, get):
    """The caller's headers stay at home, also when the transfer goes on after a cut."""
    other = hostile(BODY, cut(QUARTER))
    server = hostile(BODY, always=redirect(other.url))
    assert get(server, headers={"Authorization": "Bearer secret", "X-Token": "secret"}) == BODY
    assert all(asked.headers["authorization"] == "Bearer secret" for asked in server.asked)
    assert len(other.asked) >= 2
    assert not any("secret" in asked.headers.values() for asked in other.asked)
    assert not any("authorization" in asked.headers for asked in other.asked)


def test_s17_credentials_in_a_redirect(hostile, get):
    other = hostile(BODY)
    address = other.url.replace("//", "//name:secret@")
    assert get(hostile(BODY, always=redirect(address))) == BODY
    assert not any("authorization" in asked.headers for asked in other.asked)


def test_s18_bytes_in_drops(hostile, get, impatient):
    """Each byte comes within the timeout, the file never; the next connection is faster."""
    server = hostile(BODY, how(rate=50), how(rate=50))
    assert get(server, timeout=(5.0, 0.2)) == BODY
    assert len(server.asked) >= 3


def test_s18_nothing_but_drops(hostile, get, impatient):
    server = hostile(BODY, always=how(rate=50))
    with pytest.raises(DownloadError, match="bytes a second"):
        get(server, timeout=(5.0, 0.2), retries=2)


def test_s18_killed_while_bytes_came_in_drops(hostile, cache):
    """What had come is not taken for the file."""
    code = "from befit import get_file; get_file('data.bin', {!r}, cache_dir={!r})"
    server = hostile(BODY, how(rate=500))
    process = subprocess.Popen([sys.executable, "-c", code.format(server.url, str(cache))])
    while not server.bytes_sent:
        assert process.poll() is None
        server.stopped.wait(0.01)
    process.kill()
    process.wait()
    assert Path(get_file("data.bin", server.url, cache_dir=cache)).read_bytes() == BODY


def test_s23_flipped_byte(hostile, get):
    """Only a digest can tell; the bad file is not stored."""
    server = hostile(BODY, always=flip(5))
    with pytest.raises(DigestError):
        get(server, file_hash=SHA256)
    assert len(server.asked) <= 20


def test_s23_flipped_byte_before_a_cut(hostile, get):
    """A mismatch may come from what was resumed: once more, from zero."""
    server = hostile(BODY, both(flip(5), cut(QUARTER)))
    assert get(server, connections=1, file_hash=SHA256) == BODY
    assert [asked.range for asked in server.asked].count(None) == 2


def test_from_https_to_http(hostile, get, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    plain = hostile(BODY)
    secure = hostile(BODY, redirect(plain.url), certificate=certificate)
    with pytest.raises(DownloadError, match="not encrypted"):
        get(secure)
    assert not plain.asked
    assert get(secure) == BODY


def test_cut_over_https(hostile, get, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = hostile(BODY, cut(QUARTER), certificate=certificate)
    assert get(server) == BODY
    assert len(server.asked) >= 2


def test_https_to_a_server_without_it(hostile, get):
    with pytest.raises(DownloadError, match="secure connection"):
        get(hostile(BODY).url.replace("http:", "https:"))


def test_a_name_that_nobody_knows(get, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"nowhere\.invalid"):
        get("http://nowhere.invalid/data.bin")


def test_a_wall_that_sets_a_cookie(hostile, get):
    server = hostile(BODY, always=both(redirect("/data.bin"), headers(set_cookie="seen=1")))
    with pytest.raises(DownloadError, match="redirects"):
        get(server)


def test_content_disposition_names_no_file(hostile, get):
    server = hostile(BODY, always=headers(content_disposition='attachment; filename="../../escaped"'))
    assert get(server) == BODY


@pytest.mark.parametrize("once", [True, False], ids=["once", "always"])
def test_a_hundred_thousand_header_lines(hostile, get, once):
    fault = how(headers={f"X-{number}": "x" for number in range(100_000)})
    server = hostile(BODY, *([fault] if once else []), always=None if once else fault)
    error = right_or_error(get, server)
    assert error is None or isinstance(error, DownloadError)


def test_headers_one_by_one(hostile, get):
    assert get(hostile(BODY, always=how(head_rate=5_000))) == BODY


def test_headers_that_never_end(hostile, get, impatient):
    """Each byte comes within the timeout, the answer never."""
    endless = how(head_rate=50, headers={"X": "x" * 100_000})
    with pytest.raises(DownloadError):
        get(hostile(BODY, always=endless), timeout=(5.0, 0.5), retries=1)


def test_reset_at_the_last_byte(hostile, get):
    assert get(hostile(BODY, cut(-1, reset=True))) == BODY


def test_no_answer_at_all(hostile, get):
    server = hostile(BODY, how(silent=True), cut(QUARTER), how(silent=True), how(silent=True, reset=True))
    assert get(server) == BODY


@pytest.mark.parametrize("after", [0, 1, QUARTER])
def test_stall_once(hostile, get, after):
    """The rest comes over another connection."""
    server = hostile(BODY, how(stall=after))
    assert get(server, timeout=(5.0, 0.3)) == BODY
    assert len(server.asked) >= 2


def test_stall_always(hostile, get):
    server = hostile(BODY, always=how(stall=0))
    with pytest.raises(DownloadError, match="timed out"):
        get(server, timeout=(5.0, 0.1), retries=2)


def test_connections_that_end_after_each_answer(hostile, get):
    assert get(hostile(BODY, cut(QUARTER), always=how(leaves=True))) == BODY


def test_an_empty_file(hostile, get):
    assert get(hostile(b"")) == b""


def test_a_login_page_that_was_asked_for(hostile, get):
    server = hostile(LOGIN_PAGE)
    assert get(server.url_of("/page.html"), fname="page.html") == LOGIN_PAGE


def test_a_bomb_from_a_server_that_promises_more_is_stopped_as_early(hostile, archives, cache, monkeypatch):
    """What has come counts for the ratio, not the length that was said: that of a gigabyte may be large."""
    bomb = archives.tar(("zeros", bytes(192 << 20)))
    written = []

    def counted(descriptor, chunks, really=tree._write_all):
        really(descriptor, (written.append(len(chunk)) or chunk for chunk in chunks))

    monkeypatch.setattr(tree, "_write_all", counted)
    server = hostile(bomb, how(announced=1 << 30, stall=len(bomb)))
    with pytest.raises(DownloadError):
        get_file("out", server.url, untar=True, cache_dir=cache, retries=0, timeout=(5.0, 2.0))
    assert sum(written) <= 65 << 20
