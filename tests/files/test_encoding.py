"""Content-Encoding: the file as it was before the way."""

import gzip

import pytest

from befit.errors import DownloadError
from befit.files.encoding import decoded
from befit.files.retry import TransientError

PLAIN = bytes(range(256)) * 5000


def cut(data, size=1000):
    return iter([data[at : at + size] for at in range(0, len(data), size)])


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_nothing_encoded_is_passed_on(encoding):
    assert b"".join(decoded(cut(PLAIN), encoding, "http://h/file")) == PLAIN


@pytest.mark.parametrize("size", [1, 7, 1000, 10**7])
def test_gzip_is_undone_however_it_is_cut(size):
    packed = gzip.compress(PLAIN) + gzip.compress(b"and a second stream")
    assert b"".join(decoded(cut(packed, size), "gzip", "http://h/file")) == PLAIN + b"and a second stream"


@pytest.mark.parametrize("size", [1, 1000])
def test_a_gz_file_that_the_server_calls_encoded_is_kept(size):
    """Apache's AddEncoding describes the file, it does not compress it."""
    file = gzip.compress(PLAIN)
    assert b"".join(decoded(cut(file, size), "x-gzip", "http://h/data.tar.gz?a=b")) == file


def test_a_gz_file_that_was_compressed_once_more_is_unpacked_once():
    file = gzip.compress(PLAIN)
    assert b"".join(decoded(cut(gzip.compress(file)), "gzip", "http://h/data.tgz")) == file


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-20], lambda packed: b"\0" + packed, lambda packed: b""]
)
def test_a_damaged_body_is_tried_again(damage):
    with pytest.raises(TransientError, match=r"damaged|cut short"):
        b"".join(decoded(cut(damage(gzip.compress(PLAIN))), "gzip", "http://h/file"))


def test_an_encoding_that_nobody_asked_for_is_named():
    with pytest.raises(DownloadError, match="Content-Encoding 'br'"):
        decoded(cut(PLAIN), "br", "http://h/file")
