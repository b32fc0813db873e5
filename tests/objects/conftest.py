from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator

import pytest

from befit._internal.late_imports import ImportWatch
from befit.objects import bridges, registry
from befit.objects.layers import open_layers

TABLE_MODULES = ("activations", "constraints", "losses", "metrics", "quantizers", "regularizers")


@pytest.fixture(autouse=True)
def nothing_left_behind(keras_is_as_before: None) -> Iterator[None]:
    """No test leaves a block, a name or a finder of imports behind; registrations are undone here."""
    names = registry.get_custom_objects().copy()
    yield
    assert open_layers() == ()
    for name in registry.get_custom_objects().copy().keys() - names.keys():
        assert ">" in name, f"{name!r} was left behind"
        del registry.get_custom_objects()[name]
    assert registry.get_custom_objects() == names
    assert list(bridges._open) == []
    assert not [finder for finder in sys.meta_path if isinstance(finder, ImportWatch)]


@pytest.fixture
def state_of_keras() -> Callable[[], object]:
    """A function that returns everything in Keras that a scope may touch."""
    return read_state_of_keras


@pytest.fixture(autouse=True)
def keras_is_as_before() -> Iterator[None]:
    """Every test leaves Keras as it was, object for object."""
    before = read_state_of_keras()
    yield
    assert before is None or read_state_of_keras() == before


def read_state_of_keras() -> object:
    """Return the variables, what they hold, and the thread's slot; None if Keras has not been imported."""
    keras = sys.modules.get("keras")
    if keras is None:
        return None
    registration = keras.saving.get_registered_object.__globals__
    variables = {name: registration[f"GLOBAL_CUSTOM_{name}"] for name in ("OBJECTS", "NAMES")}
    for module in (*TABLE_MODULES, "initializers", "optimizers", "dtype_policies"):
        variables[module] = getattr(keras, module).get.__globals__["ALL_OBJECTS_DICT"]
    assert {type(table) for table in variables.values()} == {dict}
    old_files = keras.legacy.saving.deserialize_keras_object.__globals__
    search = old_files["class_and_config_for_serialized_keras_object"]
    assert inspect.isfunction(search)
    slot = vars(registration["global_state"].GLOBAL_STATE_TRACKER).get("custom_objects_scope_dict")
    contents = {name: list(table.items()) for name, table in variables.items() if name != "NAMES"}
    return {name: id(table) for name, table in variables.items()}, contents, search, slot or {}
