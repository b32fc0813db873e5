"""The shapes of known attacks in saved models, loaded by Keras itself inside of a scope; on every backend."""

from __future__ import annotations

import importlib
import json
import os
import sys
import zipfile

import h5py
import keras
import pytest

from befit.errors import ArgumentError
from befit.objects import CustomObjectScope, get_custom_objects

pytestmark = [
    pytest.mark.backends,
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
]

TARGET = "befit_keras_attack_target"
SHOT = "open('shot', 'w').close()"
CODE = keras.layers.Lambda(lambda x: [open("shot", "w").close(), x][1]).get_config()["function"]

calls: list[dict[str, object]] = []


def named(*args, **kwargs):
    """Does what a layer, a factory of layers, an activation or a loss has to do."""
    if "command" in kwargs:
        calls.append(kwargs)
    return args[-1] if args else keras.layers.Dense(2)


class Mine(keras.layers.Layer):
    def call(self, inputs):
        return inputs


NAMES = {"Mine": Mine, "named": named, "Lambda": keras.layers.Lambda, "system": os.system, "eval": eval}


@pytest.fixture(autouse=True)
def no_trace(tmp_path, monkeypatch):
    """Each test begins without a trace of an attack, and ends without one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / f"{TARGET}.py").write_text(f"import keras\n{SHOT}\nclass Layer(keras.layers.Layer): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    calls.clear()
    yield
    assert calls == []
    assert os.listdir() == []
    assert TARGET not in sys.modules
    in_safe_mode = keras.saving.deserialize_keras_object.__globals__["in_safe_mode"]
    assert in_safe_mode() is not False


@pytest.fixture(params=["keras", "h5"])
def file_with(request, tmp_path):
    """Make a saved model whose configuration was changed afterwards."""
    path = tmp_path / f"model.{request.param}"

    def make(change):
        inner = keras.Sequential([keras.Input((4, 3)), keras.layers.Dense(3)])
        wrapped = keras.layers.TimeDistributed(keras.layers.Dense(2))
        keras.Sequential([keras.Input((4, 3)), Mine(), inner, wrapped]).save(path)
        if request.param == "h5":
            with h5py.File(path, "r+") as file:
                config = json.loads(file.attrs["model_config"])
                change(config["config"]["layers"])
                file.attrs["model_config"] = json.dumps(config)
        else:
            with zipfile.ZipFile(path) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            config = json.loads(members["config.json"])
            change(config["config"]["layers"])
            members["config.json"] = json.dumps(config).encode()
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        return path

    return make


def test_the_file_as_it_was_is_loaded(file_with):
    with CustomObjectScope(NAMES):
        assert type(keras.models.load_model(file_with(lambda layers: None)).layers[0]) is Mine


# A function where a class should be


EVIL = {"class_name": "named", "config": {"command": "x"}}
PLACES = {
    "a layer": lambda layers: layers.__setitem__(1, EVIL),
    "a layer with a module": lambda layers: layers.__setitem__(1, {**EVIL, "module": "builtins"}),
    "in a wrapper": lambda layers: layers[3]["config"].update(layer=EVIL),
    "in a nested model": lambda layers: layers[2]["config"]["layers"].__setitem__(1, EVIL),
    "an initializer": lambda layers: layers[3]["config"]["layer"]["config"].update(kernel_initializer=EVIL),
    "a policy": lambda layers: layers[1]["config"].update(dtype=EVIL),
}


@pytest.mark.parametrize("change", PLACES.values(), ids=PLACES.keys())
def test_a_function_is_not_called_with_the_arguments_of_a_file(file_with, change):
    with CustomObjectScope(NAMES), pytest.raises((TypeError, ValueError, AttributeError, RuntimeError)):
        keras.models.load_model(file_with(change))


@pytest.mark.parametrize("argument", ["kernel_regularizer", "activation"])
def test_where_a_function_may_stand_it_stays_one(file_with, argument):
    def change(layers):
        layers[3]["config"]["layer"]["config"][argument] = EVIL

    with CustomObjectScope(NAMES):
        model = keras.models.load_model(file_with(change))
    assert getattr(model.layers[2].layer, argument) is named


def old_file_with(layer, tmp_path):
    path = tmp_path / "model.h5"
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    keras.Sequential([keras.Input((3,)), inner]).save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][1]["config"]["layers"][1] = layer
        file.attrs["model_config"] = json.dumps(config)
    return path


REFUSAL = "gives 'named' for a class, but here it stands for .* let the name stand for a class or"


def test_in_the_old_format_the_refusal_says_why(tmp_path):
    path = old_file_with(EVIL, tmp_path)
    with CustomObjectScope(NAMES), pytest.raises(ArgumentError, match=REFUSAL):
        keras.models.load_model(path)
    get_custom_objects()["named"] = named
    try:
        with pytest.raises(ArgumentError, match=REFUSAL):
            keras.models.load_model(path)
    finally:
        del get_custom_objects()["named"]


def test_a_function_that_only_keras_was_given_keeps_the_rules_of_keras(tmp_path):
    """Also inside of a block that has nothing to do with it. So what is refused above is no dud."""
    path = old_file_with(EVIL, tmp_path)
    for scope in (CustomObjectScope(), CustomObjectScope({"Mine": Mine})):
        with scope:
            model = keras.models.load_model(path, custom_objects={"named": named})
        assert type(model.layers[0].layers[0]) is keras.layers.Dense
    assert calls == [{"command": "x"}] * 2
    calls.clear()


def test_a_class_without_from_config_is_built_from_an_old_file(tmp_path):
    class Factory:
        def __new__(cls, units):
            return keras.layers.Dense(units)

    path = old_file_with({"class_name": "Factory", "config": {"units": 2}}, tmp_path)
    with CustomObjectScope({"Factory": Factory}):
        assert keras.models.load_model(path).layers[0].layers[0].units == 2


# Names that nothing was given, and byte code


def layer(module, name, /, **arguments):
    return {"module": module, "class_name": name, "config": arguments, "registered_name": None}


def lambda_layer(function, **arguments):
    return layer("keras.layers", "Lambda", name="lambda", function=function, **arguments)


LAYERS = {
    "a function of a module": layer("os", "popen", cmd="touch shot"),
    "a builtin": layer("builtins", "exec", source=SHOT),
    "a module that would be imported": layer(TARGET, "Layer"),
    "a registered name of another module": {**layer(TARGET, "Layer"), "registered_name": f"{TARGET}>Layer"},
    "unsafe mode switched on": layer("keras.config", "enable_unsafe_deserialization"),
    "unsafe mode switched on, as a function": {
        "module": "keras.config",
        "class_name": "function",
        "config": "enable_unsafe_deserialization",
        "registered_name": "enable_unsafe_deserialization",
    },
    "a download": layer(
        "keras.utils", "get_file", fname="shot", origin="file:///etc/hostname", cache_dir="."
    ),
    "a model of another format": layer("keras.layers", "TFSMLayer", name="x", filepath="/nowhere"),
    "byte code": lambda_layer(CODE),
    "byte code by the name of the scope": {"class_name": "Lambda", "config": {"name": "x", "function": CODE}},
    "byte code as an output shape": lambda_layer("named", output_shape=CODE),
    "byte code, Keras 2": lambda_layer([CODE["config"]["code"], None, None], function_type="lambda"),
    "byte code and the word that it is safe": lambda_layer(CODE, safe_mode=False),
}


@pytest.mark.parametrize("evil", LAYERS.values(), ids=LAYERS.keys())
def test_a_layer_that_nothing_named_is_refused(file_with, evil):
    path = file_with(lambda layers: layers.__setitem__(1, evil))
    with CustomObjectScope(NAMES), pytest.raises((TypeError, ValueError, ImportError)):
        keras.models.load_model(path)


def test_the_byte_code_fires_where_it_is_allowed(file_with):
    path = file_with(lambda layers: layers.__setitem__(1, lambda_layer(CODE)))
    with CustomObjectScope(NAMES):
        keras.models.load_model(path, safe_mode=False)(keras.ops.ones((1, 4, 3)))
    os.remove("shot")
