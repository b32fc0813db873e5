"""``install`` and ``uninstall``: the old names, methods and modules come to Keras, and leave it as it was.

Only what users import is changed: the module ``keras.utils`` (``tensorflow.keras.utils`` is another one)
and the class ``keras.Model``. What Keras itself uses, in ``keras.src``, is not touched.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from befit._internal.late_imports import ImportWatch
from befit.keras2.changes import Changes
from befit.keras2.faces import face_of
from befit.keras2.hints import hint, method_hint, name_hint
from befit.keras2.modules import OldModules, old_names
from befit.legacy import trainers
from befit.legacy.names import METHODS, MODULES, OldMethod, OldName

__all__ = ["install", "is_installed", "uninstall"]

_KERAS = "keras"
_UTILS = ("tensorflow.keras.utils", "keras._tf_keras.keras.utils")  # each a module of its own
# TensorFlow's own, private copy of an old Keras. Its other parts use these modules, too, and rely on what
# functions do there.
_PRIVATE = "tensorflow.python.keras"
_PRIVATE_MODULES = (f"{_PRIVATE}.utils", *(f"{_PRIVATE}.{module}" for module in MODULES))

_lock = threading.RLock()
_changes = Changes()
_installed = False


def install() -> None:
    """Make scripts that were written for Keras 2 run: give Keras its old names, methods and modules.

    Keras may be imported already, or later. Names that Keras 3 has too (``Sequence``, ``get_file``,
    ``to_categorical`` …) are replaced in ``keras.utils`` only. Calling it twice changes nothing.

    Example:
        >>> import befit.keras2
        >>> befit.keras2.install()
        >>> from keras.utils.np_utils import to_categorical
        >>> to_categorical([0, 2], dtype="int8").tolist()
        [[1, 0, 0], [0, 0, 1]]
        >>> befit.keras2.uninstall()

    Source: Keras 2.1, ``keras.utils``; the arguments of Keras 1 that Keras 2 took with a warning.
    """
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
        sys.meta_path = [*sys.meta_path, _finder]
        _changes.set(trainers, "hints", hint)
        awaited = (_KERAS, *_UTILS, *_PRIVATE_MODULES)
        _watch.wait_for(awaited)
        try:
            for name in awaited:
                if name in sys.modules:
                    _arrived(name)
        except BaseException:
            uninstall()
            raise


def uninstall() -> None:
    """Leave Keras as it was before ``install``, item by item; what was imported meanwhile stays usable."""
    global _installed
    with _lock:
        if not _installed:
            return
        _installed = False
        _watch.wait_for(())
        sys.meta_path = [finder for finder in sys.meta_path if finder is not _finder]
        _changes.take_back()


def is_installed() -> bool:
    """Return whether the old names are there."""
    return _installed


def _arrived(name: str) -> None:
    with _lock:
        if not _installed:
            return
        if name == _KERAS:
            _add_methods(sys.modules[name].Model)
            _add_names(sys.modules[f"{name}.utils"], "utils")
        elif name in _UTILS:
            _add_names(sys.modules[name], "utils")
        elif name in _PRIVATE_MODULES:
            _add_names(sys.modules[name], name.removeprefix(f"{_PRIVATE}."), replaces=_is_befits_own)


def _is_befits_own(row: OldName) -> bool:
    return not row.today.startswith(("keras.", "befit.legacy.", "befit.objects."))


def _add_names(
    module: ModuleType, place: str, replaces: Callable[[OldName], bool] = lambda row: True
) -> None:
    here = vars(module)
    if "__getattr__" in here:
        return  # it has them already
    rows = old_names(place)
    gone = {name: row for name, row in rows.items() if name not in here}
    for name, row in rows.items():
        if name in here and replaces(row):
            _changes.set(module, name, face_of(row))
    modules = {name.removeprefix(f"{place}.") for name in MODULES if name.startswith(f"{place}.")}

    def __getattr__(name: str) -> Any:
        if name in gone:
            name_hint(gone[name], module.__name__)
            return face_of(gone[name])
        if name in modules:
            return importlib.import_module(f"{module.__name__}.{name}")
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    if "__all__" not in here:  # else `from keras.utils import *` would not bring what is gone
        _changes.set(module, "__all__", [name for name in (*here, *gone) if not name.startswith("_")])
    _changes.set(module, "__getattr__", __getattr__)


def _add_methods(model_class: Any) -> None:
    for row in METHODS:
        method = _gone_method(row) if row.gone else _wider_method(row, getattr(model_class, row.name))
        _changes.set(model_class, row.name, method)


def _gone_method(row: OldMethod) -> Callable[..., Any]:
    function = getattr(trainers, row.name)

    @functools.wraps(function)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        method_hint(row)
        return function(self, *args, **kwargs)

    return method


def _wider_method(row: OldMethod, original: Callable[..., Any]) -> Callable[..., Any]:
    function = getattr(trainers, row.name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if row.arguments.keys() & kwargs.keys():
            method_hint(row)
        return function(self, original, args, kwargs)

    return method


_finder = OldModules(_changes.note_module)
_watch = ImportWatch(_arrived)
