"""Objects to plain data and back, by name and by name only.

A name from a file stands for what the program itself gave that name (an argument, an open scope, the
registry) and for nothing else: no module is imported because a file names it, no function is called with a
file's arguments, and no code is stored.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from befit.errors import ArgumentError, SerializationError, UnknownObjectError
from befit.objects.registry import get_custom_objects, registered_name
from befit.objects.scopes import CustomObjectScope
from befit.typing import CustomObjects

__all__ = ["deserialize", "deserialize_keras_object", "serialize", "serialize_keras_object"]

MAX_DEPTH = 100
"""Containers around the innermost value of a config, at most."""

MAX_ITEMS = 1_000_000
"""Values that a config may have in all."""

MAX_ELEMENTS = 2**36
"""Elements that a shape in a config may have: a list of sizes under a key that ends in ``shape``. 256 GiB."""

MAX_BITS = 1024
"""Bits that an integer in a config may have; the greatest float has as many."""

_Tables: TypeAlias = tuple[CustomObjects, ...]

_PLAIN = (str, int, float, bool, type(None))
_CONTAINERS = (list, tuple, Mapping)
_FUNCTION = "function"  # the class name that Keras also gives to a function


def serialize(obj: Any) -> Any:
    """Return ``obj`` as data that ``json`` can write and ``deserialize`` turns into an equal object.

    Args:
        obj: An object with ``get_config()``, a function, a number, a string, ``None``, or a list, tuple or
            dictionary of those. Tuples become lists, as in JSON.

    Returns: ``{'class_name': …, 'config': …}`` for an object, with its registered name or else the name of
        its class; ``{'class_name': 'function', 'config': name}`` for a function; plain data as it is.

    Raises:
        SerializationError: A value has no name to be found again by (a lambda, a function inside a function
            that is not in scope, a class) or is no plain data (an array, bytes).

    Example:
        >>> class Scale:
        ...     def __init__(self, factor):
        ...         self.factor = factor
        ...     def get_config(self):
        ...         return {"factor": self.factor}
        >>> serialize(Scale(3))
        {'class_name': 'Scale', 'config': {'factor': 3}}
        >>> deserialize(serialize(Scale(3)), {"Scale": Scale}).factor
        3
    """
    return _serialize(obj, depth=0)


def deserialize(config: Any, custom_objects: CustomObjects | None = None) -> Any:
    """Return the object that ``config`` describes.

    A name is looked up in ``custom_objects``, then in the open scopes from the inside to the outside, then in
    the registry, and nowhere else. What else a config says (``module``, for one) is not read. A class is
    built by its ``from_config(config)``, or by ``cls(**config)`` where it has none; whoever allows a class
    trusts its constructor with the arguments in the file. A function is returned, never called.

    Args:
        config: What ``serialize`` returned, or a name, or ``None``. A string inside of a config stays a
        string.
        custom_objects: Further names, valid for this call.

    Returns:
        The object; a new one for each ``class_name``.

    Raises:
        UnknownObjectError: A name that nothing was given; names the nearest ones.
        ArgumentError: ``config`` has not the right form, is nested deeper than 100 levels, has more than a
            million values, or asks for a shape of more than 2**36 elements.

    Example:
        >>> deserialize("half", {"half": 0.5})
        0.5
        >>> deserialize({"module": "os", "class_name": "system", "config": {"command": "ls"}})
        Traceback (most recent call last):
        befit.errors.UnknownObjectError: no object is named 'system'; ...
    """
    _check_size(config)
    with CustomObjectScope(custom_objects):
        tables = (get_custom_objects(),)
        if isinstance(config, str):
            return _resolve([config], tables)
        return _build(config, tables)


def serialize_keras_object(instance: Any) -> Any:
    """Return ``{'class_name': …, 'config': …}`` for an object, a name for a function: Keras 2's form.

    Raises:
        SerializationError: As in ``serialize``.

    Example:
        >>> serialize_keras_object(deserialize)
        'deserialize'

    Source:
        Keras 2.1 ``keras.utils.generic_utils.serialize_keras_object``.
    """
    serialized = serialize(instance)
    is_function = _is_function(instance)
    return serialized["config"] if is_function else serialized


def deserialize_keras_object(
    identifier: Any,
    module_objects: CustomObjects | None = None,
    custom_objects: CustomObjects | None = None,
    printable_module_name: str = "object",
) -> Any:
    """Return the object that ``identifier``, a name or a config, stands for: the signature of Keras 2.

    Args:
        identifier: A name, ``{'class_name': …, 'config': …}``, or ``None``.
        module_objects: Names that are looked up last.
        custom_objects: Names that are looked up first.
        printable_module_name: What the error message calls the object.

    Raises:
        UnknownObjectError, ArgumentError: As in ``deserialize``; also for a config that describes no object.

    Example:
        >>> deserialize_keras_object("half", module_objects={"half": 0.5})
        0.5

    Source:
        Keras 2.1 ``keras.utils.generic_utils.deserialize_keras_object``.
    """
    if identifier is None:
        return None
    _check_size(identifier)
    with CustomObjectScope(custom_objects):
        tables = (get_custom_objects(), module_objects or {})
        if isinstance(identifier, str):
            return _resolve([identifier], tables, printable_module_name)
        if _describes_object(identifier):
            return _build(identifier, tables, printable_module_name)
    raise ArgumentError(
        f"{identifier!r} describes no {printable_module_name}; "
        "give a name or {'class_name': …, 'config': …}"
    )


def _serialize(obj: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise SerializationError(f"nested deeper than {MAX_DEPTH} levels; does the object contain itself?")
    if isinstance(obj, np.generic):
        obj = obj.item()
    if isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, list | tuple):
        return [_serialize(value, depth + 1) for value in obj]
    if isinstance(obj, Mapping):
        _check_keys(obj)
        return {key: _serialize(value, depth + 1) for key, value in obj.items()}
    if inspect.isclass(obj):
        raise SerializationError(
            f"{obj.__qualname__} is a class; serialize an instance of it, or store its name"
        )
    if hasattr(obj, "get_config"):
        return {
            "class_name": registered_name(type(obj)),
            "config": _serialize(obj.get_config(), depth + 1),
        }
    if _is_function(obj):
        return {"class_name": _FUNCTION, "config": _serialize(_name_of_function(obj), depth + 1)}
    raise SerializationError(
        f"{type(obj).__qualname__} is no plain data and has no get_config(); "
        "let get_config() return numbers, strings, lists and dictionaries (an array as array.tolist())"
    )


def _is_function(obj: Any) -> bool:
    return callable(obj) and hasattr(obj, "__name__") and not inspect.isclass(obj)


def _name_of_function(function: Any) -> str:
    name = registered_name(function)
    full_name = getattr(function, "__qualname__", name)
    is_known = ">" in name or get_custom_objects().get(name) is function
    is_nameless = name == "<lambda>" or inspect.ismethod(function)
    if is_nameless or ("<locals>" in full_name and not is_known):
        raise SerializationError(
            f"{full_name} has no name to be found again by; "
            "write it with def at the top level of a module, or register it with @register()"
        )
    return name


def _check_keys(mapping: Mapping[Any, Any]) -> None:
    for key in mapping:
        if not isinstance(key, str):
            raise SerializationError(
                f"the key {key!r} is no string, and JSON has no other keys; write {str(key)!r}"
            )


def _check_size(config: Any) -> None:
    """Refuse a config that is too deep or too large, or asks for too much, without recursion."""
    level = [("", config)]  # values, each with the nearest key above it
    items = 0
    for _ in range(MAX_DEPTH + 1):
        for key, value in level:
            _check_value(key, value)
        items += sum(len(value) for _, value in level if isinstance(value, _CONTAINERS))
        if items > MAX_ITEMS:
            raise ArgumentError(
                f"the config has more than {MAX_ITEMS} values; it describes no object in good faith"
            )
        level = [child for key, value in level for child in _children(key, value)]
        if not level:
            return
    raise ArgumentError(
        f"the config is nested deeper than {MAX_DEPTH} levels; it describes no object in good faith"
    )


def _check_value(key: str, value: Any) -> None:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ArgumentError(
            f"the config has an integer of {value.bit_length()} bits; it describes no object in good faith"
        )
    if key.endswith("shape") and isinstance(value, list | tuple):
        elements = 1
        for size in value:
            elements *= abs(size) or 1 if isinstance(size, int) else 1
            if elements > MAX_ELEMENTS:
                raise ArgumentError(
                    f"the {key!r} in the config has more than {MAX_ELEMENTS} elements; "
                    "it describes no object in good faith"
                )


def _children(key: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return ((str(key), child) for key, child in value.items())
    return ((key, child) for child in value) if isinstance(value, list | tuple) else ()


def _describes_object(config: Any) -> bool:
    return isinstance(config, Mapping) and "class_name" in config and "config" in config


def _build(config: Any, tables: _Tables, kind: str = "object") -> Any:
    if isinstance(config, list | tuple):
        return [_build(value, tables) for value in config]
    if not isinstance(config, Mapping):
        return config
    if not _describes_object(config):
        return {key: _build(value, tables) for key, value in config.items()}
    arguments = config["config"]
    is_function = config["class_name"] == _FUNCTION
    found = _resolve(_names_in(config, is_function), tables, kind)
    if is_function and inspect.isclass(found):
        raise ArgumentError(f"the config says that {arguments!r} is a function, but it stands for a class")
    if not inspect.isclass(found):
        return found  # never called with what a file says
    return _instantiate(found, {} if arguments is None else arguments, tables)


def _names_in(config: Mapping[str, Any], is_function: bool) -> list[Any]:
    """Return the names to look for: the registered one that Keras 3 writes, then the plain one."""
    plain = config["config"] if is_function else config["class_name"]
    registered = config.get("registered_name")
    return [plain] if registered in (None, _FUNCTION) else [registered, plain]


def _instantiate(cls: Any, arguments: Any, tables: _Tables) -> Any:
    try:
        if hasattr(cls, "from_config"):
            if "custom_objects" in inspect.signature(cls.from_config).parameters:
                return cls.from_config(arguments, custom_objects=get_custom_objects().copy())
            return cls.from_config(arguments)
        if not isinstance(arguments, Mapping):
            raise ArgumentError(
                f"the config of {cls.__qualname__} is no dictionary of arguments but {arguments!r}"
            )
        # Nobody else would: a class without from_config gets its arguments built.
        return cls(**{key: _build(value, tables) for key, value in arguments.items()})
    except Exception as error:
        error.add_note(f"while {cls.__qualname__} was built from its config")
        raise


def _resolve(names: list[Any], tables: _Tables, kind: str = "object") -> Any:
    """Return what the first known one of ``names`` stands for."""
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"the name of a custom {kind} is a string, not {name!r}")
        for table in tables:
            if name in table:
                return table[name]
    wanted = names[-1]
    known = sorted({name for table in tables for name in table})
    near = difflib.get_close_matches(wanted, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? otherwise " if near else ""
    raise UnknownObjectError(
        f"no {kind} is named {wanted!r}; {hint}"
        f"write with CustomObjectScope({{{wanted!r}: …}}), pass custom_objects= or use @register()"
    )
