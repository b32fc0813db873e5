"""How the names of open blocks reach Keras 3.

Keras looks a name up in two kinds of places. ``load_model``, ``from_config``, initializers and optimizers ask
its registry of custom objects; a string such as ``kernel_regularizer='l2'`` is looked for only in a table of
its module, and Keras has no public way to add to those. While a block is open, in whichever thread, the
variables that hold these dictionaries hold mappings that ask the context first and the dictionary next: each
thread and task finds its own names, and no entry of a dictionary changes. Once the last block has ended they
hold the dictionaries again.

One function stands among them, of Keras' private ones: the search for the class that a config of the old form
names, as an ``.h5`` file has it and a ``.keras`` file may. Keras calls whatever is found, a function too,
with the arguments in the file; ours refuses what is no class.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras

from befit.errors import ArgumentError
from befit.objects.layers import Layer, is_inside, open_layers
from befit.objects.registry import CustomObjects, is_written_here, lookup, process_names

__all__ = ["custom_objects", "reach", "register", "registered_name", "release"]

_REGISTRY = "GLOBAL_CUSTOM_OBJECTS"
_TABLE = "ALL_OBJECTS_DICT"
_TABLE_MODULES = ("activations", "constraints", "losses", "metrics", "quantizers", "regularizers")
_OLD_CONFIGS = "class_and_config_for_serialized_keras_object"
_KERAS_SCOPE = "custom_objects_scope_dict"  # the names of Keras' own open scope, for each thread

_MISSING = object()
_registration: dict[str, Any] = keras.saving.get_registered_object.__globals__


def custom_objects() -> dict[str, Any]:
    """Return Keras' process-wide dictionary of custom objects."""
    names: dict[str, Any] = _registration.get(_REGISTRY, _registry)
    return _registry.original if names is _registry else names


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
        for namespace, variable, stand_in in _places:
            stand_in.original = namespace[variable]
            namespace[variable] = stand_in
    _reached[layer] = _take_over_keras_scope(layer)


def release(layer: Layer) -> None:
    """Leave Keras as if ``layer`` had never been."""
    if layer not in _reached:
        return
    taken_over = _reached.pop(layer)
    if taken_over is not None and _keras_scope() is taken_over:
        _registration["global_state"].set_global_attribute(_KERAS_SCOPE, taken_over.names)
    if not _reached:
        for namespace, variable, stand_in in _places:
            if namespace[variable] is stand_in:  # what others put there meanwhile stays
                namespace[variable] = stand_in.original


class _Registry(CustomObjects):
    """Stands in for Keras' registry."""

    def __init__(self) -> None:
        self.original: dict[str, Any] = keras.saving.get_custom_objects()

    def __getitem__(self, name: str) -> Any:
        found = _find(name)
        if found is _MISSING:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _find(name) is not _MISSING

    def __setitem__(self, name: str, obj: Any) -> None:
        # "package>name" comes from Keras' decorator, and a registration is for good.
        if is_inside() and ">" not in name:
            super().__setitem__(name, obj)
        else:
            self.original[name] = obj


@dataclass
class _Table(MutableMapping[str, Any]):
    """Stands in for the table of one module, in which a string is looked up."""

    original: dict[str, Any] = field(default_factory=dict)
    instantiates: bool = False

    def __getitem__(self, name: str) -> Any:
        found = _find_for_string(name)
        if found is _MISSING:
            return self.original[name]
        return found() if self.instantiates and inspect.isclass(found) else found

    def __contains__(self, name: object) -> bool:
        return name in self.original or (isinstance(name, str) and _find_for_string(name) is not _MISSING)

    def __setitem__(self, name: str, obj: Any) -> None:
        self.original[name] = obj

    def __delitem__(self, name: str) -> None:
        del self.original[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.original, **(_registry if is_inside() else {})})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass
class _ClassInOldConfig:
    """Stands in for the search for the class that a config of the old form names."""

    original: Any = None

    def __call__(self, config: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        found, arguments = self.original(config, *args, **kwargs)
        name = config["class_name"]
        would_be_called = not inspect.isclass(found) and not hasattr(found, "from_config")
        if would_be_called and (is_inside() or is_written_here(name)) and lookup(name) is found:
            raise ArgumentError(
                f"the file gives {name!r} for a class, but here it stands for {found!r}, and Keras would "
                "call that with arguments from the file; let the name stand for a class or, if you trust the "
                "file, load it outside of the scope with load_model(path, custom_objects={…})"
            )
        return found, arguments


class _Place(NamedTuple):
    """A variable of Keras that names are looked up through, and what stands in for what it holds."""

    namespace: dict[str, Any]
    variable: str
    stand_in: _Registry | _Table | _ClassInOldConfig


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
    return _find_inside(name) if is_inside() else lookup(name, _MISSING)


def _find_for_string(name: str) -> Any:
    # Outside of every block only what came through befit: strings go on to mean what they meant to Keras.
    if is_inside():
        return _find_inside(name)
    return lookup(name, _MISSING) if is_written_here(name) else _MISSING


def _find_inside(name: str) -> Any:
    # What Keras' own scope knows inside of a block, it knows from inside of the innermost one.
    inner = _keras_scope()
    return inner[name] if name in inner else lookup(name, _MISSING)


def _keras_scope() -> Mapping[str, Any]:
    # Keras' own get_global_attribute takes ten times as long where the attribute is missing.
    names: Mapping[str, Any] = vars(_registration["global_state"].GLOBAL_STATE_TRACKER).get(_KERAS_SCOPE, {})
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
    global_state = _registration.get("global_state")
    if _REGISTRY not in _registration or not hasattr(global_state, "GLOBAL_STATE_TRACKER"):
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
    old_configs = keras.legacy.saving.deserialize_keras_object.__globals__
    if _OLD_CONFIGS in old_configs:
        places.append(_Place(old_configs, _OLD_CONFIGS, _ClassInOldConfig()))
    return places


_registry = _Registry()
_places = _find_places()
_reached: dict[Layer, _TakenOver | None] = {}
