"""Hashes of files against hashlib."""

from __future__ import annotations

import hashlib

import pytest

from befit.errors import ArgumentError
from befit.legacy import hash_file, validate_file

DATA = bytes(range(256)) * 500
ALGORITHMS = ("md5", "sha1", "sha256", "sha384", "sha512")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_hashes_are_those_of_hashlib(path, algorithm):
    expected = hashlib.new(algorithm, DATA).hexdigest()
    assert hash_file(path, algorithm) == expected
    assert hash_file(str(path), algorithm.upper(), chunk_size=7) == expected
    assert validate_file(path, expected)
    assert validate_file(str(path), expected.upper(), algorithm, 7)
    path.write_bytes(DATA[:-1])
    assert not validate_file(path, expected, algorithm)


def test_sha256_is_the_default(path):
    assert hash_file(path) == hashlib.sha256(DATA).hexdigest()


def test_looking_leaves_nothing_beside_the_file(path):
    validate_file(path, hash_file(path))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("algorithm", ["auto", "crc32", None])
def test_an_algorithm_that_is_none_is_refused(path, algorithm):
    with pytest.raises(ArgumentError, match=r"write .*sha256"):
        hash_file(path, algorithm)


def test_a_hash_that_no_file_can_have_is_refused(path):
    with pytest.raises(ArgumentError, match="is not a file hash"):
        validate_file(path, "d41d8")
    with pytest.raises(ArgumentError, match="is a md5 hash by its length, not sha256"):
        validate_file(path, "0" * 32, "sha256")
    with pytest.raises(ArgumentError, match="is unknown"):
        validate_file(path, "0" * 32, "crc32")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        validate_file(tmp_path / "none", "0" * 32)
