"""Changes to modules and classes that can all be taken back."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

__all__ = ["Changes"]

_ABSENT = object()


class Changes:
    """Attributes that were set, and modules that came, with what was there before."""

    def __init__(self) -> None:
        self._attributes: list[tuple[Any, str, Any, Any]] = []
        self._modules: list[ModuleType] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Give ``owner``, a module or class, an attribute."""
        self._attributes.append((owner, name, vars(owner).get(name, _ABSENT), value))
        setattr(owner, name, value)

    def note_module(self, module: ModuleType) -> None:
        """Take ``module``, which is about to be imported, away again too."""
        self._modules.append(module)

    def take_back(self) -> None:
        """Leave everything as it was, but for what somebody else has set since."""
        for module in reversed(self._modules):
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]
            parent, _, name = module.__name__.rpartition(".")
            if vars(sys.modules.get(parent, module)).get(name) is module:
                delattr(sys.modules[parent], name)
        for owner, name, before, value in reversed(self._attributes):
            if vars(owner).get(name) is not value:
                continue
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._modules.clear()
        self._attributes.clear()
