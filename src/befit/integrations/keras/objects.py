"""How the names of open blocks reach Keras 3.

Keras looks a name up in two kinds of places. ``load_model``, ``from_config``, initializers and optimizers ask
its registry of custom objects; a string such as ``kernel_regularizer='l2'`` is looked for only in a table of
its module, and Keras has no public way to add to those. While a block is open, in whichever thread, the
variables that hold these dictionaries hold mappings that ask the context first and the dictionary next: each
thread and task finds its own names, and no entry of a dictionary changes. Once the last block has ended they
hold the dictionaries again. No function of Keras is replaced.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import keras

from befit.objects.layers import Layer, open_layers
from befit.objects.registry import CustomObjects, is_written_here, lookup, process_names

__all__ = ["custom_objects", "reach", "register", "registered_name", "release"]

_REGISTRY = "GLOBAL_CUSTOM_OBJECTS"
_TABLE = "ALL_OBJECTS_DICT"
_TABLE_MODULES = ("activations", "constraints", "losses", "metrics", "quantizers", "regularizers")
_KERAS_SCOPE = "custom_objects_scope_dict"  # the names of Keras' own open scope, for each thread

_MISSING = object()
_registration: dict[str, Any] = keras.saving.get_registered_object.__globals__


def custom_objects() -> dict[str, Any]:
    """Return Keras' process-wide dictionary of custom objects."""
    names: dict[str, Any] = _registration.get(_REGISTRY, _registry)
    return _registry.names if names is _registry else names


def register(obj: Any, package: str, name: str) -> None:
    """Register ``obj`` with Keras as ``package>name``."""
    keras.saving.register_keras_serializable(package, name)(obj)


def registered_name(obj: Any) -> str:
    """Return the name that ``obj`` is registered under with Keras, or its ``__name__``."""
    return str(keras.saving.get_registered_name(obj))


def reach(layer: Layer) -> None:
    """Let Keras see ``layer``."""
    if layer in _reached or not _places:
        return
    if not _reached:
        process_names()  # the process-wide names so far move into Keras' dictionary
        for place in _places:
            place.fill()
    _reached[layer] = _take_over_keras_scope(layer)


def release(layer: Layer) -> None:
    """Leave Keras as if ``layer`` had never been."""
    if layer not in _reached:
        return
    taken_over = _reached.pop(layer)
    if taken_over is not None and _keras_scope() is taken_over:
        _registration["global_state"].set_global_attribute(_KERAS_SCOPE, taken_over.names)
    if not _reached:
        for place in _places:
            place.restore()


class _Registry(CustomObjects):
    """Stands in for Keras' registry."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = keras.saving.get_custom_objects()

    def __getitem__(self, name: str) -> Any:
        found = _find(name)
        if found is _MISSING:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, obj: Any) -> None:
        # "package>name" comes from Keras' decorator, and a registration is for good.
        if open_layers() and ">" not in name:
            super().__setitem__(name, obj)
        else:
            self.names[name] = obj


@dataclass
class _Table(MutableMapping[str, Any]):
    """Stands in for the table of one module, in which a string is looked up."""

    names: dict[str, Any] = field(default_factory=dict)
    instantiates: bool = False

    def _find(self, name: str) -> Any:
        # Outside of every block only what came through befit: strings go on to mean what they meant to Keras.
        return _find(name) if open_layers() or is_written_here(name) else _MISSING

    def __getitem__(self, name: str) -> Any:
        found = self._find(name)
        if found is _MISSING:
            return self.names[name]
        return found() if self.instantiates and inspect.isclass(found) else found

    def __contains__(self, name: object) -> bool:
        return name in self.names or (isinstance(name, str) and self._find(name) is not _MISSING)

    def __setitem__(self, name: str, obj: Any) -> None:
        self.names[name] = obj

    def __delitem__(self, name: str) -> None:
        del self.names[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.names, **(_registry if open_layers() else {})})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class _Place:
    """A variable of Keras that holds a dictionary of names, and what stands in for it."""

    namespace: dict[str, Any]
    variable: str
    stand_in: _Registry | _Table

    def fill(self) -> None:
        self.stand_in.names = self.namespace[self.variable]
        self.namespace[self.variable] = self.stand_in

    def restore(self) -> None:
        self.namespace[self.variable] = self.stand_in.names


class _TakenOver(dict[str, Any]):
    """Stands, empty, where Keras keeps the names of its own scope after ``names`` went to a layer of ours.

    Keras saves and restores by ``copy()`` whenever it enters a scope; a real copy could not be recognised.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        super().__init__()
        self.names = names

    def copy(self) -> _TakenOver:
        return self


def _find(name: str) -> Any:
    # What Keras' own scope knows inside of a block, it knows from inside of the innermost one.
    inner = _keras_scope() if open_layers() else {}
    return inner[name] if name in inner else lookup(name, _MISSING)


def _keras_scope() -> Mapping[str, Any]:
    names: Mapping[str, Any] = _registration["global_state"].get_global_attribute(_KERAS_SCOPE, {})
    return names


def _take_over_keras_scope(layer: Layer) -> _TakenOver | None:
    """Move the names of an open scope of Keras' own below ``layer``: Keras would ask them before ours."""
    names = _keras_scope()
    if not names or layer not in open_layers():
        return None
    layer.covered = names
    taken_over = _TakenOver(names)
    _registration["global_state"].set_global_attribute(_KERAS_SCOPE, taken_over)
    return taken_over


def _find_places() -> list[_Place]:
    if _REGISTRY not in _registration or "global_state" not in _registration:
        warnings.warn(
            f"CustomObjectScope does not know where Keras {keras.__version__} keeps its custom objects, "
            "so names do not reach it; install keras>=3.7",
            RuntimeWarning,
            stacklevel=2,
        )
        return []
    places = [_Place(_registration, _REGISTRY, _registry)]
    for module in _TABLE_MODULES:
        namespace = getattr(keras, module).get.__globals__
        if _TABLE in namespace:
            # Keras makes an instance of a class that it finds, in every module but this one.
            places.append(_Place(namespace, _TABLE, _Table(instantiates=module == "activations")))
    return places


_registry = _Registry()
_places = _find_places()
_reached: dict[Layer, _TakenOver | None] = {}
