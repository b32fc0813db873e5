"""Digests: what the caller expects, and what the bytes have."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns

from befit.errors import ArgumentError
from befit.files.stamp import Fingerprint, Stamp, read_stamp, save_stamp

ALGORITHM_OF_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
ALGORITHMS = tuple(ALGORITHM_OF_LENGTH.values())
_CHUNK = 1 << 20


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

    def update(self, data: bytes | memoryview) -> None:
        """Add ``data`` to every digest."""
        for running in self._hashes.values():
            running.update(data)

    def digest(self, algorithm: str) -> Digest:
        """Return the digest of the bytes so far."""
        return Digest(algorithm, self._hashes[algorithm].hexdigest())


def digests_in(file: io.RawIOBase | io.BufferedIOBase, algorithms: Collection[str]) -> dict[str, Digest]:
    """Return the digests of what is left to read of ``file``, which is read once."""
    hasher = Hasher(algorithms)
    buffer = memoryview(bytearray(_CHUNK))
    while size := file.readinto(buffer):
        hasher.update(buffer[:size])
    return {name: hasher.digest(name) for name in algorithms}


def digests_of(path: Path, algorithms: Collection[str]) -> dict[str, Digest]:
    """Return the digests of the file at ``path``, which is read once."""
    with path.open("rb", buffering=0) as file:
        return digests_in(file, algorithms)


class FileDigests:
    """Digests of files during one call: a file is read only if neither its stamp nor this call knows them.

    What was read is stamped, so that the next call need not. One thing is never written over: a recorded
    digest that the file does not have any more, for that may be damage. ``accept`` says that it is not.
    """

    def __init__(self, *, trust_stamps: bool = True) -> None:
        self._trust_stamps = trust_stamps
        self._known: dict[tuple[Path, Fingerprint], dict[str, str]] = {}
        self._contradictions: dict[Path, Stamp] = {}

    def of(self, path: Path, algorithm: str) -> Digest:
        """Return the digest of the file at ``path``."""
        return self.one_of(path, (algorithm,))

    def one_of(self, path: Path, algorithms: Collection[str]) -> Digest:
        """Return the digest of the file at ``path`` by one of ``algorithms``, whichever is known already."""
        found = Fingerprint.of(path.stat())
        known = self._known.setdefault((path, found), {})
        if known.keys().isdisjoint(algorithms):
            stamp = read_stamp(path)
            if self._trust_stamps and stamp is not None and stamp.fingerprint.is_same(found):
                known.update(stamp.digests)
            if known.keys().isdisjoint(algorithms):
                wanted = "sha256" if "sha256" in algorithms else next(iter(algorithms))
                known.update(self._read(path, wanted, found, stamp))
        algorithm = next(name for name in algorithms if name in known)
        return Digest(algorithm, known[algorithm])

    def accept(self, path: Path) -> None:
        """Take the file as it was read for a good one, whatever was recorded of it before."""
        stamp = self._contradictions.pop(path, None)
        if stamp is not None:
            save_stamp(path, stamp)

    def _read(self, path: Path, algorithm: str, found: Fingerprint, stamp: Stamp | None) -> dict[str, str]:
        recorded = {} if stamp is None else stamp.digests
        wanted = {algorithm}
        if recorded and algorithm not in recorded:
            wanted.add(next(iter(recorded)))  # to see whether the other recorded digests still hold
        started = time_ns()
        digests = {name: digest.hexdigest for name, digest in digests_of(path, wanted).items()}
        if not found.is_same(Fingerprint.of(path.stat())) or not found.is_settled(started):
            return digests  # it changed meanwhile, or could have without a trace: the next call reads again
        if any(recorded.get(name, digits) != digits for name, digits in digests.items()):
            self._contradictions[path] = Stamp(found, digests)
        elif stamp is None:
            save_stamp(path, Stamp(found, digests))
        elif not (stamp.fingerprint.is_same(found) and algorithm in recorded):
            save_stamp(path, replace(stamp, fingerprint=found, digests={**recorded, **digests}))
        return digests


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
