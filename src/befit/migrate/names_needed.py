"""Names of befit that the rewritten calls need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libcst as cst

from befit.migrate.source import Source, chain
from befit.migrate.table import old_name


class NamesNeeded:
    """Gives each its name in the file, and remembers what has to be imported."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._needed: dict[str, str] = {}

    def name(self, target: str) -> str:
        """Return what ``befit.loading.Stream`` is called in the file."""
        if target in self._needed:
            return self._needed[target]
        last = target.rpartition(".")[2]
        if last in self._source.stored_names:
            return self._needed.setdefault(target, f"befit_{last}")
        bound = [binding for binding in self._source.bindings if binding.name == last]
        if not bound:
            return self._needed.setdefault(target, last)
        top = self._source.scopes[self._source.module]
        if all(binding.scope is top and _is(binding.origin, target) for binding in bound):
            return last
        return self._needed.setdefault(target, f"befit_{last}")

    @contextmanager
    def undone_by_errors(self) -> Iterator[None]:
        """Forget what was asked for inside, if an error ends it."""
        before = dict(self._needed)
        try:
            yield
        except BaseException:
            self._needed = before
            raise

    def statements(self) -> list[cst.BaseSmallStatement]:
        """Return the imports to add."""
        by_module: dict[str, list[cst.ImportAlias]] = {}
        for target, name in sorted(self._needed.items()):
            module, _, last = target.rpartition(".")
            asname = None if name == last else cst.AsName(cst.Name(name))
            by_module.setdefault(module, []).append(cst.ImportAlias(cst.Name(last), asname))
        return [cst.ImportFrom(chain(module), aliases) for module, aliases in by_module.items()]


def _is(origin: str, target: str) -> bool:
    row = old_name(origin)
    return (
        origin == target
        or origin == f"befit.loading.{target.rpartition('.')[2]}"
        or (row is not None and row.today == target)
    )
