"""Servers that answer wrongly to a request for a part of the file, or whose file changes between requests.

The numbers are those of the list of servers that other downloaders were measured against.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from befit.errors import BefitError, DigestError, DownloadError

sys.path.append(str(Path(__file__).parent))
from hostile_faults import (
    both,
    content_range,
    cut,
    flip,
    headers,
    how,
    in_ranges,
    lie,
    redirect,
    refuse,
    shifted,
    whole,
)
from hostile_fixtures import get_fixture, hostile_fixture  # noqa: F401

pytestmark = pytest.mark.timeout(60)  # a hang is what these tests are about

QUARTER = 1 << 19  # bytes
BODY = random.Random(0).randbytes(4 * QUARTER)
OTHER = random.Random(1).randbytes(4 * QUARTER)
LONGER = random.Random(2).randbytes(5 * QUARTER)
SHA256 = hashlib.sha256(BODY).hexdigest()


def changed_at(server, number, content):
    """From this request on the server has other content."""

    def change(asked):
        if asked == number:
            server.content = content

    server.before_answer = change


def fewer(reply):
    """A right answer for the first half of what was asked for, as is allowed."""
    start, stop = content_range(reply)
    stop = (start + stop + 1) // 2
    said = f"bytes {start}-{stop - 1}/{len(BODY)}"
    return replace(reply, body=reply.body[: stop - start], headers={**reply.headers, "Content-Range": said})


def more(reply):
    """More bytes than the Content-Range says."""
    return replace(reply, body=reply.body + b"more")


def said(text):
    """Content-Range as ``text``, with the right numbers filled in."""

    def apply(reply):
        start, stop = content_range(reply)
        filled = text.format(start=start, last=stop - 1, total=len(BODY))
        return replace(reply, headers={**reply.headers, "Content-Range": filled})

    return apply


def multipart(reply):
    start, stop = content_range(reply)
    part = f"\r\n--x\r\nContent-Range: bytes {start}-{stop - 1}/{len(BODY)}\r\n\r\n".encode()
    kind = {"Content-Type": "multipart/byteranges; boundary=x"}
    kept = {name: text for name, text in reply.headers.items() if name != "Content-Range"}
    return replace(reply, body=part + reply.body + b"\r\n--x--\r\n", headers={**kept, **kind})


RIGHT_PARTS = {
    "fewer bytes than asked for": fewer,
    "s22: 416": lambda reply: refuse(416)(reply),
    "200 and everything": whole(BODY),
    "503": refuse(503),
    "cut": cut(200_000),
    "nothing of the body": cut(0),
    "reset at the last byte": cut(-1, reset=True),
    "stall": how(stall=100_000),
    "the connection ends after it": how(leaves=True),
    "no Content-Length": how(framing="close"),
    "chunked": how(framing="chunked"),
}
WRONG_PARTS = {
    "s21: another offset": shifted(-7, BODY),
    "s21: another offset, of other bytes": shifted(1000, BODY),
    "from the start": said("bytes 0-{last}/{total}"),
    "another total": said("bytes {start}-{last}/9999999"),
    "the total *": said("bytes {start}-{last}/*"),
    "another unit": said("lines {start}-{last}/{total}"),
    "a Content-Range of nothing": said("bytes */{total}"),
    "a Content-Range that ends before it starts": said("bytes {last}-{start}/{total}"),
    "a Content-Range of huge numbers": said(f"bytes {'9' * 5000}-{{last}}/{{total}}"),
    "no Content-Range": headers(content_range=None),
    "multipart/byteranges": multipart,
    "another ETag": headers(etag='"another"'),
    "more bytes than it says": more,
    "a Content-Length that is too short": lie(-1000),
    "a Content-Length that is too long": lie(1000),
}
NO_PARTS = {"404": refuse(404), "403": refuse(403), "a redirect in circles": redirect("/data.bin")}


@pytest.mark.parametrize(
    "fault", (RIGHT_PARTS | WRONG_PARTS).values(), ids=(RIGHT_PARTS | WRONG_PARTS).keys()
)
def test_a_wrong_part_once(hostile, get, fault):
    """It costs an attempt, or the parts that came before."""
    server = hostile(BODY, cut(QUARTER), in_ranges(fault))
    assert get(server, timeout=(5.0, 0.5)) == BODY


@pytest.mark.parametrize("fault", (WRONG_PARTS | NO_PARTS).values(), ids=(WRONG_PARTS | NO_PARTS).keys())
def test_a_wrong_part_always(hostile, get, fault):
    """Whoever cannot be asked for a part can be asked for the whole, or there is an error; it ends soon."""
    server = hostile(BODY, cut(QUARTER), always=in_ranges(fault))
    try:
        assert get(server) == BODY
    except DownloadError:
        assert len(server.asked) <= 100  # eight connections that follow ten redirects each


@pytest.mark.parametrize(
    "fault", (RIGHT_PARTS | WRONG_PARTS).values(), ids=(RIGHT_PARTS | WRONG_PARTS).keys()
)
def test_wrong_parts_and_every_answer_cut(hostile, get, fault):
    """Nothing but errors may come of it, and they come soon."""
    cut_if_whole = lambda reply: cut(QUARTER)(reply) if reply.status == 200 else reply  # noqa: E731
    server = hostile(BODY, always=both(in_ranges(fault), cut_if_whole))
    with suppress(DownloadError):
        assert get(server, timeout=(5.0, 0.1)) == BODY


@pytest.mark.parametrize("honoured", [True, False], ids=["s19: If-Range honoured", "s20: If-Range ignored"])
@pytest.mark.parametrize(
    "content", [OTHER, LONGER, BODY[:QUARTER], b""], ids=["same length", "longer", "cut off", "empty"]
)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_s19_s20_changed_between_requests(hostile, get, honoured, content, number):
    """All of one or all of the other."""
    server = hostile(BODY, cut(QUARTER), cut(500_000), cut(100_000), honours_if_range=honoured)
    changed_at(server, number, content)
    assert get(server) == content


@pytest.mark.parametrize(
    "validators", [{"modified": None}, {}], ids=["a weak ETag", "a weak ETag and a date"]
)
def test_changed_below_a_weak_etag(hostile, get, validators):
    """A weak ETag promises no bytes; a date does where it changed."""
    server = hostile(BODY, cut(QUARTER), etag="weak", honours_if_range=False, **validators)
    changed_at(server, 1, OTHER)
    server.modified = validators.get("modified", "Tue, 02 Jan 2024 00:00:00 GMT")
    assert get(server) == OTHER


@pytest.mark.parametrize("number", [1, 2, 4])
def test_changed_without_a_validator(hostile, get, number):
    """With nothing that tells versions apart, nothing is put together of two answers."""
    server = hostile(BODY, cut(QUARTER), cut(QUARTER), etag="none", modified=None)
    changed_at(server, number, OTHER)
    assert get(server) in (BODY, OTHER)
    assert all(asked.range in (None, (0, None), (0, len(BODY))) for asked in server.asked)


def test_resumed_without_a_validator_for_a_digest(hostile, get):
    server = hostile(BODY, cut(QUARTER), etag="none", modified=None)
    assert get(server, file_hash=SHA256, connections=1) == BODY
    assert server.bytes_sent == len(BODY)
    assert {asked.status for asked in server.asked[1:]} == {206}


def test_a_mixture_that_only_the_digest_notices(hostile, get):
    """Once more from zero, without a range."""
    server = hostile(OTHER, cut(QUARTER), etag="none", modified=None)
    changed_at(server, 1, BODY)
    assert get(server, file_hash=SHA256, connections=1) == BODY
    assert [asked.range is None for asked in server.asked][:2] == [True, False]
    assert [asked.range for asked in server.asked].count(None) == 2


def test_a_mixture_that_never_becomes_right(hostile, get):
    server = hostile(OTHER, cut(QUARTER), etag="none", modified=None)
    server.always = flip(0)
    with pytest.raises(DigestError):
        get(server, file_hash=SHA256)
    assert len(server.asked) <= 20


def test_only_a_date_tells_versions_apart(hostile, get):
    """Whether it is trusted or not, the file is right, and a range is never asked for without it."""
    server = hostile(BODY, cut(QUARTER), cut(QUARTER), etag="none")
    assert get(server) == BODY
    for asked in server.asked:
        assert asked.range is None or not asked.range[0] or asked.headers["if-range"] == server.modified


@pytest.mark.parametrize("promised", [{}, {"file_hash": SHA256}], ids=["no digest", "digest"])
def test_each_node_has_an_etag_of_its_own(hostile, get, promised):
    """As with content networks: the same bytes, and never the same validator twice."""
    numbers = itertools.count()
    server = hostile(BODY, both(headers(etag='"first"'), cut(QUARTER)))
    server.fault_of = lambda asked: headers(etag=f'"node-{next(numbers)}"') if asked.number else None
    assert get(server, **promised) == BODY


def test_200_to_the_condition(hostile, get):
    """Some servers answer every If-Range with the whole file."""
    server = hostile(BODY, cut(QUARTER))
    server.fault_of = lambda asked: whole(BODY) if "if-range" in asked.headers else None
    assert get(server) == BODY


def test_bytes_that_follow_the_last_one(hostile, get):
    """What a server sends beyond the length that it named belongs to no file and to no next answer."""
    server = hostile(BODY, cut(QUARTER), always=lie(-1000))
    with suppress(BefitError):
        assert get(server, file_hash=SHA256) == BODY


@pytest.mark.parametrize("number", [1, 2, 5, 12])
@pytest.mark.parametrize("honoured", [True, False], ids=["If-Range honoured", "If-Range ignored"])
def test_changed_while_many_connections_read(hostile, get, number, honoured):
    """A slow server, so that the file is read by parts at once: all of one or all of the other."""
    server = hostile(BODY, honours_if_range=honoured, rate=16e6)
    changed_at(server, number, OTHER)
    assert get(server) in (BODY, OTHER)


@pytest.mark.parametrize("fault", WRONG_PARTS.values(), ids=WRONG_PARTS.keys())
def test_a_wrong_part_among_others(hostile, get, fault):
    server = hostile(BODY, rate=16e6)
    server.fault_of = lambda asked: in_ranges(fault) if asked.number in (1, 4, 9) else None
    assert get(server) == BODY
