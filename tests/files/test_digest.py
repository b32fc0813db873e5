"""Digests in every spelling, and only those."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArgumentError
from befit.files.digest import (
    ALGORITHMS,
    Digest,
    FileDigests,
    Hasher,
    digests_of,
    expected_digest,
    parse_digest,
)

MD5, SHA256 = hashlib.md5(b"x").hexdigest(), hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_length_names_the_algorithm(algorithm):
    digits = hashlib.new(algorithm, b"x").hexdigest()
    assert parse_digest(digits) == Digest(algorithm, digits)
    assert parse_digest(f"{algorithm}:{digits.upper()} ") == Digest(algorithm, digits)
    assert parse_digest(digits, algorithm) == Digest(algorithm, digits)


@pytest.mark.parametrize(
    "text", ["", "abc", "z" * 32, "sha256:", MD5[:-1], f"sha256:{MD5}", f"whirl:{SHA256}", "0x" + MD5]
)
def test_what_is_no_digest_is_refused(text):
    with pytest.raises(ArgumentError):
        parse_digest(text)


def test_a_digest_of_another_algorithm_than_named_is_refused():
    with pytest.raises(ArgumentError, match="which is a md5 hash, not sha256"):
        expected_digest(None, MD5, "sha256")


def test_an_unknown_algorithm_is_refused_even_without_a_digest():
    with pytest.raises(ArgumentError, match="unknown hash algorithm 'crc32'"):
        expected_digest(None, None, "crc32")


def test_names_of_algorithms_are_compared_by_value_and_not_by_case():
    built_at_run_time = "".join(["SHA", "-", "256"])
    assert expected_digest(None, SHA256, built_at_run_time) == Digest("sha256", SHA256)


def test_file_hash_wins_over_md5_hash_as_in_keras():
    assert expected_digest(MD5, SHA256, "auto") == Digest("sha256", SHA256)
    assert expected_digest(MD5, None, "sha256") == Digest("md5", MD5)
    assert expected_digest(None, None, "auto") is None


@given(st.lists(st.binary(max_size=50), max_size=5), st.sampled_from(ALGORITHMS))
def test_a_hasher_agrees_with_hashlib_however_the_bytes_are_cut(pieces, algorithm):
    hasher = Hasher({algorithm, "sha256"})
    for piece in pieces:
        hasher.update(piece)
    assert hasher.digest(algorithm).hexdigest == hashlib.new(algorithm, b"".join(pieces)).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1])
def test_a_file_is_read_once_for_all_its_digests(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert digests_of(tmp_path / "file", {"md5", "sha256"}) == {
        name: Digest(name, hashlib.new(name, content).hexdigest()) for name in ("md5", "sha256")
    }


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path, monkeypatch):
    file, read = tmp_path / "f", []

    def counted(path, algorithms):
        read.extend(algorithms)
        return digests_of(path, algorithms)

    monkeypatch.setattr("befit.files.digest.digests_of", counted)
    digests = FileDigests()
    file.write_bytes(b"x")
    for _ in range(3):
        assert digests.of(file, "sha256") == Digest("sha256", SHA256)
        assert digests.of(file, "md5") == Digest("md5", MD5)
    assert read == ["sha256", "md5"]
    (tmp_path / "other").write_bytes(b"y")
    os.utime(tmp_path / "other", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    os.replace(tmp_path / "other", file)
    assert digests.of(file, "sha256").hexdigest == hashlib.sha256(b"y").hexdigest(), "same size and time"
