"""How the names of open blocks reach ``torch.load(weights_only=True)``: through its list of safe globals.

The list is one for the whole process and maps the path that a checkpoint names, such as
``package.module.Net``, to what it means. Each open block claims paths; the newest claim of a path is the one
in the list. Ours are always in torch's form with the path, ``(Net, 'package.module.Net')``, so that they are
never taken for an entry of the user's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import torch

from befit.objects.layers import Layer, merged

__all__ = ["reach", "release"]

_Entry: TypeAlias = Any  # a class, or (class, path)
_Claims: TypeAlias = dict[str, tuple[type, str] | None]  # by path; None for "as the user left it"

_claims: dict[Layer, _Claims] = {}  # of the open blocks, the newest last
_listed: dict[str, _Entry] = {}  # what we added, by path
_displaced: dict[str, list[_Entry]] = {}  # what the user had allowed for such a path, to be put back


def reach(layer: Layer) -> None:
    """Allow exactly the classes that ``layer`` names, functions never."""
    before, claims = _claims.pop(layer, {}), _claims_of(layer)
    _claims[layer] = claims
    _update_list({**before, **claims})


def release(layer: Layer) -> None:
    """Take back what was allowed for ``layer``."""
    _update_list(_claims.pop(layer, {}))


def _claims_of(layer: Layer) -> _Claims:
    own = _paths(layer.changes)
    around = [other for other in layer.stack[:-1] if other.is_open]
    if not around:
        return own
    # A name that was deleted or means something else now no longer allows the class that it meant before.
    visible = _paths(merged([*around, layer]).changes)
    named = {path for other in around for path in _paths(other.changes)}
    hidden = dict.fromkeys(named - visible.keys())
    return {**hidden, **own}


def _paths(names: Mapping[str, Any]) -> _Claims:
    """Return the paths by which a checkpoint may name the classes among ``names``."""
    classes = [(name, obj) for name, obj in names.items() if isinstance(obj, type)]
    paths: _Claims = {}
    for _, cls in classes:
        path = _path_of(cls)
        paths[path] = (cls, path)
    for name, cls in classes:
        if "." in name or name.isidentifier():
            path = name if "." in name else f"__main__.{name}"
            paths[path] = (cls, path)
    return paths


def _update_list(paths: Collection[str]) -> None:
    """Make torch's list say about ``paths`` what the newest claims say."""
    added: list[_Entry] = []
    removed: list[_Entry] = []
    users = _users_entries(paths) if _claims else {}  # before anything of ours changes
    for path in paths:
        entry, present = _newest(path), _listed.get(path)
        if present is not None and entry != present:
            removed.append(_listed.pop(path))
        if entry is None:
            # Nothing of ours need be listed: an entry of the user's may have said the same.
            added += _displaced.pop(path, ())
        elif entry != present:
            theirs = users.get(path, [])
            in_the_way = [other for other in theirs if _class_of(other) is not entry[0]]
            if in_the_way:
                _displaced.setdefault(path, []).extend(in_the_way)
                removed += in_the_way
            if entry not in theirs:
                _listed[path] = entry
                added.append(entry)
    if removed:
        # Takes exactly these off the list.
        torch.serialization.safe_globals(removed).__exit__(None, None, None)
    if added:
        torch.serialization.add_safe_globals(added)


def _newest(path: str) -> tuple[type, str] | None:
    for claims in reversed(_claims.values()):
        if path in claims:
            return claims[path]
    return None


def _users_entries(paths: Collection[str]) -> dict[str, list[_Entry]]:
    """Return what is in torch's list for one of ``paths`` and is not from here, by path."""
    entries: dict[str, list[_Entry]] = {}
    for entry in torch.serialization.get_safe_globals():
        path = entry[1] if isinstance(entry, tuple) else _path_of(entry)
        if path in paths and entry != _listed.get(path):
            entries.setdefault(path, []).append(entry)
    return entries


def _class_of(entry: _Entry) -> Any:
    return entry[0] if isinstance(entry, tuple) else entry


def _path_of(obj: Any) -> str:
    return f"{obj.__module__}.{obj.__qualname__}"
