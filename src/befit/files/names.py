"""The names of archive members: which are refused, and which collide."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, TypeAlias

from befit.errors import UnsafeArchiveError
from befit.files.limits import Limits

Parts: TypeAlias = tuple[str, ...]
"""The components of a path, outermost first."""

Kind: TypeAlias = Literal["file", "directory", "symlink", "hard link"]

_TEXT_DIRECTION = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_WINDOWS_FORBIDDEN = set('<>:"|?*')
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *)(\..*)?", re.IGNORECASE)
_LONGEST_NAME = 255  # bytes; what file systems take


def member_parts(name: str, limits: Limits) -> Parts:
    """Return the components of a member's name; ``()`` for the top folder itself.

    Raises:
        UnsafeArchiveError: a name that leaves the folder, or would on some system, or that hides what it is.
    """
    if name.startswith("/") or (name[1:2] == ":" and name[0].isalpha() and name[0].isascii()):
        raise UnsafeArchiveError(f"member {name!r} has an absolute path")
    if "\\" in name:
        raise UnsafeArchiveError(f"member {name!r} has a backslash in its name")
    parts = tuple([part for part in name.split("/") if part and part != "."])
    if ".." in parts:
        raise UnsafeArchiveError(f"member {name!r} leaves the folder with '..'")
    # Characters of both kinds are among those that Python does not call printable.
    if not name.isprintable() and any(
        unicodedata.category(character) == "Cc" or character in _TEXT_DIRECTION for character in name
    ):
        raise UnsafeArchiveError(f"member {name!r} has control characters in its name")
    if os.name == "nt" and any(map(_forbidden_on_windows, parts)):
        raise UnsafeArchiveError(f"member {name!r} has a name that Windows cannot store")
    length = _stored_length(name)
    if length > limits.path_bytes or (
        length > _LONGEST_NAME and any(_stored_length(part) > _LONGEST_NAME for part in parts)
    ):
        raise UnsafeArchiveError(
            f"member {name[:60]!r}… has a path of {length} bytes; at most {limits.path_bytes}, and "
            f"{_LONGEST_NAME} for one name, are taken"
        )
    if len(parts) > limits.depth + 1:
        raise UnsafeArchiveError(
            f"member {name[:60]!r}… lies {len(parts) - 1} folders deep; at most {limits.depth} are taken"
        )
    return parts


class Catalogue:
    """Every member so far, folders that are only implied included, and what it is."""

    def __init__(self) -> None:
        self._kinds: dict[Parts, Kind] = {}
        # From a path as file systems that ignore case and Unicode forms see it, to how it is written here;
        # only where the two differ.
        self._spellings: dict[Parts, Parts] = {}

    def add(self, parts: Parts, kind: Kind) -> None:
        """Enter a member.

        Raises:
            UnsafeArchiveError: the name is taken, as it stands or where upper and lower case or Unicode
                forms do not count; or the member lies in something that is not a folder.
        """
        if self._kinds.get(parts[:-1]) != "directory":
            for depth in range(1, len(parts)):
                self._add_one(parts[:depth], "directory")
        if parts:
            self._add_one(parts, kind)

    def kind(self, parts: Parts) -> Kind | None:
        """Return what the member is, ``None`` if there is none of that name."""
        return "directory" if not parts else self._kinds.get(parts)

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[tuple[Parts, Kind]]:
        """Yield every member, a folder before what lies in it."""
        return iter(self._kinds.items())

    def _add_one(self, parts: Parts, kind: Kind) -> None:
        known = self._kinds.get(parts)
        if known is None:
            self._check_spelling(parts)
            self._kinds[parts] = kind
        elif not known == kind == "directory":
            what = "appears twice" if known == kind else f"is both a {known} and a {kind}"
            raise UnsafeArchiveError(f"member {'/'.join(parts)!r} {what}")

    def _check_spelling(self, parts: Parts) -> None:
        # The folder was entered before: if it had another spelling, that was refused.
        folded = *parts[:-1], _folded(parts[-1])
        other = self._spellings.get(folded)
        if folded != parts:
            if other is None and folded in self._kinds:
                other = folded
            self._spellings.setdefault(folded, parts)
        if other is not None and other != parts:
            raise UnsafeArchiveError(
                f"members {'/'.join(other)!r} and {'/'.join(parts)!r} are one file on systems that "
                f"ignore case or Unicode forms"
            )


def _folded(part: str) -> str:
    if part.isascii():
        return part.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def _stored_length(name: str) -> int:
    return len(name) if name.isascii() else len(name.encode("utf-8", errors="surrogateescape"))


def _forbidden_on_windows(part: str) -> bool:
    return bool(
        _WINDOWS_FORBIDDEN & set(part) or part.endswith((" ", ".")) or _WINDOWS_DEVICES.fullmatch(part)
    )
