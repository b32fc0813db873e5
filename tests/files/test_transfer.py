"""Origins that are not HTTP, and arguments of a transfer."""

import hashlib
import os
from contextlib import contextmanager
from urllib.error import URLError

import pytest

from befit.errors import ArgumentError, DownloadError
from befit.files.retry import TransientError
from befit.files.transfer import Body, TransferOptions, transfer


@pytest.fixture
def options():
    return TransferOptions.checked(None, 5.0, 2, False)


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "part"
    path.write_bytes(b"what an earlier attempt left, longer than the file itself")
    return path


@pytest.mark.parametrize("content", [b"", b"x", bytes(600_000)])
def test_a_file_url_is_copied_and_hashed(tmp_path, part, options, content):
    origin = tmp_path / "with space \u00e9#%.bin"
    origin.write_bytes(content)
    hasher = transfer(origin.as_uri(), part, {"md5"}, options, description="x")
    assert part.read_bytes() == content
    assert len(hasher.digest("md5").hexdigest) == 32


def test_localhost_is_this_machine(tmp_path, part, options):
    (tmp_path / "f").write_bytes(b"x")
    transfer(
        (tmp_path / "f").as_uri().replace("file://", "file://localhost"),
        part,
        set(),
        options,
        description="x",
    )
    assert part.read_bytes() == b"x"


def test_file_urls_that_name_no_file(tmp_path, part, options):
    with pytest.raises(DownloadError, match=r"cannot read .*: No such file"):
        transfer((tmp_path / "missing").as_uri(), part, set(), options, description="x")
    with pytest.raises(DownloadError, match="is not a file"):
        transfer(tmp_path.as_uri(), part, set(), options, description="x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DownloadError, match="is not a file"):
            transfer((tmp_path / "pipe").as_uri(), part, set(), options, description="x")
    with pytest.raises(ArgumentError, match="names the machine 'server'"):
        transfer("file://server/share/x", part, set(), options, description="x")
    with pytest.raises(ArgumentError, match="NUL"):
        transfer("file:///a%00b", part, set(), options, description="x")


def test_a_file_url_that_python_cannot_turn_into_a_path(part, options, monkeypatch):
    """As Python 3.14 does with a machine's name in the path; the error has no ``strerror``."""

    def refuse(path):
        raise URLError("file:// scheme is supported only on localhost")

    monkeypatch.setattr("befit.files.transfer.url2pathname", refuse)
    with pytest.raises(DownloadError, match=r"cannot read //host/share/x: .*only on localhost.*from file:"):
        transfer("file:////host/share/x", part, set(), options, description="x")


@pytest.mark.parametrize(
    ("origin", "says"),
    [
        ("s3://bucket/x", "scheme 's3'"),
        ("ftp://h/x", "scheme 'ftp'"),
        ("data:,x", "scheme 'data'"),
        ("/data/x", "as_uri"),
        ("C:\\data\\x", "as_uri"),
        ("x.txt", "as_uri"),
    ],
)
def test_other_origins_are_refused_with_what_to_write(part, options, origin, says):
    with pytest.raises(ArgumentError, match=says):
        transfer(origin, part, set(), options, description="x")


@pytest.mark.parametrize(
    "arguments",
    [
        (None, 0, 1, None),
        (None, -1.0, 1, None),
        (None, (1.0, 0), 1, None),
        (None, (1, 2, 3), 1, None),
        (None, (), 1, None),
        (None, float("inf"), 1, None),
        (None, float("nan"), 1, None),
        (None, "10", 1, None),
        (None, 1.0, -1, None),
        (None, 1.0, 1.5, None),
        ({"A": "b\nc"}, 1.0, 1, None),
        ({1: "x"}, 1.0, 1, None),
        ({"A": 1}, 1.0, 1, None),
    ],
)
def test_options_that_cannot_work_are_refused(arguments):
    with pytest.raises(ArgumentError):
        TransferOptions.checked(*arguments)


def test_one_timeout_counts_for_both():
    assert TransferOptions.checked(None, 3.0, 0, None).read_timeout == 3.0
    assert TransferOptions.checked(None, (1.0, 2.0), 0, None).connect_timeout == 1.0


def test_a_later_attempt_starts_from_nothing(part, options, monkeypatch, pauses):
    """Bytes of a failed attempt are neither in the file nor in the digest."""

    def failing():
        yield b"first half"
        raise TransientError("cut")

    bodies = [failing(), iter([b"whole"])]

    @contextmanager
    def opened(origin, options):
        yield Body(bodies.pop(0), None)

    monkeypatch.setattr("befit.files.transfer._open", opened)
    hasher = transfer("http://h/x", part, {"md5"}, options, description="x")
    assert part.read_bytes() == b"whole"
    assert hasher.digest("md5").hexdigest == hashlib.md5(b"whole").hexdigest()
    assert len(pauses) == 1
