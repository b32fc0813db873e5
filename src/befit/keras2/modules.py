"""The modules of Keras 2 that are gone, and ``tf_keras`` where it is not installed: made when imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from befit.keras2.faces import face_of
from befit.keras2.hints import name_hint
from befit.legacy.names import MODULES, NAMES, ROOTS, OldName

__all__ = ["OldModules", "old_names", "root_of"]

_MIRRORED = "tf_keras"


def root_of(module: str) -> str | None:
    """Return the package of Keras that ``module`` is in, as scripts call it."""
    return next((root for root in ROOTS if f"{module}.".startswith(f"{root}.")), None)


def old_names(module: str) -> dict[str, OldName]:
    """Return the rows of the names that stood in a module, given its name below a root."""
    return {row.name: row for row in NAMES if module in row.modules}


class OldModules(MetaPathFinder, Loader):
    """Finds the modules that nobody else finds; it stands at the end of ``sys.meta_path``.

    Args:
        made: Called with each module that is made.
    """

    def __init__(self, made: Callable[[ModuleType], None]) -> None:
        self._made = made

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where ``fullname`` is, if it is one of them."""
        root = root_of(fullname)
        if root is None or (root != _MIRRORED and _below(root, fullname) not in MODULES):
            return None
        return ModuleSpec(fullname, self, is_package=root == _MIRRORED)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module, empty."""
        if root_of(spec.name) == _MIRRORED:
            today = "keras" + spec.name.removeprefix(_MIRRORED)
            return _Mirror(spec.name, importlib.import_module(today))
        return _OldModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Report the module; its names are there already."""
        self._made(module)


class _OldModule(ModuleType):
    """A module whose names are those of the table."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"The names that Keras 2 had in {name}; see befit.legacy.names.")
        self._rows = old_names(_below(root_of(name) or "", name))
        self.__all__ = [public for public in self._rows if not public.startswith("_")]

    def __getattr__(self, name: str) -> Any:
        row = self._rows.get(name)
        if row is None:
            raise AttributeError(
                f"module {self.__name__!r} has no attribute {name!r}: befit.keras2 knows "
                f"{', '.join(self._rows)} in it"
            )
        name_hint(row, self.__name__)
        return face_of(row)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._rows})


class _Mirror(ModuleType):
    """A module with the contents of another one."""

    def __init__(self, name: str, today: ModuleType) -> None:
        super().__init__(name, today.__doc__)
        self.__path__: list[str] = []  # or the modules below would be found, and loaded, a second time
        self._today = today
        self.__all__ = [public for public in dir(today) if not public.startswith("_")]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._today, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._today)})


def _below(root: str, module: str) -> str:
    return module.removeprefix(root).removeprefix(".")
