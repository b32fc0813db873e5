"""Digests: what the caller expects, and what the bytes have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from befit.errors import ArgumentError

ALGORITHM_OF_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
ALGORITHMS = tuple(ALGORITHM_OF_LENGTH.values())


@dataclass(frozen=True)
class Digest:
    """An algorithm and its result in lower-case hexadecimal digits."""

    algorithm: str
    hexdigest: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hexdigest}"


class Hasher:
    """Computes the digests of several algorithms over the same bytes."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        # Integrity, not secrecy: md5 stays available where a policy forbids it for security.
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(self, data: bytes) -> None:
        """Add ``data`` to every digest."""
        for running in self._hashes.values():
            running.update(data)

    def digest(self, algorithm: str) -> Digest:
        """Return the digest of the bytes so far."""
        return Digest(algorithm, self._hashes[algorithm].hexdigest())


def digest_of(path: Path, algorithm: str) -> Digest:
    """Return the digest of the file at ``path``."""
    with path.open("rb") as file:
        running = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return Digest(algorithm, running.hexdigest())


class FileDigests:
    """Digests of files during one call: a file is read again only if it has changed since."""

    def __init__(self) -> None:
        self._known: dict[tuple[str | int, ...], Digest] = {}

    def of(self, path: Path, algorithm: str) -> Digest:
        """Return the digest of the file at ``path``."""
        found = path.stat()  # before it is read: if it changes meanwhile, the next look does not match
        seen = (algorithm, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if seen not in self._known:
            self._known[seen] = digest_of(path, algorithm)
        return self._known[seen]


def parse_digest(text: str, algorithm: str = "auto") -> Digest:
    """Return the digest that ``text`` writes: hexadecimal digits, with or without ``sha256:`` before them.

    >>> parse_digest("MD5:D41D8CD98F00B204E9800998ECF8427E")
    Digest(algorithm='md5', hexdigest='d41d8cd98f00b204e9800998ecf8427e')

    Raises:
        ArgumentError: not a digest, or one of another algorithm than ``algorithm``.
    """
    if not isinstance(text, str):
        raise ArgumentError(f"a file hash is a string of hexadecimal digits, not {text!r}")
    named, _, digits = text.strip().rpartition(":")
    digits = digits.strip().lower()
    found = ALGORITHM_OF_LENGTH.get(len(digits)) if re.fullmatch("[0-9a-f]+", digits) else None
    if found is None:
        raise ArgumentError(
            f"{text!r} is not a file hash: expected 32 (md5), 40 (sha1), 64 (sha256), 96 (sha384) or "
            f"128 (sha512) hexadecimal digits"
        )
    for claimed in (_algorithm(named or "auto"), _algorithm(algorithm)):
        if claimed not in ("auto", found):
            raise ArgumentError(
                f"{text!r} has {len(digits)} digits, which is a {found} hash, not {claimed}; "
                f"write hash_algorithm='auto' or pass the {claimed} hash"
            )
    return Digest(found, digits)


def expected_digest(md5_hash: str | None, file_hash: str | None, hash_algorithm: str) -> Digest | None:
    """Return the digest that the arguments of ``get_file`` ask for; ``file_hash`` wins over ``md5_hash``."""
    algorithm = _algorithm(hash_algorithm)
    if file_hash is not None:
        return parse_digest(file_hash, algorithm)
    if md5_hash is not None:
        return parse_digest(md5_hash, "md5")
    return None


def _algorithm(name: str) -> str:
    plain = name.strip().lower().replace("-", "") if isinstance(name, str) else name
    if plain != "auto" and plain not in ALGORITHMS:
        raise ArgumentError(
            f"unknown hash algorithm {name!r}; write 'auto' or one of {', '.join(ALGORITHMS)}"
        )
    return plain
