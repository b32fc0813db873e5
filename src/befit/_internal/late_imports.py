"""Noticing that a package has been imported, for as long as somebody waits for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["ImportWatch"]


class ImportWatch(MetaPathFinder):
    """Calls ``arrived(name)`` right after one of the awaited top-level packages has been imported.

    It stands on ``sys.meta_path`` only while it waits. It finds nothing itself: it asks the other finders,
    and lets the loader that they name report the end of its work.
    """

    def __init__(self, arrived: Callable[[str], None]) -> None:
        self._arrived = arrived
        self._awaited: Collection[str] = ()

    def wait_for(self, names: Collection[str]) -> None:
        """Wait for ``names`` and for nothing else."""
        # A new list each time: another thread may be in the middle of an import, iterating over this one.
        if names and not self._awaited:
            sys.meta_path = [self, *sys.meta_path]
        elif self._awaited and not names:
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]
        self._awaited = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the other finders' answer, its loader told to report."""
        if fullname not in self._awaited:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._report_after_load(spec.loader, fullname)
        return spec

    def _report_after_load(self, loader: Loader, name: str) -> None:
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # the loader is as it was, its class untouched all along
            load(module)
            self._arrived(name)

        loader.exec_module = exec_module  # type: ignore[method-assign]
