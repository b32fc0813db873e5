"""Questions to the table of old names: what stands today for a dotted name."""

from __future__ import annotations

from dataclasses import dataclass

from befit.legacy.names import MODULES, NAMES, ROOTS, OldName
from befit.migrate import keras3

_LONGEST_FIRST = sorted(ROOTS, key=len, reverse=True)
_MOVED_ROOTS = ("tf_keras", "tensorflow.python.keras")
"""Roots that have no Keras 3 below them."""
_BY_PLACE = {f"{module}.{row.name}": row for row in NAMES for module in row.modules}
_BY_TODAY = {row.today: row for row in NAMES if row.today.startswith("befit.")}


@dataclass(frozen=True)
class Place:
    """A dotted name below one of the roots."""

    root: str
    rest: str
    """Without the root; empty for the root itself."""

    @property
    def today(self) -> str:
        """The same below the root that has Keras 3."""
        return dotted("keras" if self.root in _MOVED_ROOTS else self.root, self.rest)

    @property
    def is_moved(self) -> bool:
        """Whether there is no Keras 3 below the root."""
        return self.root in _MOVED_ROOTS

    @property
    def is_gone_module(self) -> bool:
        """Whether this is a module that Keras 3 has no longer."""
        return self.rest in MODULES

    @property
    def is_in_keras3(self) -> bool:
        """Whether this is a module of Keras 3."""
        return not self.rest or self.rest in keras3.MODULES


def dotted(*parts: str) -> str:
    """Join parts of a dotted name, leaving out empty ones."""
    return ".".join(part for part in parts if part)


def place(name: str) -> Place | None:
    """Return where ``name`` is in Keras; ``None``: it is not of Keras."""
    for root in _LONGEST_FIRST:
        if name == root:
            return Place(root, "")
        if name.startswith(f"{root}."):
            return Place(root, name[len(root) + 1 :])
    return None


def old_name(name: str) -> OldName | None:
    """Return the row of a function or class, by its old name or by that of today."""
    found = place(name)
    return _BY_TODAY.get(name) if found is None else _BY_PLACE.get(found.rest)


def today(name: str) -> str | None:
    """Return the dotted name that stands today for ``name``; ``None``: nothing is known to.

    Names that need no rewriting are returned as they are.
    """
    found = place(name)
    if found is None:
        return name
    row = _BY_PLACE.get(found.rest)
    if row is not None:
        if row.today.startswith("keras."):
            return Place(found.root, row.today.removeprefix("keras.")).today
        return row.today
    module, _, last = found.rest.rpartition(".")
    if module in MODULES:
        return Place(found.root, f"utils.{last}").today if last in keras3.UTILS else None
    if found.is_gone_module:
        return None
    if module == "utils" and last not in keras3.UTILS and found.rest not in keras3.MODULES:
        return None
    if found.is_moved and not _has_keras3(found.rest):
        return None
    return found.today


def hint_for(name: str) -> str | None:
    """Return what to do where ``name`` is known to be gone, beside what is rewritten."""
    found = place(name)
    if found is None:
        return None
    tables = (keras3.GONE, keras3.ONLY_IN_TENSORFLOW) if found.today.startswith("keras.") else (keras3.GONE,)
    rest = f"{found.rest}."
    return next(
        (text for table in tables for gone, text in table.items() if rest.startswith(f"{gone}.")), None
    )


def why_none(name: str) -> tuple[str, str]:
    """Return what is wrong with a name of which ``today`` knows nothing, and what to do."""
    found = place(name)
    rest = name if found is None else found.rest
    module, _, last = rest.rpartition(".")
    if rest in MODULES:
        return f"the module {name} is gone since Keras {MODULES[rest]}", "write the names that you use of it"
    if module in MODULES:
        return (
            f"keras.{module} is gone since Keras {MODULES[module]}, and nobody has its {last}",
            "write the few lines that you need of it here",
        )
    if module == "utils":
        return (
            f"keras.utils has no {last} in Keras 3, nor has befit",
            "write the few lines that you need of it here",
        )
    return f"Keras 3 has no {rest}", hint_for(name) or "look for what stands for it in Keras 3"


def _has_keras3(rest: str) -> bool:
    """Return whether all but the last part of ``rest`` is a module of Keras 3."""
    module, _, _ = rest.rpartition(".")
    return rest in keras3.MODULES or not module or module in keras3.MODULES
