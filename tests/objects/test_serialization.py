"""Objects to data and back, by name."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArgumentError, SerializationError, UnknownObjectError
from befit.objects import (
    CustomObjectScope,
    deserialize,
    deserialize_keras_object,
    get_custom_objects,
    register,
    serialize,
    serialize_keras_object,
)


def double(x):
    return 2 * x


class Plain:
    """Built from its arguments."""

    def __init__(self, /, **arguments):
        self.arguments = arguments

    def get_config(self):
        return self.arguments

    def __eq__(self, other):
        return type(self) is type(other) and self.arguments == other.arguments

    __hash__ = None


class Own(Plain):
    """Builds itself."""

    @classmethod
    def from_config(cls, config):
        return cls(**config, built_by="from_config")


class Registered(Plain):
    """Known in the whole process."""


@pytest.fixture
def registered():
    register(package="tests_serialization")(Registered)


NAMES = {"Plain": Plain, "Own": Own, "double": double}


def through_json(obj):
    return json.loads(json.dumps(serialize(obj)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.recursive(
    JSON | st.just(double),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=4).map(lambda names: Plain(**names)),
    max_leaves=12,
)


@given(OBJECTS.filter(lambda value: not isinstance(value, str)))
def test_an_object_comes_back_equal_through_json(obj):
    assert deserialize(through_json(obj), NAMES) == obj


def test_form_of_an_object_a_function_and_plain_data():
    assert serialize(Plain(a=1)) == {"class_name": "Plain", "config": {"a": 1}}
    assert serialize(double) == {"class_name": "function", "config": "double"}
    assert serialize((1, None, "a", {"b": 2.5})) == [1, None, "a", {"b": 2.5}]
    assert serialize(np.float32(0.5)) == 0.5
    assert type(serialize(np.int64(3))) is int


def test_nested_objects_come_back():
    plain = Plain(inner=[Plain(f=double)], n=1)
    assert deserialize(through_json(plain), NAMES) == plain


def test_from_config_gets_its_config_as_it_is():
    config = {"class_name": "Own", "config": {"inner": {"class_name": "Plain", "config": {}}}}
    assert deserialize(config, NAMES).arguments == {**config["config"], "built_by": "from_config"}


def test_from_config_may_ask_for_the_custom_objects():
    class Asks(Plain):
        @classmethod
        def from_config(cls, config, custom_objects=None):
            return custom_objects

    with CustomObjectScope({"outer": 1}):
        given_to_it = deserialize({"class_name": "Asks", "config": {}}, {"Asks": Asks})
    assert given_to_it == {**get_custom_objects(), "outer": 1, "Asks": Asks}


def test_the_names_of_the_argument_are_in_scope_while_an_object_builds_itself():
    class Nested(Plain):
        @classmethod
        def from_config(cls, config):
            return cls(inner=deserialize(config["inner"]))

    config = {"class_name": "Nested", "config": {"inner": {"class_name": "Plain", "config": {"a": 1}}}}
    assert deserialize(config, {**NAMES, "Nested": Nested}).arguments["inner"] == Plain(a=1)
    assert "Plain" not in get_custom_objects()


def test_lookup_order_is_argument_then_inner_then_outer_then_registry():
    get_custom_objects()["name"] = "registry"
    try:
        assert deserialize("name") == "registry"
        with CustomObjectScope({"name": "outer"}):
            assert deserialize("name") == "outer"
            with CustomObjectScope({"name": "inner"}):
                assert deserialize("name") == "inner"
                assert deserialize("name", {"name": "argument"}) == "argument"
    finally:
        del get_custom_objects()["name"]


@pytest.mark.usefixtures("registered")
def test_a_registered_class_comes_back_without_a_scope():
    config = through_json(Registered(a=1))
    assert config["class_name"] == "tests_serialization>Registered"
    assert deserialize(config) == Registered(a=1)


@pytest.mark.usefixtures("registered")
def test_the_form_of_keras_3_is_understood():
    config = {
        "module": None,
        "class_name": "Registered",
        "config": {"a": 1},
        "registered_name": "tests_serialization>Registered",
    }
    assert deserialize(config) == Registered(a=1)
    function = {"module": "x", "class_name": "function", "config": "double", "registered_name": "function"}
    assert deserialize(function, NAMES) is double


def test_a_string_inside_of_a_config_stays_a_string():
    """A value that happens to equal a name must not turn into an object (tensorflow#33614)."""
    assert deserialize({"class_name": "Plain", "config": {"a": "double"}}, NAMES).arguments == {"a": "double"}
    assert deserialize(["double"], NAMES) == ["double"]


# What cannot be saved


def test_what_has_no_name_is_refused():
    def local(x):
        return x

    for function in (lambda x: x, local, Plain(a=1).get_config):
        with pytest.raises(
            SerializationError, match="no name to be found again by; write it with def at the top"
        ):
            serialize({"deep": [function]})


def test_a_lambda_is_refused_even_in_scope():
    nameless = lambda x: x  # noqa: E731
    with CustomObjectScope({"<lambda>": nameless}), pytest.raises(SerializationError, match="no name"):
        serialize(nameless)


def test_a_local_function_in_scope_has_a_name():
    def local(x):
        return x

    with CustomObjectScope({"local": local}):
        assert deserialize(serialize(local)) is local


@pytest.mark.parametrize("value", [b"bytes", np.zeros(2), object(), {1, 2}, functools.partial(double, 1)])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(SerializationError, match="is no plain data"):
        serialize(Plain(value=value))


def test_a_class_is_refused():
    with pytest.raises(SerializationError, match="Plain is a class; serialize an instance"):
        serialize(Plain)


def test_keys_that_json_would_change_are_refused():
    with pytest.raises(SerializationError, match=r"key 1 is no string.*write '1'"):
        serialize({1: 2})


def test_an_object_that_contains_itself_is_refused():
    loop = Plain()
    loop.arguments["self"] = loop
    with pytest.raises(SerializationError, match="contain itself"):
        serialize(loop)


# What is refused; tests of attacks are in test_attacks.py


def test_a_class_cannot_pass_for_a_function():
    with pytest.raises(ArgumentError, match="stands for a class"):
        deserialize({"class_name": "function", "config": "Plain"}, NAMES)


def test_an_unknown_name_is_answered_with_the_nearest_ones():
    with (
        CustomObjectScope({"MyRegularizer": Plain}),
        pytest.raises(
            UnknownObjectError, match=r"no object is named 'MyRegulariser'; did you mean 'MyRegularizer'\?"
        ),
    ):
        deserialize("MyRegulariser")
    with pytest.raises(UnknownObjectError, match=r"with CustomObjectScope\(\{'Nothing': …\}\)"):
        deserialize("Nothing")
    with pytest.raises(ValueError, match="no layer is named 'Nothing'"):
        deserialize_keras_object("Nothing", printable_module_name="layer")


def test_a_config_that_is_too_deep_or_too_large_is_refused():
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ArgumentError, match="deeper than 100 levels"):
        deserialize(deep)
    wide = [0] * 100
    for _ in range(6):
        wide = [wide] * 10  # ten million values in a few kilobytes
    with pytest.raises(ArgumentError, match="more than 1000000 values"):
        deserialize(wide)


@pytest.mark.parametrize(
    ("innermost", "own_levels"),
    [(0, 0), ([], 0), (double, 1), (Plain(a=1), 2)],
    ids=["number", "list", "function", "object"],
)
def test_both_ways_go_equally_deep(innermost, own_levels):
    """What serializes can be read again; one level more is refused by both."""

    def nest(value, levels):
        for _ in range(levels):
            value = [value]
        return value

    deepest = nest(innermost, 100 - own_levels)
    assert deserialize(through_json(deepest), NAMES) == deepest
    with pytest.raises(SerializationError, match="nested deeper than 100 levels"):
        serialize([deepest])
    with pytest.raises(ArgumentError, match="nested deeper than 100 levels"):
        deserialize([through_json(deepest)], NAMES)


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": ["Plain"], "config": {}},
        {"class_name": "function", "config": {"name": "double"}},
        {"class_name": "Plain", "config": [1, 2]},
        {"class_name": "Plain", "registered_name": 3, "config": {}},
    ],
)
def test_a_config_of_another_form_is_refused(config):
    with pytest.raises(ArgumentError):
        deserialize(config, NAMES)


def test_an_error_of_the_class_itself_keeps_its_type_and_says_where():
    class Strict(Plain):
        def __init__(self, n):
            super().__init__(n=n)

    with pytest.raises(TypeError, match="unexpected keyword argument 'm'") as caught:
        deserialize({"class_name": "Strict", "config": {"m": 1}}, {"Strict": Strict})
    assert any("Strict was built from its config" in note for note in caught.value.__notes__)


# The old names


def test_old_names_keep_their_old_forms():
    """Keras 2.1.2: tests/keras/utils/generic_utils_test.py and the source of the two functions."""
    assert serialize_keras_object(None) is None
    assert serialize_keras_object(double) == "double"
    assert serialize_keras_object(Plain(a=1)) == {"class_name": "Plain", "config": {"a": 1}}
    assert deserialize_keras_object(None) is None
    assert deserialize_keras_object("Plain", module_objects=NAMES) is Plain  # a name is not called
    assert deserialize_keras_object({"class_name": "Plain", "config": {"a": 1}}, NAMES) == Plain(a=1)
    assert deserialize_keras_object("double", {"double": 1}, {"double": 2}) == 2


def test_old_names_refuse_what_describes_nothing():
    for nothing in (3, [], {}, {"class_name": "Plain"}):
        with pytest.raises(ArgumentError, match="describes no regularizer; give a name or"):
            deserialize_keras_object(nothing, NAMES, printable_module_name="regularizer")
