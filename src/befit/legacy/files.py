"""Hashes of files."""

from __future__ import annotations

import os
from pathlib import Path

from befit.errors import ArgumentError
from befit.files.digest import ALGORITHMS, digests_of, parse_digest

__all__ = ["hash_file", "validate_file"]


def hash_file(fpath: str | os.PathLike[str], algorithm: str = "sha256", chunk_size: int = 65535) -> str:
    """Return the hash of a file in lower-case hexadecimal digits.

    Args:
        fpath: The file.
        algorithm: ``"sha256"``, ``"md5"``, ``"sha1"``, ``"sha384"`` or ``"sha512"``.
        chunk_size: Has no effect: the file is read in pieces of 1 MiB.

    Raises:
        ArgumentError: an unknown algorithm, or ``"auto"``, which needs a hash to be told from.
        OSError: the file cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "empty").write_bytes(b"")
        ...     hash_file(pathlib.Path(folder, "empty"), "md5")
        'd41d8cd98f00b204e9800998ecf8427e'

    Source: Keras 2.1, ``keras.utils.data_utils._hash_file``, which took every other name for md5.
    """
    name = _name(algorithm)
    if name == "auto":
        raise ArgumentError(
            f"algorithm='auto' is told from a hash, and there is none; write one of {', '.join(ALGORITHMS)}"
        )
    return digests_of(Path(fpath), (name,))[name].hexdigest


def validate_file(
    fpath: str | os.PathLike[str], file_hash: str, algorithm: str = "auto", chunk_size: int = 65535
) -> bool:
    """Return whether a file has a hash.

    Args:
        fpath: The file.
        file_hash: Hexadecimal digits of either case; ``"sha256:"`` or the like may stand before them.
        algorithm: ``"md5"``, ``"sha1"``, ``"sha256"``, ``"sha384"`` or ``"sha512"``; ``"auto"``: whichever
            has hashes of this length.
        chunk_size: Has no effect: the file is read in pieces of 1 MiB.

    Raises:
        ArgumentError: ``file_hash`` is no hash, or none of ``algorithm``, so no file can have it.
        OSError: the file cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "empty").write_bytes(b"")
        ...     validate_file(pathlib.Path(folder, "empty"), "d41d8cd98f00b204e9800998ecf8427e")
        True

    Source: Keras 2.1, ``keras.utils.data_utils.validate_file``.
    """
    name = _name(algorithm)
    expected = parse_digest(file_hash)
    if name not in ("auto", expected.algorithm):
        raise ArgumentError(
            f"{file_hash!r} is a {expected.algorithm} hash by its length, not {name}; write "
            f"algorithm='auto', or pass the {name} hash"
        )
    return digests_of(Path(fpath), (expected.algorithm,))[expected.algorithm] == expected


def _name(algorithm: str) -> str:
    """Return the name of an algorithm as ``befit.files`` spells it."""
    name = algorithm.strip().lower().replace("-", "") if isinstance(algorithm, str) else ""
    if name not in ("auto", *ALGORITHMS):
        raise ArgumentError(
            f"algorithm={algorithm!r} is unknown; write 'auto' or one of {', '.join(ALGORITHMS)}"
        )
    return name
