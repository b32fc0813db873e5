"""What workers know of the source, and what they have to be told before the next epoch."""

from __future__ import annotations

import copyreg
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from befit._internal.carried import surroundings
from befit._internal.pickling import classes_by_value, dumps, importable
from befit.errors import LoaderError
from befit.loading.segments import Segment, SegmentTable
from befit.loading.source_copy import Changes
from befit.typing import BatchSource

NO_SURROUNDINGS = dumps([])
_WHOLE = ""  # in the place of an attribute's name


class KnownState:
    """Remembers, by digest, the state of the source that was sent last.

    Args:
        share: Put large arrays into shared memory: what is returned refers to ``segments``, and only
            processes of this machine that have them can load it.
    """

    def __init__(self, *, share: bool = False) -> None:
        self._digests: dict[str, bytes] = {}
        self._table = SegmentTable() if share else None

    @property
    def segments(self) -> list[Segment]:
        """The shared memory that what was returned last refers to."""
        return self._table.segments if self._table is not None else []

    def whole(self, source: BatchSource) -> bytes:
        """Return the pickled source, and remember its state.

        Raises:
            LoaderError: it, or an attribute of it, cannot be pickled; the message names the attribute.
        """
        with self._reading(source):
            self._digests = self._digests_of(source)
            return self._pickled(source, source)

    def copy(self, source: BatchSource) -> bytes:
        """Return the pickled source for a worker that takes another's place."""
        with self._reading(source):
            now = self._digests_of(source)
            # What has changed since the beginning of the epoch, the other workers do not know: it counts as
            # unknown, so that all of them are told at the beginning of the next.
            self._digests = {
                name: now.get(name, b"") if self._digests.get(name) == now.get(name) else b""
                for name in {**self._digests, **now}
            }
            return self._pickled(source, source)

    def changes(self, source: BatchSource) -> tuple[bytes | None, bytes | None]:
        """Return what is new since the last call, pickled: ``Changes``, or the whole source, or neither."""
        with self._reading(source):
            before, self._digests = self._digests, self._digests_of(source)
            if before == self._digests:
                return None, None
            names = {name for name, digest in self._digests.items() if before.get(name) != digest}
            if _WHOLE in names:
                return None, self._pickled(source, source)
            attributes = vars(source)
            gone = [name for name in before if name not in self._digests]
            return self._pickled(Changes({name: attributes[name] for name in names}, gone), source), None

    @contextmanager
    def _reading(self, source: BatchSource) -> Iterator[None]:
        with classes_by_value(*type(source).__mro__, *getattr(source, "__dict__", {}).values()):
            try:
                yield
            finally:
                if self._table is not None:
                    self._table.settle(self._digests)

    def _digests_of(self, source: BatchSource) -> dict[str, bytes]:
        """Return a digest for each attribute, and one for what comes with the whole source only."""
        owner = _name(source)
        if not _is_plain(source):
            return {_WHOLE: self._digest(_WHOLE, source, owner)}
        digests = {}
        if _travels_by_value(type(source)):  # with its attributes, and the globals that its methods use
            digests[_WHOLE] = self._digest(_WHOLE, type(source), f"class {owner}")
        for name, value in vars(source).items():
            digests[name] = self._digest(name, value, f"attribute {name!r} of {owner}")
        return digests

    def _digest(self, name: str, value: Any, what: str) -> bytes:
        segment = 0
        try:
            if self._table is None:
                pickled = dumps(value)
            else:
                pickled, segment = self._table.dumps(name, value)
        except Exception as error:
            raise _cannot_travel(what, error) from error
        return hashlib.blake2b(pickled, digest_size=16, salt=segment.to_bytes(8, "little")).digest()

    def _pickled(self, value: Any, source: BatchSource) -> bytes:
        try:
            if self._table is None:
                return dumps(value)
            return self._table.dumps_placed(value)
        except Exception as error:
            raise _cannot_travel(_name(source), error) from error


def pickled_surroundings() -> bytes:
    """Return what is around the running code, for workers to enter: a list of context managers.

    Raises:
        LoaderError: something in it cannot be pickled.
    """
    around = surroundings()
    if not around:
        return NO_SURROUNDINGS
    with classes_by_value(*(content for carried in around for content in carried.contents)):
        try:
            return dumps(around)
        except Exception as error:
            raise LoaderError(
                f"what is open around this loader cannot be sent to worker processes: {error}; iterate "
                "outside of the CustomObjectScope, or use engine='threads'"
            ) from error


def _is_plain(source: BatchSource) -> bool:
    """Whether pickle takes the class and ``__dict__`` of ``source``, and nothing else."""
    kind = type(source)
    if kind.__getstate__ is not object.__getstate__ or hasattr(kind, "__setstate__"):
        return False
    try:
        reduced = source.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - the attempt to pickle it will say why
        return False
    if isinstance(reduced, str):
        return False
    construct, arguments, state, *items = (*reduced, None)  # all but two may be left out
    return (
        construct is copyreg.__newobj__  # type: ignore[attr-defined]
        and arguments == (kind,)
        and (state is None or state is getattr(source, "__dict__", None))
        and not any(item is not None for item in items)
    )


def _cannot_travel(what: str, error: Exception) -> LoaderError:
    return LoaderError(
        f"{what} cannot be sent to worker processes: {type(error).__name__}: {error}; make it in __getitem__ "
        "when it is first needed, leave it out in __getstate__, or use engine='threads'"
    )


def _name(source: BatchSource) -> str:
    return type(source).__qualname__


def _travels_by_value(kind: type) -> bool:
    """Whether a worker could not find the class by its name."""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not kind or kind.__module__ == "__main__" or not importable(kind.__module__)
