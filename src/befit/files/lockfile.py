"""The lock file: digests that a team has agreed on, one line a file, in the format of pooch's registries.

::

    # comments and empty lines are kept
    flowers/iris.csv sha256:9f86d081884c7d65…  https://example.org/data/iris.csv

A file that has no line yet gets one from the first download (trust on first use); every later download, by
whomever, must bring the same bytes.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from befit._internal import settings
from befit._internal.staging import part_file, sweep
from befit.errors import ArgumentError, DigestError
from befit.files.digest import ALGORITHMS, Digest, parse_digest
from befit.files.location import Location
from befit.files.lock import exclusive, lock_path
from befit.files.stamp import Fingerprint
from befit.files.url import split_url, without_credentials

_FOREIGN_DIGEST = re.compile(r"(?P<algorithm>[a-z0-9_]+):[0-9a-f]+", re.IGNORECASE)
# Parts of a query that let somebody in. Signed URLs are other ones each time besides.
# fmt: off
_SECRETS = {
    "access_token", "api_key", "apikey", "auth", "auth_token", "authorization", "awsaccesskeyid", "expires",
    "key", "key-pair-id", "passwd", "password", "policy", "private_token", "pwd", "secret", "se", "sig",
    "signature", "skoid", "sktid", "sp", "spr", "st", "token",
}
# fmt: on
_SIGNATURES = ("x-amz-", "x-goog-")


@dataclass(frozen=True)
class Line:
    """A file and its digest, as a line of the lock file has them."""

    number: int
    name: str
    digest: Digest | None
    """``None``: by an algorithm that only other tools know."""

    url: str | None


@dataclass(frozen=True)
class Lock:
    """A lock file, and what it says of one file."""

    path: Path
    name: str
    """The file's name in the cache, below ``cache_subdir``."""

    origin: str = field(repr=False)
    line: Line | None
    """``None``: the file is to be entered."""

    @property
    def digest(self) -> Digest | None:
        """The digest that the file must have."""
        return None if self.line is None else self.line.digest

    def remark(self, digest: Digest) -> str:
        """Return what to say where a file does not have ``digest``; empty if that is not from here."""
        if self.line is None or digest != self.line.digest:
            return ""
        where = f"{self.path}, line {self.line.number}"
        return f"; {where}, expects it: if the new content is right, remove that line"


def lock_of(
    path: str | os.PathLike[str] | None,
    fname: str | os.PathLike[str] | None,
    origin: str,
    location: Location,
    expected: Digest | None,
) -> Lock | None:
    """Return what a call of ``get_file`` finds in its lock file; ``None``: it has none.

    Raises:
        ArgumentError: the lock file says something else than ``expected``, or cannot be read.
    """
    path = settings.lock_file() if path is None else path
    if path is None:
        return None
    above = Path() if fname is None or Path(fname).is_absolute() else Path(fname).parent
    lock = find_line(Path(path).expanduser(), (above / location.file.name).as_posix(), origin)
    if lock.line is None or lock.digest is None or expected is None:
        return lock
    if expected.algorithm == lock.digest.algorithm and expected != lock.digest:
        raise ArgumentError(
            f"file_hash is the {expected}, and {lock.path}, line {lock.line.number}, has the {lock.digest} "
            f"for {lock.name}; correct one of them"
        )
    return lock


def find_line(path: Path, name: str, origin: str) -> Lock:
    """Return what the lock file at ``path`` says of ``origin``; one that does not exist says nothing.

    A line with the same URL counts, else one without a URL that has the same name.

    Raises:
        ArgumentError: the lock file cannot be read, or a line of it.
    """
    url = recorded_url(origin)
    # With a part of the query left out, two files may have the same URL.
    is_exact = url == without_credentials(split_url(origin))
    by_name = None
    by_url = None
    for line in _lines(path):
        if line.url is None:
            by_name = line if line.name == name else by_name
        elif _recorded(line.url) == url and (is_exact or line.name == name):
            by_url = line
    found = by_url or by_name
    if found is not None and found.digest is None:
        raise ArgumentError(
            f"{path}, line {found.number}: get_file knows digests by {', '.join(ALGORITHMS)} only; write one "
            f"of these, or remove the line"
        )
    return Lock(path, name, origin, found)


def record(lock: Lock, digest_by: Callable[[str], Digest]) -> None:
    """Append the line of a file that had none; all others stay as they are, byte for byte.

    Args:
        lock: What the lock file said before the download.
        digest_by: Gives the digest of the file by an algorithm.

    Raises:
        DigestError: another process was faster, and its file has another digest.
        ArgumentError: the lock file cannot be written.
    """
    path = Path(os.path.realpath(lock.path))  # a link stays one
    try:
        with exclusive(lock_path(path)):
            sweep(path)
            lock = find_line(path, lock.name, lock.origin)
            if lock.digest is not None:
                found = digest_by(lock.digest.algorithm)
                if found != lock.digest:
                    remark = lock.remark(lock.digest)
                    raise DigestError(f"{lock.name}: expected {lock.digest}, got {found}{remark}")
                return
            _append(path, _written(lock.name, digest_by("sha256"), recorded_url(lock.origin)))
    except OSError as error:
        raise ArgumentError(
            f"cannot write the lock file {path}: {error.strerror or error}; enter {lock.name} where it can "
            f"be written, or pass its digest as file_hash"
        ) from error


def recorded_url(url: str) -> str:
    """Return ``url`` as it is written down: without user, password, fragment, tokens and signatures.

    >>> recorded_url("https://me:secret@example.org/data?version=2&token=abc#top")
    'https://example.org/data?version=2'
    """
    parts = split_url(url)
    kept = (part for part in parts.query.split("&") if not _is_secret(part.partition("=")[0].lower()))
    return without_credentials(parts._replace(query="&".join(kept)))


def _recorded(url: str) -> str:
    return recorded_url(url) if "@" in url or "?" in url or "#" in url else url


def _is_secret(name: str) -> bool:
    return name in _SECRETS or name.startswith(_SIGNATURES)


def _lines(path: Path) -> Sequence[Line]:
    try:
        return _read(path, Fingerprint.of(path.stat()))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"the lock file {path} cannot be read: {error}") from error


@lru_cache(maxsize=4)
def _read(path: Path, _: Fingerprint) -> Sequence[Line]:
    """Return the lines; those of a long file are taken apart once, and again only after it has changed."""
    text = path.read_bytes().decode("utf-8-sig")
    stripped = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    return [_parsed(path, number, line) for number, line in stripped if line and not line.startswith("#")]


def _parsed(path: Path, number: int, text: str) -> Line:
    try:
        plain = text.isascii() and not any(quote in text for quote in "'\"\\")
        words = text.split() if plain else shlex.split(text)  # shlex is slow
        if len(words) not in (2, 3):
            raise ArgumentError(f"{len(words)} words")
        return Line(number, words[0], _digest(words[1]), words[2] if len(words) == 3 else None)
    except ValueError as error:  # an ArgumentError too
        raise ArgumentError(
            f"{path}, line {number}: {text!r} is not 'name algorithm:digest' and perhaps a URL ({error})"
        ) from error


def _digest(text: str) -> Digest | None:
    foreign = _FOREIGN_DIGEST.fullmatch(text)
    if foreign is not None and foreign["algorithm"].lower() not in ALGORITHMS:
        return None
    return parse_digest(text)


def _written(name: str, digest: Digest, url: str) -> str:
    line = f"{shlex.quote(name)} {digest.algorithm}:{digest.hexdigest} {shlex.quote(url)}"
    if not line.isprintable():
        raise ArgumentError(f"the name {name!r} cannot be written to a lock file; pass another fname")
    return line


def _append(path: Path, line: str) -> None:
    try:
        content = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        content, mode = b"", None
    end = b"\r\n" if b"\r\n" in content else b"\n"
    if content and not content.endswith(b"\n"):
        content += end
    with part_file(path) as part:
        part.write_bytes(content + line.encode() + end)
        if mode is not None:
            part.chmod(mode)
        os.replace(part, path)
