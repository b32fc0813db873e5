"""How the names of open blocks reach ``torch.load(weights_only=True)``: through its list of safe globals.

The list is one for the whole process and maps the path that a checkpoint names, such as
``package.module.Net``, to what it means. Each open block claims paths; the newest claim of a path is the one
in the list. Ours are always in torch's form with the path, ``(Net, 'package.module.Net')``, so that they are
never taken for an entry of the user's.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch

from befit.objects.layers import Layer, merged

__all__ = ["reach", "release"]

_Entry: TypeAlias = Any  # a class, or (class, path)

# path -> the blocks that say something about it, oldest first: a class, or None for "as the user left it"
_claims: dict[str, dict[Layer, type | None]] = {}
_paths_of: dict[Layer, set[str]] = {}
_listed: dict[str, _Entry] = {}  # what we added, by path
_displaced: dict[str, list[_Entry]] = {}  # what the user had allowed for such a path, to be put back


def reach(layer: Layer) -> None:
    """Allow exactly the classes that ``layer`` names, functions never."""
    claims = _claims_of(layer)
    for path in _paths_of.get(layer, ()):
        _claims[path].pop(layer, None)
    for path, cls in claims.items():
        _claims.setdefault(path, {})[layer] = cls
    changed = {*claims, *_paths_of.pop(layer, ())}
    if claims:
        _paths_of[layer] = set(claims)
    if changed:
        _update_list(changed)


def release(layer: Layer) -> None:
    """Take back what was allowed for ``layer``."""
    paths = _paths_of.pop(layer, set())
    for path in paths:
        del _claims[path][layer]
    if paths:
        _update_list(paths)


def _claims_of(layer: Layer) -> dict[str, type | None]:
    own: dict[str, type | None] = {**_paths(layer.changes)}
    around = [other for other in layer.stack[:-1] if other.is_open]
    if not around:
        return own
    # A name that was deleted or means something else now no longer allows the class that it meant before.
    visible = _paths(merged([*around, layer]).changes)
    hidden = dict.fromkeys(_paths(merged(around).changes).keys() - visible.keys())
    return {**hidden, **own}


def _paths(names: Mapping[str, Any]) -> dict[str, type]:
    """Return the paths by which a checkpoint may name the classes among ``names``."""
    classes = {name: obj for name, obj in names.items() if inspect.isclass(obj)}
    paths = {_path_of(cls): cls for cls in classes.values()}
    for name, cls in classes.items():
        if "." in name:
            paths[name] = cls
        elif name.isidentifier():
            paths[f"__main__.{name}"] = cls
    return paths


def _update_list(paths: set[str]) -> None:
    """Make torch's list say about ``paths`` what the newest claims say."""
    users = _users_entries()
    added: list[_Entry] = []
    removed: list[_Entry] = []
    for path in paths:
        cls = next(reversed(_claims[path].values()), None)
        wanted = None if cls is None else (cls, path)
        present = _listed.get(path)
        if wanted != present:
            if present is not None:
                removed.append(_listed.pop(path))
            if wanted is not None:
                in_the_way = [entry for entry in users.get(path, ()) if _class_of(entry) is not cls]
                if in_the_way:
                    _displaced.setdefault(path, []).extend(in_the_way)
                    removed.extend(in_the_way)
                if wanted not in users.get(path, ()):
                    _listed[path] = wanted
                    added.append(wanted)
        if wanted is None:
            # Nothing of ours need be listed: an entry of the user's may have said the same.
            added.extend(_displaced.pop(path, ()))
        if not _claims[path]:
            del _claims[path]
    if removed:
        torch.serialization.safe_globals(removed).__exit__(
            None, None, None
        )  # takes exactly these off the list
    if added:
        torch.serialization.add_safe_globals(added)


def _users_entries() -> dict[str, list[_Entry]]:
    """Return what is in torch's list and is not from here, by path."""
    ours = set(_listed.values())
    entries: dict[str, list[_Entry]] = {}
    for entry in torch.serialization.get_safe_globals():
        if entry not in ours:
            path = entry[1] if isinstance(entry, tuple) else _path_of(entry)
            entries.setdefault(path, []).append(entry)
    return entries


def _class_of(entry: _Entry) -> Any:
    return entry[0] if isinstance(entry, tuple) else entry


def _path_of(obj: Any) -> str:
    return f"{obj.__module__}.{obj.__qualname__}"
