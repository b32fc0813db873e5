"""What workers know of the source, and what they have to be told before the next epoch."""

from __future__ import annotations

import copyreg
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import cloudpickle

from befit.errors import LoaderError
from befit.typing import BatchSource


class Changes(NamedTuple):
    """Attributes to set and attributes to remove; sent in one piece, so that what they share stays shared."""

    changed: dict[str, Any]
    gone: list[str]

    def apply(self, source: Any) -> None:
        """Make ``source`` what the loader's is."""
        vars(source).update(self.changed)
        for name in self.gone:
            vars(source).pop(name, None)


class KnownState:
    """Remembers, by digest, the state of the source that was sent last."""

    def __init__(self) -> None:
        self._digests: dict[str, bytes] = {}

    def whole(self, source: BatchSource) -> bytes:
        """Return the pickled source, and remember its state.

        Raises:
            LoaderError: it, or an attribute of it, cannot be pickled; the message names the attribute.
        """
        with _classes_by_value(source):
            self._digests = _digests(source)
            return _pickled(source, source)

    def copy(self, source: BatchSource) -> bytes:
        """Return the pickled source for a worker that takes another's place."""
        with _classes_by_value(source):
            return _pickled(source, source)

    def changes(self, source: BatchSource) -> tuple[bytes | None, bytes | None]:
        """Return what is new since the last call, pickled: ``Changes``, or the whole source, or neither."""
        with _classes_by_value(source):
            before, self._digests = self._digests, _digests(source)
            if before == self._digests:
                return None, None
            if not _is_plain(source):
                return None, _pickled(source, source)
            attributes = vars(source)
            changed = {
                name: attributes[name] for name, digest in self._digests.items() if before.get(name) != digest
            }
            gone = [name for name in before if name not in self._digests]
            return _pickled(Changes(changed, gone), source), None


def _digests(source: BatchSource) -> dict[str, bytes]:
    """Return a digest for each attribute; where attributes are not all, one for everything, named ``""``."""
    if not _is_plain(source):
        return {"": _digest(_pickled(source, source))}
    digests = {}
    for name, value in vars(source).items():
        try:
            digests[name] = _digest(cloudpickle.dumps(value, protocol=5))
        except Exception as error:
            raise _cannot_travel(f"attribute {name!r} of {_name(source)}", error) from error
    return digests


def _pickled(value: Any, source: BatchSource) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        raise _cannot_travel(_name(source), error) from error
    return pickled


def _digest(pickled: bytes) -> bytes:
    return hashlib.blake2b(pickled, digest_size=16).digest()


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
    construct, arguments, state, *items = reduced
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


@contextmanager
def _classes_by_value(source: BatchSource) -> Iterator[None]:
    """Let classes and functions travel whole where a clean interpreter could not import their module."""
    owners = (*type(source).__mro__, *getattr(source, "__dict__", {}).values())
    names = {name for owner in owners if isinstance(name := getattr(owner, "__module__", None), str)}
    names -= cloudpickle.list_registry_pickle_by_value()
    modules = [sys.modules[name] for name in names if name in sys.modules and not _importable(name)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _importable(name: str) -> bool:
    """Whether an interpreter with this ``sys.path`` finds the top package of ``name``."""
    root = name.partition(".")[0]
    if root == "__main__":
        return True  # it does not, but cloudpickle knows
    return any(_finds(finder, root) for finder in sys.meta_path)


def _finds(finder: Any, root: str) -> bool:
    find_spec = getattr(finder, "find_spec", None)
    return find_spec is not None and find_spec(root, None) is not None
