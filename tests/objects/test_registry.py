"""Names for the whole process: get_custom_objects() outside of blocks, and register."""

from __future__ import annotations

import inspect

import pytest

from befit.errors import ArgumentError, RegistrationError, UnsupportedObjectError
from befit.objects import CustomObjectScope, get_custom_objects, register, serialize


def double(x):
    return 2 * x


class Scale:
    def __init__(self, factor):
        self.factor = factor

    def get_config(self):
        return {"factor": self.factor}


def test_get_custom_objects_is_one_live_mapping():
    mapping = get_custom_objects()
    assert get_custom_objects() is mapping
    with CustomObjectScope({"a": 1}):
        assert mapping["a"] == 1
        assert repr(mapping).startswith("CustomObjects({")
        assert "'a': 1" in repr(mapping)
        copy = mapping.copy()
    assert type(copy) is dict
    assert copy["a"] == 1
    assert "a" not in mapping


def test_outside_of_blocks_a_name_stays_until_it_is_deleted():
    get_custom_objects()["mine"] = 1
    assert get_custom_objects()["mine"] == 1
    with CustomObjectScope():
        assert get_custom_objects()["mine"] == 1
    assert get_custom_objects().pop("mine") == 1
    assert "mine" not in get_custom_objects()


def test_an_unknown_name_is_a_key_error():
    with pytest.raises(KeyError, match="nothing"):
        get_custom_objects()["nothing"]
    with pytest.raises(KeyError, match="nothing"):
        del get_custom_objects()["nothing"]


def test_signature():
    assert str(inspect.signature(register)).startswith(
        "(*, package: 'str' = 'Custom', name: 'str | None' = None)"
    )


def test_register_names_the_object_and_returns_it():
    assert register(package="tests_registry")(double) is double
    assert get_custom_objects()["tests_registry>double"] is double
    register(package="tests_registry", name="other")(Scale)
    assert get_custom_objects()["tests_registry>other"] is Scale
    assert serialize(Scale(2))["class_name"] == "tests_registry>other"


def test_the_default_package_is_the_one_of_keras():
    register(name="tests_registry_default")(double)
    assert get_custom_objects()["Custom>tests_registry_default"] is double


def test_a_registration_outlives_the_block_that_it_happens_in():
    with CustomObjectScope():
        register(package="tests_registry", name="inside")(double)
        assert get_custom_objects()["tests_registry>inside"] is double
    assert get_custom_objects()["tests_registry>inside"] is double


def test_another_object_never_takes_the_name():
    register(package="tests_registry", name="taken")(double)
    with pytest.raises(
        RegistrationError,
        match=r"'tests_registry>taken' already stands for .*\.double, not for .*\.Scale; give another",
    ):
        register(package="tests_registry", name="taken")(Scale)
    assert get_custom_objects()["tests_registry>taken"] is double


def test_the_same_definition_run_again_replaces_the_old_one():
    def define():
        @register(package="tests_registry")
        def again():
            return 1

        return again

    first, second = define(), define()
    assert first is not second
    assert get_custom_objects()["tests_registry>again"] is second


def test_lambdas_are_refused():
    with pytest.raises(RegistrationError, match="lambda cannot be registered"):
        register(package="tests_registry", name="lambda")(lambda x: x)


def test_a_class_that_could_never_be_saved_is_refused():
    with pytest.raises(RegistrationError, match=r"no get_config\(\).*define get_config"):
        register(package="tests_registry")(type("Plain", (), {}))


def test_an_instance_is_refused():
    with pytest.raises(UnsupportedObjectError, match=r"get_custom_objects\(\)\['name'\] = instance"):
        register(package="tests_registry")(Scale(1))


@pytest.mark.parametrize("arguments", [{"package": ""}, {"package": "a>b"}, {"name": "a>b"}, {"name": ""}])
def test_names_that_could_be_mistaken_are_refused(arguments):
    with pytest.raises(ArgumentError, match="without '>'"):
        register(**arguments)(double)
