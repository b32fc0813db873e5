"""What a block promises about names, without any framework."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from contextlib import ExitStack
from contextvars import copy_context
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from befit.errors import ArgumentError, BefitError, UnsupportedObjectError
from befit.objects import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
)


def test_names_are_known_inside_and_only_inside():
    with CustomObjectScope({"a": 1}):
        assert get_custom_objects()["a"] == 1
    assert "a" not in get_custom_objects()


def test_enter_returns_the_scope():
    scope = CustomObjectScope({"a": 1})
    with scope as entered:
        assert entered is scope


def test_several_dictionaries_and_the_last_one_counts():
    with CustomObjectScope({"a": 1, "b": 1}, {"b": 2}, None, MappingProxyType({"c": 3})):
        assert dict(get_custom_objects()) == {**get_custom_objects(), "a": 1, "b": 2, "c": 3}


def test_no_dictionary_at_all():
    before = get_custom_objects().copy()
    with CustomObjectScope():
        assert get_custom_objects() == before


def test_dictionaries_are_read_when_the_block_begins():
    names = {"a": 1}
    scope = CustomObjectScope(names)
    names["b"] = 2
    with scope:
        assert get_custom_objects()["b"] == 2


def test_changes_of_a_dictionary_do_not_reach_an_open_block():
    names = {"a": 1}
    with CustomObjectScope(names):
        names.clear()
        assert get_custom_objects()["a"] == 1


def test_the_block_does_not_change_the_dictionary_it_was_given():
    names = {"a": 1}
    with CustomObjectScope(names):
        get_custom_objects()["a"] = 2
        get_custom_objects()["b"] = 3
    assert names == {"a": 1}


def test_inner_blocks_see_outer_names_and_may_shadow_them():
    with CustomObjectScope({"a": 1, "b": 1}):
        with CustomObjectScope({"b": 2}):
            assert (get_custom_objects()["a"], get_custom_objects()["b"]) == (1, 2)
        assert get_custom_objects()["b"] == 1


def test_the_old_name_is_the_same_class():
    assert custom_object_scope is CustomObjectScope


def test_documented_signature_takes_any_number_of_positional_dictionaries():
    parameters = inspect.signature(CustomObjectScope).parameters.values()
    assert [parameter.kind for parameter in parameters] == [inspect.Parameter.VAR_POSITIONAL]


def test_changes_inside_are_reverted_at_the_end():
    custom_objects = get_custom_objects()
    with CustomObjectScope({"outer": 0, "kept": 1}):
        with CustomObjectScope({"a": 1}):
            custom_objects["added"] = 2
            custom_objects["a"] = 3
            custom_objects["outer"] = 4
            del custom_objects["kept"]
            assert "kept" not in custom_objects
            assert custom_objects["a"] == 3
        assert custom_objects["outer"] == 0
        assert custom_objects["kept"] == 1
        assert "added" not in custom_objects


def test_process_wide_names_changed_inside_are_reverted_too():
    custom_objects = get_custom_objects()
    custom_objects["process_wide"] = 1
    try:
        with CustomObjectScope():
            custom_objects["process_wide"] = 2
            assert custom_objects["process_wide"] == 2
        assert custom_objects["process_wide"] == 1
        with CustomObjectScope():
            del custom_objects["process_wide"]
            assert "process_wide" not in custom_objects
            with pytest.raises(KeyError):
                del custom_objects["process_wide"]
        assert custom_objects["process_wide"] == 1
        with CustomObjectScope():
            custom_objects.clear()
            assert len(custom_objects) == 0
            custom_objects["after"] = 3
            assert dict(custom_objects) == {"after": 3}
        assert custom_objects["process_wide"] == 1
    finally:
        del custom_objects["process_wide"]
    assert "process_wide" not in custom_objects


def test_clear_hides_the_names_of_outer_blocks_until_its_end():
    with CustomObjectScope({"a": 1}):
        with CustomObjectScope({"b": 2}):
            get_custom_objects().clear()
            with CustomObjectScope({"c": 3}):
                assert dict(get_custom_objects()) == {"c": 3}
        assert get_custom_objects()["a"] == 1


def test_update_pop_and_setdefault_are_reverted():
    with CustomObjectScope({"a": 1}):
        with CustomObjectScope():
            get_custom_objects().update(b=2, c=3)
            assert get_custom_objects().pop("a") == 1
            assert get_custom_objects().setdefault("d", 4) == 4
        assert [name in get_custom_objects() for name in "abcd"] == [True, False, False, False]


def test_everything_is_reverted_after_an_exception():
    before = get_custom_objects().copy()
    with pytest.raises(ZeroDivisionError), CustomObjectScope({"a": 1}):  # noqa: PT012
        get_custom_objects().clear()
        get_custom_objects()["b"] = 1 / 0
    assert get_custom_objects() == before


def test_the_same_instance_inside_itself_and_again_later():
    scope = CustomObjectScope({"a": 1})
    with scope:
        with scope:
            get_custom_objects()["a"] = 2
            get_custom_objects()["b"] = 2
        assert get_custom_objects()["a"] == 1
        assert "b" not in get_custom_objects()
    assert "a" not in get_custom_objects()
    with scope:
        assert get_custom_objects()["a"] == 1


def test_blocks_may_end_in_another_order_than_they_began():
    outer, inner = CustomObjectScope({"a": 1, "b": 1}), CustomObjectScope({"b": 2})
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert "a" not in get_custom_objects()
    assert get_custom_objects()["b"] == 2
    inner.__exit__(None, None, None)
    assert "b" not in get_custom_objects()


def test_many_blocks_in_rolling_order_leave_no_trail():
    """Each block ends after the next one began, for ever: the stack stays short."""
    previous = CustomObjectScope({"a": -1})
    previous.__enter__()
    for number in range(100):
        following = CustomObjectScope({"a": number})
        following.__enter__()
        previous.__exit__(None, None, None)
        previous = following
    (layer,) = previous._layers
    assert len(layer.stack) <= 2
    assert get_custom_objects()["a"] == 99
    previous.__exit__(None, None, None)


def test_leaving_a_scope_that_is_not_open_is_an_error():
    with pytest.raises(ArgumentError, match="not open"):
        CustomObjectScope().__exit__(None, None, None)


def test_an_exit_stack_closes_what_it_opened():
    with ExitStack() as stack:
        stack.enter_context(CustomObjectScope({"a": 1}))
        stack.enter_context(CustomObjectScope({"b": 2}))
        assert (get_custom_objects()["a"], get_custom_objects()["b"]) == (1, 2)


def test_a_block_that_is_ended_in_another_context_is_ended_everywhere():
    """As a pytest fixture of an asynchronous test does it."""
    scope = CustomObjectScope({"a": 1})
    context = copy_context()
    context.run(scope.__enter__)
    assert context.run(get_custom_objects().get, "a") == 1
    scope.__exit__(None, None, None)
    assert context.run(get_custom_objects().get, "a") is None


def test_what_is_no_dictionary_is_refused():
    with pytest.raises(
        UnsupportedObjectError, match=r"takes dictionaries, not \['a'\]; write Custom"
    ) as caught:
        CustomObjectScope(["a"])
    assert isinstance(caught.value, BefitError | TypeError)


def test_what_is_no_name_is_refused():
    with pytest.raises(UnsupportedObjectError, match="name is a string, not 1"):
        CustomObjectScope({1: "a"})
    with CustomObjectScope(), pytest.raises(UnsupportedObjectError, match="name is a string, not 1"):
        get_custom_objects()[1] = "a"


# Decorators


def test_as_a_decorator():
    @CustomObjectScope({"a": 1})
    def read(name: str) -> int:
        """Read."""
        get_custom_objects()["b"] = 2
        return get_custom_objects()[name]

    assert (read.__name__, read.__doc__) == ("read", "Read.")
    assert (read("a"), read(name="b")) == (1, 2)
    assert "b" not in get_custom_objects()


def read_a() -> object:
    return get_custom_objects().get("a")


def test_the_decorator_can_be_used_recursively():
    @CustomObjectScope({"a": 1})
    def count(depth: int) -> int:
        return get_custom_objects()["a"] + (count(depth - 1) if depth else 0)

    assert count(3) == 4


def test_as_a_decorator_of_a_coroutine_function():
    @CustomObjectScope({"a": 1})
    async def read() -> object:
        await asyncio.sleep(0)
        return read_a()

    assert inspect.iscoroutinefunction(read)
    assert asyncio.run(read()) == 1


def test_a_generator_cannot_be_decorated():
    def generate():
        yield read_a()

    async def generate_async():
        yield read_a()

    for function in (generate, generate_async):
        with pytest.raises(UnsupportedObjectError, match="write the with block inside"):
            CustomObjectScope({"a": 1})(function)


# Laws


NAMES = st.sampled_from("abcd")


@given(st.lists(st.dictionaries(NAMES, st.integers())))
def test_nested_blocks_are_a_chain_of_dictionaries(dictionaries):
    before = get_custom_objects().copy()
    with ExitStack() as stack:
        expected = dict(before)
        for names in dictionaries:
            stack.enter_context(CustomObjectScope(names))
            expected.update(names)
            assert dict(get_custom_objects()) == expected
    assert get_custom_objects() == before


class NestedBlocks(RuleBasedStateMachine):
    """Any sequence of blocks and changes does what copies of one dictionary would do."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.scopes: list[CustomObjectScope] = []
        self.copies: list[dict[str, object]] = []
        self.now = get_custom_objects().copy()
        self.begin({})

    @rule(names=st.dictionaries(NAMES, st.integers()))
    def begin(self, names):
        self.copies.append(dict(self.now))
        self.scopes.append(CustomObjectScope(names).__enter__())
        self.now.update(names)

    @rule()
    def end(self):
        if len(self.scopes) > 1:
            self.scopes.pop().__exit__(None, None, None)
            self.now = self.copies.pop()

    @rule(name=NAMES, value=st.integers())
    def write(self, name, value):
        get_custom_objects()[name] = self.now[name] = value

    @rule(name=NAMES)
    def delete(self, name):
        assert get_custom_objects().pop(name, None) == self.now.pop(name, None)

    @rule()
    def clear(self):
        get_custom_objects().clear()
        self.now.clear()

    @invariant()
    def says_the_same(self):
        assert dict(get_custom_objects()) == self.now
        assert len(get_custom_objects()) == len(self.now)
        assert all((name in get_custom_objects()) == (name in self.now) for name in "abcd")

    def teardown(self):
        while self.scopes:
            self.scopes.pop().__exit__(None, None, None)
        assert get_custom_objects() == self.copies[0]


TestNestedBlocks = NestedBlocks.TestCase


def test_no_framework_is_imported():
    code = """
import sys
from befit import CustomObjectScope, get_custom_objects, register, serialize, deserialize
with CustomObjectScope({'half': 0.5}):
    deserialize('half')
register(package='test')(serialize)
frameworks = {'keras', 'torch', 'jax', 'tensorflow', 'h5py'} & set(sys.modules)
assert not frameworks, frameworks
assert [type(finder).__name__ for finder in sys.meta_path].count('ImportWatch') == 1  # for the registration
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
