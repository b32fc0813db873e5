"""The shapes of known attacks by a file, tried on befit's own functions and on torch.load in a scope.

Whatever an attack would do leaves a trace: a call in ``calls``, a file in the current folder, or a module
that was not imported before. The first test fires each weapon by hand, so that no trace means no shot.
"""

from __future__ import annotations

import base64
import builtins
import functools
import importlib
import io
import json
import marshal
import os
import pickle
import sys
import types
import zipfile

import pytest
import torch

from befit.errors import ArgumentError, UnknownObjectError
from befit.objects import CustomObjectScope, deserialize, deserialize_keras_object, get_custom_objects

TARGET = "befit_attack_target"
SHOT = "open('shot', 'w').close()"
CODE = base64.b64encode(marshal.dumps(compile(SHOT, "file", "eval"))).decode()

calls: list[object] = []


def named(*args, **kwargs):
    calls.append((args, kwargs))


class Plain:
    def __init__(self, **arguments):
        self.arguments = arguments

    def method(self, *args, **kwargs):
        calls.append((args, kwargs))


NAMES = {"Plain": Plain, "named": named, "plain": Plain(), "bound": functools.partial(named, 1)}


@pytest.fixture(autouse=True)
def no_trace(tmp_path, monkeypatch):
    """Each test begins without a trace of an attack, and ends without one."""
    monkeypatch.chdir(tmp_path)
    packages = tmp_path.parent / f"{tmp_path.name}_packages"
    packages.mkdir()
    (packages / f"{TARGET}.py").write_text(f"{SHOT}\nclass Layer:\n    pass\n")
    monkeypatch.syspath_prepend(packages)
    importlib.invalidate_caches()
    calls.clear()
    yield
    assert not left_a_trace()


def left_a_trace() -> bool:
    return bool(calls) or TARGET in sys.modules or os.listdir() != []


def wipe_traces() -> None:
    calls.clear()
    sys.modules.pop(TARGET, None)
    for name in os.listdir():
        os.remove(name)


@pytest.mark.parametrize(
    "shoot",
    [
        lambda: os.system("touch shot"),
        lambda: eval(SHOT),
        lambda: eval(marshal.loads(base64.b64decode(CODE))),
        lambda: importlib.import_module(TARGET),
        lambda: named(command="x"),
        lambda: NAMES["plain"].method(),
    ],
)
def test_each_weapon_leaves_a_trace_when_it_fires(shoot):
    shoot()
    assert left_a_trace()
    wipe_traces()


def wrapped(config):
    """The places in which a file may put a config."""
    return config, [config], {"class_name": "Plain", "config": {"inner": [{"deep": config}]}}


# Names that nothing was given


def function_of(module, name, /, **arguments):
    return {"module": module, "class_name": name, "config": arguments, "registered_name": None}


UNKNOWN = {
    "a function of a module": function_of("os", "system", command="touch shot"),
    "a class of a module": function_of("subprocess", "Popen", args=["touch", "shot"]),
    "a module that would be imported": function_of(TARGET, "Layer"),
    "a builtin": function_of("builtins", "eval", source=SHOT),
    "an import": function_of("builtins", "__import__", name=TARGET),
    "a walk by getattr": function_of("builtins", "getattr", object="os", name="system"),
    "a function by name": {"module": "builtins", "class_name": "function", "config": "eval"},
    "unsafe mode switched on": function_of("keras.config", "enable_unsafe_deserialization"),
    "unsafe mode switched on, as a function": {
        "module": "keras.config",
        "class_name": "function",
        "config": "enable_unsafe_deserialization",
        "registered_name": "enable_unsafe_deserialization",
    },
    "a download": function_of("keras.utils", "get_file", fname="shot", origin="file:///etc/hostname"),
    "a model of another format": function_of("keras.layers", "TFSMLayer", filepath="saved_model"),
    "a file in a constructor": function_of("keras.layers", "StringLookup", vocabulary="/etc/passwd"),
    "byte code, Keras 3": {
        "class_name": "__lambda__",
        "config": {"code": CODE, "defaults": None, "closure": None},
    },
    "byte code, Keras 3, as a value": {"class_name": "__lambda__", "config": {"value": [CODE, None, None]}},
    "byte code, Keras 2": {
        "class_name": "Lambda",
        "config": {"function": [CODE, None, None], "function_type": "lambda", "output_shape_type": "raw"},
    },
    "a typespec": {"class_name": "__typespec__", "spec_name": "Layer", "module": TARGET, "config": []},
    "a dotted path": {"class_name": "os.system", "config": {"command": "touch shot"}},
    "a path into a module": {"class_name": f"{TARGET}.Layer", "config": {}},
    "a path into this program": {"class_name": "__main__.Plain", "config": {}},
    "a method of a named class": {"class_name": "Plain.method", "config": {}},
    "a method of a named object": {"class_name": "plain.method", "config": {}},
    "a path from a named class": {"class_name": "function", "config": "Plain.__init__.__globals__"},
    "a dunder": {"class_name": "__class__", "config": {}},
    "a method of the registry": {"class_name": "clear", "config": {}},
    "an unknown registered name": {
        "class_name": "Layer",
        "registered_name": f"{TARGET}>Layer",
        "config": {},
    },
    "a registered name of a builtin": {
        "class_name": "eval",
        "registered_name": "builtins>eval",
        "config": {},
    },
    "a name with a null byte": {"class_name": "Plain\0", "config": {}},
    "a name in another alphabet": {"class_name": "Рlain", "config": {}},  # noqa: RUF001 - a Cyrillic letter
}


@pytest.mark.parametrize("attack", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_a_name_that_was_not_given_is_refused(attack):
    with CustomObjectScope():
        modules = set(sys.modules)  # those that reach the frameworks are there by now
    before = json.dumps(attack)
    for config in wrapped(attack):
        with pytest.raises(UnknownObjectError, match=r"no \w+ is named"):
            deserialize(config, NAMES)
        with CustomObjectScope(NAMES), pytest.raises(UnknownObjectError, match=r"no \w+ is named"):
            deserialize(config)
        if not isinstance(config, list):
            with pytest.raises(UnknownObjectError, match=r"no \w+ is named"):
                deserialize_keras_object(config, NAMES, {}, "layer")
    assert set(sys.modules) == modules
    assert json.dumps(attack) == before, "a refused config is as it was"


def test_what_a_config_says_beside_a_given_name_is_not_read():
    """``module`` and an unknown ``registered_name`` do not turn a known name into something else."""
    for extra in ({"module": TARGET}, {"module": "os"}, {"registered_name": f"{TARGET}>Plain"}):
        config = {"class_name": "Plain", "config": {"a": 1}, "build_config": {"x": 1}, **extra}
        assert deserialize(config, NAMES).arguments == {"a": 1}


def test_a_registered_name_is_an_allowed_one_or_none():
    """The more trusted of two names in one config is not a way to the other."""
    config = {"class_name": "eval", "registered_name": "Plain", "config": {}}
    assert type(deserialize(config, NAMES)) is Plain
    config = {"class_name": "Plain", "registered_name": "named", "config": {"command": "x"}}
    assert deserialize(config, NAMES) is named


@pytest.mark.parametrize("name", ["named", "plain", "bound"])
@pytest.mark.parametrize("arguments", [{"command": "x"}, {}, None, ["x"], "x"])
def test_what_is_no_class_is_never_called_with_what_a_file_says(name, arguments):
    for config in ({"class_name": name, "config": arguments}, {"class_name": "function", "config": name}):
        assert deserialize(config, NAMES) is NAMES[name]
        assert deserialize_keras_object(config, NAMES) is NAMES[name]
        inner = deserialize({"class_name": "Plain", "config": {"inner": config}}, NAMES)
        assert inner.arguments["inner"] is NAMES[name]


def test_a_config_cannot_change_the_names():
    before = get_custom_objects().copy()
    for config in ({"custom_objects": {"eval": "x"}}, {"class_name": "update", "config": {"eval": "x"}}):
        with pytest.raises((UnknownObjectError, ArgumentError)):
            deserialize_keras_object(config, NAMES)
    config = {"class_name": "Plain", "config": {"custom_objects": {"eval": "x"}, "safe_mode": False}}
    assert deserialize(config, NAMES).arguments == config["config"], "arguments of the class, nothing more"
    assert get_custom_objects() == before


# Configs that ask for too much


HUGE = {
    "a shape of 10**12 elements": (
        {"batch_shape": [None, 10**12]},
        "'batch_shape' .* more than 68719476736 elements",
    ),
    "a shape of many axes": ({"shape": [1000] * 5}, "'shape' in the config has more than"),
    "a shape among shapes": (
        {"input_shape": [[2, 3], [2**21, 2**21]]},
        "'input_shape' in the config has more",
    ),
    "a shape below zero": ({"target_shape": [-(10**7), 10**7]}, "'target_shape' in the config has more"),
    "a shape with a zero": ({"shape": [0, 10**13]}, "'shape' in the config has more than"),
    "an integer of thousands of digits": ({"units": 10**5000}, "integer of 16610 bits"),
    "a negative one": ({"units": [-(10**5000)]}, "integer of 16610 bits"),
    "a shape of such integers": ({"shape": [10**300] * 100_000}, "'shape' in the config has more than"),
    "a list in itself many times": ({"values": [[0] * 10**6] * 10**6}, "more than 1000000 values"),
    "a million keys": ({str(n): n for n in range(1_000_001)}, "more than 1000000 values"),
}


@pytest.mark.parametrize(("arguments", "message"), HUGE.values(), ids=HUGE.keys())
def test_a_config_that_asks_for_too_much_is_refused_at_once(arguments, message):
    config = {"class_name": "Plain", "config": arguments}
    for call in (deserialize, deserialize_keras_object):
        with pytest.raises(ArgumentError, match=message):
            call(config, NAMES)


def test_shapes_and_numbers_that_models_have_are_accepted():
    arguments = {
        "shape": [None, 1024, 1024, 64],
        "seed": 2**64,
        "input_shape": [[2**20, 2**16]],
        "reshape": 1,
    }
    config = {"class_name": "Plain", "config": arguments}
    assert deserialize(config, NAMES).arguments == arguments


def test_a_mapping_that_is_nested_without_end_is_refused():
    config: dict[str, object] = {"class_name": "Plain", "shape": [2]}
    config["config"] = {"inner": config}
    with pytest.raises(ArgumentError, match="deeper than 100 levels"):
        deserialize(config, NAMES)


# torch.load(weights_only=True)


class Unnamed:
    def __setstate__(self, state):
        calls.append(state)


class Reduced:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def archive(pickled: bytes) -> io.BytesIO:
    """A checkpoint with this pickle in it."""
    harmless, evil = io.BytesIO(), io.BytesIO()
    torch.save({}, harmless)
    with zipfile.ZipFile(harmless) as source, zipfile.ZipFile(evil, "w") as target:
        for member in source.namelist():
            is_pickle = member.endswith("/data.pkl")
            target.writestr(member, pickled if is_pickle else source.read(member))
    evil.seek(0)
    return evil


def call_of(path: str, argument: str = "touch shot") -> bytes:
    """A pickle that calls what stands under a dotted path; the first dot ends the module."""
    module, _, name = path.partition(".")
    return f"c{module}\n{name}\n".encode() + text(argument) + b"\x85R."


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


UNNAMED = b"cbefit_attack_names\nUnnamed\n)\x81"
STATE = b"}" + text("x") + text("y") + b"sb"
THIS = types.SimpleNamespace(__name__="befit_attack_names", Plain=Plain, named=named, Unnamed=Unnamed)
PICKLES = {
    "os.system": pickle.dumps(Reduced(os.system, "touch shot"), 2),
    "builtins.eval": pickle.dumps(Reduced(eval, SHOT), 2),
    "builtins.getattr": pickle.dumps(Reduced(getattr, Plain, "method"), 2),
    "importlib.import_module": pickle.dumps(Reduced(importlib.import_module, TARGET), 2),
    "a named function": call_of("befit_attack_names.named"),
    "a method of a named class": call_of("befit_attack_names.Plain.method"),
    "a function in the globals of a method": call_of("befit_attack_names.Plain.__init__.__globals__"),
    "a module that would be imported": call_of(f"{TARGET}.Layer"),
    "a class that was not named": UNNAMED + b".",
    "a state for an instance of such a class": UNNAMED + STATE + b".",
    "such a class inside of a named one": b"cbefit_attack_names\nPlain\n)\x81}"
    + text("inner")
    + UNNAMED
    + STATE
    + b"sb.",
    "byte code": pickle.dumps(Reduced(marshal.loads, b"x"), 2),
    "functools.partial": pickle.dumps(Reduced(functools.partial, print), 2),
    "a dotted name": call_of("befit_attack_names.sys.modules"),
}
SCOPES = {
    "a class": {"Plain": Plain},
    "functions, too": {
        **NAMES,
        "eval": eval,
        "system": os.system,
        "getattr": getattr,
        "loads": marshal.loads,
    },
    "functions by their paths": {
        "Plain": Plain,
        "os.system": os.system,
        "posix.system": os.system,
        "builtins.eval": eval,
        "builtins.getattr": getattr,
        "importlib.import_module": importlib.import_module,
        "befit_attack_names.named": named,
        "marshal.loads": marshal.loads,
    },
}


@pytest.mark.parametrize("names", SCOPES.values(), ids=SCOPES.keys())
@pytest.mark.parametrize("pickled", PICKLES.values(), ids=PICKLES.keys())
def test_torch_refuses_a_pickle_that_does_more_than_the_named_classes(pickled, names, monkeypatch):
    monkeypatch.setitem(sys.modules, THIS.__name__, THIS)
    for cls in (Plain, Unnamed):
        monkeypatch.setattr(cls, "__module__", THIS.__name__)
    with (
        CustomObjectScope(names),
        pytest.raises(pickle.UnpicklingError, match=r"[Uu]nsupported (global|GLOBAL)"),
    ):
        torch.load(archive(pickled), weights_only=True)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "importlib.import_module",
        "a named function",
        "a state for an instance of such a class",
        "such a class inside of a named one",
    ],
)
def test_such_a_pickle_fires_where_everything_is_allowed(name, monkeypatch):
    """So what is refused above is no dud."""
    monkeypatch.setitem(sys.modules, THIS.__name__, THIS)
    torch.load(archive(PICKLES[name]), weights_only=False)
    assert left_a_trace()
    wipe_traces()


def test_a_class_under_the_path_of_something_else_is_that_class(monkeypatch):
    """Whatever a dotted name says: what stands under the path in the program is not looked for."""
    with CustomObjectScope({"builtins.eval": Plain}), pytest.raises(TypeError, match="positional argument"):
        torch.load(archive(call_of("builtins.eval", SHOT)), weights_only=True)  # it called Plain('open…')
    with CustomObjectScope({"os.system": Plain}), pytest.raises(pickle.UnpicklingError):
        torch.load(archive(call_of("os.system")), weights_only=True)  # torch never allows os
    assert builtins.eval is eval
