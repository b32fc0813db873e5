"""The custom objects of the process, and the mapping that shows them together with the open blocks'."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, TypeVar

from befit.errors import ArgumentError, RegistrationError, UnsupportedObjectError
from befit.objects import bridges
from befit.objects.layers import DELETED, UNDECIDED, Layer, find, merged, open_layers

__all__ = [
    "CustomObjects",
    "get_custom_objects",
    "is_written_here",
    "lookup",
    "process_names",
    "register",
    "registered_name",
]

T = TypeVar("T")

# Once Keras is imported this is Keras' own dictionary: one registry, not two that drift apart.
_process: dict[str, Any] = {}
_is_shared_with_keras = False
_registered: dict[Any, tuple[str, str]] = {}  # object -> (package, name)

# Stands in the bridges for the process-wide names that came through befit, for as long as there are some.
_PROCESS_LAYER = Layer(owner=None, changes={})
_written: set[str] = set()


def process_names() -> dict[str, Any]:
    """Return the process-wide dictionary, without what the open blocks say."""
    if not _is_shared_with_keras:
        keras = bridges.keras_bridge()
        if keras is not None:
            _share_with(keras)
    return _process


def _share_with(keras: bridges.KerasBridge) -> None:
    global _process, _is_shared_with_keras
    with bridges.lock:
        if _is_shared_with_keras:
            return
        names = keras.custom_objects()
        names.update(_process)
        _process = names
        _is_shared_with_keras = True
        for obj, (package, name) in _registered.items():
            if names.get(f"{package}>{name}") is obj:
                keras.register(obj, package, name)


def lookup(name: str, default: Any = None) -> Any:
    """Return what ``name`` stands for here and now, or ``default``."""
    found = find(name)
    if found is UNDECIDED:
        return process_names().get(name, default)
    return default if found is DELETED else found


def _write_process_name(name: str, obj: Any) -> None:
    """Let ``name`` stand for ``obj`` in the whole process, whatever blocks are open."""
    with bridges.lock:
        process_names()[name] = obj
        _written.add(name)
        bridges.reach(_PROCESS_LAYER)


def is_written_here(name: str) -> bool:
    """Return whether ``name`` came to be process-wide through befit."""
    return name in _written


def _erase_process_names(names: list[str]) -> None:
    with bridges.lock:
        for name in names:
            del process_names()[name]
        _written.difference_update(names)
        if not _written:
            bridges.release(_PROCESS_LAYER)


class CustomObjects(MutableMapping[str, Any]):
    """Every custom object by its name: those of the open blocks, innermost first, then those of the process.

    What is written goes to the innermost open block and is gone at its end; outside of every block, to the
    process.
    """

    def __getitem__(self, name: str) -> Any:
        found = lookup(name, UNDECIDED)
        if found is UNDECIDED:
            raise KeyError(name)
        return found

    def __setitem__(self, name: str, obj: Any) -> None:
        if not isinstance(name, str):
            raise UnsupportedObjectError(
                f"a custom object's name is a string, not {name!r}; write the name first: "
                "get_custom_objects()['MyObject'] = MyObject"
            )
        layers = open_layers()
        if layers:
            layers[-1].changes[name] = obj
            bridges.reach(layers[-1])
        else:
            _write_process_name(name, obj)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        layers = open_layers()
        if layers:
            layers[-1].changes[name] = DELETED
            bridges.reach(layers[-1])
        else:
            _erase_process_names([name])

    def clear(self) -> None:
        """Forget every name: until the innermost block ends or, outside of every block, for good."""
        layers = open_layers()
        if layers:
            layers[-1].changes.clear()
            layers[-1].hides_below = True
            bridges.reach(layers[-1])
        else:
            _erase_process_names(list(process_names()))

    def copy(self) -> dict[str, Any]:
        """Return the names and objects of this moment as a plain dictionary."""
        changes, hides_below = merged(open_layers())
        names = changes if hides_below else {**process_names(), **changes}
        return {name: obj for name, obj in names.items() if obj is not DELETED}

    def __iter__(self) -> Iterator[str]:
        return iter(self.copy())

    def __len__(self) -> int:
        return len(self.copy())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.copy()})"


_custom_objects = CustomObjects()


def get_custom_objects() -> CustomObjects:
    """Return the live mapping of all custom objects by name.

    Reading it sees the names of the open ``CustomObjectScope`` blocks, innermost first, then the process-wide
    ones. Writing to it inside a block changes names until the end of that block, outside of every block for
    the whole process. Once Keras is imported, the process-wide names are those of
    ``keras.saving.get_custom_objects()``.

    Returns:
        The mapping; the same one each time.

    Example:
        >>> from befit import CustomObjectScope, get_custom_objects
        >>> with CustomObjectScope({"half": 0.5}):
        ...     get_custom_objects()["third"] = 1 / 3
        ...     "half" in get_custom_objects(), "third" in get_custom_objects()
        (True, True)
        >>> "half" in get_custom_objects(), "third" in get_custom_objects()
        (False, False)

    Source:
        Keras 2.1 ``keras.utils.get_custom_objects``.
    """
    return _custom_objects


def register(*, package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Register a class or function for good under the name ``package>name``, in Keras too.

    A registration is not undone at the end of a ``CustomObjectScope``: a module that is first imported inside
    a block keeps its registrations. Defining the same object again (a cell of a notebook that is run twice, a
    function that is called again and makes it anew) replaces it.

    Args:
        package: The namespace of the name, usually the name of the package that the object lives in.
        name: The object's name in it; its ``__name__`` if ``None``.

    Returns:
        A decorator that returns the object itself.

    Raises:
        ArgumentError: ``package`` or ``name`` is empty or contains ``>``.
        RegistrationError: The name already stands for another object, or the object is a lambda, or it is a
            class without ``get_config()``, which could be registered but never saved.
        UnsupportedObjectError: The object is neither a class nor a function.

    Example:
        >>> @register(package="docs")
        ... def double(x):
        ...     return 2 * x
        >>> get_custom_objects()["docs>double"](4)
        8

    Source:
        Keras 3 ``keras.saving.register_keras_serializable``.
    """

    def decorator(obj: T) -> T:
        _check_registrable(obj)
        own_name = name if name is not None else obj.__name__  # type: ignore[attr-defined]
        for part in (package, own_name):
            if not part or ">" in part:
                raise ArgumentError(
                    f"{part!r} is no part of a registered name; write it without '>' and not empty"
                )
        key = f"{package}>{own_name}"
        with bridges.lock:
            present = process_names().get(key, obj)
            if not _is_same_definition(present, obj):
                raise RegistrationError(
                    f"{key!r} already stands for {_full_name(present)}, not for {_full_name(obj)}; "
                    "give another package= or name="
                )
            _write_process_name(key, obj)
            _registered[obj] = (package, own_name)
            keras = bridges.keras_bridge()
            if keras is not None:
                keras.register(obj, package, own_name)
        return obj

    return decorator


def registered_name(obj: Any) -> str:
    """Return the name that ``obj``, a class or function, is registered under, or its ``__name__``."""
    if obj in _registered:
        return ">".join(_registered[obj])
    keras = bridges.keras_bridge()
    return str(obj.__name__) if keras is None else keras.registered_name(obj)


def _check_registrable(obj: Any) -> None:
    if not inspect.isclass(obj) and not inspect.isroutine(obj):
        raise UnsupportedObjectError(
            f"only a class or a function can be registered, not {obj!r}; "
            "for an instance write get_custom_objects()['name'] = instance"
        )
    if obj.__name__ == "<lambda>":
        raise RegistrationError("a lambda cannot be registered, two of them look alike; write it with def")
    if inspect.isclass(obj) and not hasattr(obj, "get_config"):
        raise RegistrationError(
            f"{_full_name(obj)} cannot be registered: it has no get_config() to be saved by; "
            "define get_config(self) so that it returns the arguments of __init__ as a dictionary"
        )


def _is_same_definition(present: Any, obj: Any) -> bool:
    return present is obj or _full_name(present) == _full_name(obj)


def _full_name(obj: Any) -> str:
    return f"{getattr(obj, '__module__', '?')}.{getattr(obj, '__qualname__', repr(obj))}"
