"""The arguments of a transfer, and what of them nobody else may see."""

import logging

import pytest

from befit.errors import ArgumentError, DownloadError
from befit.files import get_file
from befit.files.options import TransferOptions
from befit.files.url import shown, split_url


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": (1.0, 0)},
        {"timeout": (1, 2, 3)},
        {"timeout": ()},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"timeout": "10"},
        {"retries": -1},
        {"retries": 1.5},
        {"connections": 0},
        {"connections": 33},
        {"connections": "8"},
        {"headers": {"A": "b\nc"}},
        {"headers": {1: "x"}},
        {"headers": {"A": 1}},
    ],
)
def test_options_that_cannot_work_are_refused(arguments):
    usual = {"headers": None, "timeout": 1.0, "retries": 1, "connections": 1, "progress": None}
    with pytest.raises(ArgumentError):
        TransferOptions.checked(**{**usual, **arguments})


def test_one_timeout_counts_for_both():
    assert TransferOptions.checked(None, 3.0, 0, 1, None).read_timeout == 3.0
    assert TransferOptions.checked(None, (1.0, 2.0), 0, 1, None).connect_timeout == 1.0


@pytest.mark.parametrize(
    ("origin", "mirror", "headers", "of_client"),
    [
        ("https://a/x", "https://a/y", {"Cookie", "User-Agent"}, True),
        ("https://a/x", "https://b/x", {"User-Agent"}, True),
        ("http://a/x", "https://a/x", {"Cookie", "User-Agent"}, True),
        ("https://a/x", "http://a/x", {"User-Agent"}, False),
        ("s3://a/x", "s3://b/x", {"User-Agent"}, True),
        ("s3://a/x", "https://a/x", {"User-Agent"}, False),
        ("s3://a/x", "gs://a/x", {"User-Agent"}, False),
    ],
)
def test_what_is_meant_for_the_origin_does_not_go_to_a_mirror_elsewhere(origin, mirror, headers, of_client):
    given = {"Cookie": "secret", "User-Agent": "mine"}
    options = TransferOptions.checked(given, 1.0, 3, 2, None, {"key": "secret"})
    theirs = options.for_mirror(split_url(origin), split_url(mirror))
    assert set(theirs.headers) == headers
    assert theirs.storage_options == ({"key": "secret"} if of_client else {})
    assert (theirs.retries, theirs.connections) == (3, 2)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://me:secret@h:1/a/b?X=secret#secret", "https://h:1/a/b?…"),
        ("https://h/a@b", "https://h/a@b"),
        ("https://me:secret@[::1/x?secret", "https://[::1/x?…"),
        ("https://me@secret@h/x", "https://h/x"),
        ("http:///x?secret", "http:///x?…"),
        ("https://h?secret", "https://h?…"),
        ("https://h/x#secret", "https://h/x"),
        ("x", "x"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url, safe):
    assert shown(url) == safe


BODY = bytes(range(256)) * 2000
DATED = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
PART = {"Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
TAGGED = {"ETag": '"b"', **PART}


CUT = {"body": BODY, "sent": 100_000, "headers": DATED}
REST = {"body": BODY[100_000:], "status": 206}


def to(location):
    return [{"status": 302, "headers": {"Location": location}}]


ANSWERS = {
    "404": [{"status": 404}],
    "403": [{"status": 403}],
    "418": [{"status": 418}],
    "503": [{"status": 503}],
    "cut": [{"body": BODY, "sent": 1000}],
    "not gzip": [{"body": BODY, "headers": {"Content-Encoding": "gzip"}}],
    "unknown encoding": [{"body": BODY, "headers": {"Content-Encoding": "x"}}],
    "no version": [CUT, {**REST, "headers": PART}],
    "other version": [CUT, {**REST, "headers": TAGGED}],
    "no range": [CUT, {"status": 416}],
    "whole": [CUT, {"body": BODY, "sent": 0}],
    "no URL": to("http://me:s3cret@[::1/x?s3cret"),
    "no port": to("http://me:s3cret@h:port/x?s3cret"),
    "ftp": to("ftp://me:s3cret@h/?s3cret"),
    "loop": to("/file?s3cret"),
    "nowhere": to(""),
}


@pytest.mark.parametrize("answers", ANSWERS.values(), ids=ANSWERS)
def test_no_secret_of_a_url_is_shown_or_logged(server, answer, cache, caplog, answers):
    caplog.set_level(logging.DEBUG, logger="befit")
    url = server.serve("/file?s3cret", *(answer(**fields) for fields in answers), answer(status=404))
    if answers[0].get("status"):
        server.answers["/file?s3cret"].pop()
    with pytest.raises(DownloadError) as caught:
        get_file("x", url.replace("http://", "http://me:s3cret@"), cache_dir=cache, retries=1, connections=1)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("befit")]
    assert told
    assert not [text for text in [str(caught.value), *told] if "s3cret" in text]


@pytest.mark.parametrize(
    "url", ["http://me:s3cret@[::1/x?s3cret", "http:///x?s3cret", "http://me:s3cret@h:port/?s3cret"]
)
def test_what_is_no_url_is_shown_without_secrets_too(cache, url):
    with pytest.raises(ArgumentError) as caught:
        get_file("x", url, cache_dir=cache)
    assert "s3cret" not in str(caught.value)
