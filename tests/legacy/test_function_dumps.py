"""Functions as text: what was dumped computes the same, also between befit and Keras; the rest is refused."""

from __future__ import annotations

import base64
import functools
import json
import marshal
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArgumentError, SerializationError, UnsupportedObjectError
from befit.legacy import func_dump, func_load


def scaled(factor):
    return lambda x, offset=1, *more: x * factor + offset


DUMP = func_dump(scaled(3))


def test_a_function_with_defaults_and_a_closure_comes_back():
    code, defaults, closure = DUMP
    assert (type(code), defaults, closure) == (str, (1,), (3,))
    for loaded in (
        func_load(code, defaults, closure),
        func_load(DUMP),
        func_load(json.loads(json.dumps(DUMP))),
    ):
        assert loaded(5) == 16
        assert loaded(5, 2) == 17
        assert loaded.__name__ == "<lambda>"


def test_cells_are_taken_as_they_are():
    assert func_load(DUMP[0], DUMP[1], scaled(7).__closure__)(1) == 8


def test_globs_are_what_the_code_sees():
    dump = func_dump(lambda x: np.sum(x) + len(x))
    assert func_load(dump)([1, 2]) == 5
    assert func_load(dump, globs={"np": operator, "len": sum})
    with pytest.raises(NameError):
        func_load(func_dump(lambda: pytest))()
    assert func_load(func_dump(lambda: pytest), globs=globals())() is pytest


def test_keras_and_befit_read_each_other():
    from keras.src.utils import python_utils

    assert python_utils.func_load(DUMP)(5) == 16
    assert func_load(python_utils.func_dump(scaled(3)))(5) == 16


@pytest.mark.parametrize("value", [len, "code", functools.partial(scaled), DUMP, str.upper, {}.get])
def test_only_functions_in_python_can_be_dumped(value):
    with pytest.raises(UnsupportedObjectError, match="written in Python"):
        func_dump(value)


def test_a_method_is_refused_as_its_object_would_be_lost():
    class Model:
        def call(self):
            return self

    with pytest.raises(UnsupportedObjectError, match="__func__"):
        func_dump(Model().call)


def test_what_a_dump_would_lose_is_refused():
    def keyword(x, *, training=False):
        return x, training

    def early():
        dump = func_dump(lambda: late)
        late = 1
        return dump, late

    with pytest.raises(SerializationError, match="training would be lost"):
        func_dump(keyword)
    with pytest.raises(SerializationError, match="late has no value"):
        early()


@pytest.mark.parametrize("text", ["", "no base64!", "é", "abc", "QUJD", 7, None, b"QUJD"])
def test_garbled_text_is_one_clear_error(text):
    with pytest.raises(ArgumentError, match="is no function for Python"):
        func_load(text)


@pytest.mark.parametrize("size", [1, 10, 30, 60])
def test_half_a_dump_of_keras_is_one_clear_error(size):
    """It has no checksum."""
    half = marshal.dumps(scaled(3).__code__)[:size]
    with pytest.raises(ArgumentError, match="it is damaged, or another version of Python wrote it"):
        func_load(base64.encodebytes(half).decode())


def test_what_is_no_code_is_refused():
    with pytest.raises(ArgumentError, match="it is list, no byte code"):
        func_load(base64.encodebytes(marshal.dumps([1, 2])).decode())


@given(st.data())
def test_a_flipped_bit_is_noticed_before_python_sees_it(data):
    raw = bytearray(base64.b64decode(DUMP[0]))
    place = data.draw(st.integers(0, len(raw) - 14))  # in the code; behind it stand mark, version, checksum
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ArgumentError, match="checksum"):
        func_load(base64.b64encode(raw).decode(), *DUMP[1:])


def test_another_version_of_python_is_refused():
    raw = bytearray(base64.b64decode(DUMP[0]))
    raw[-8] ^= 1
    with pytest.raises(ArgumentError, match="another version of Python wrote it"):
        func_load(base64.b64encode(raw).decode(), *DUMP[1:])


@pytest.mark.parametrize("closure", [None, (), (1, 2)])
def test_a_closure_that_does_not_fit_is_refused(closure):
    with pytest.raises(ArgumentError, match=r"needs the values of 1 variables .*\(factor\)"):
        func_load(DUMP[0], DUMP[1], closure)


def test_a_tuple_of_another_length_is_refused():
    with pytest.raises(ArgumentError, match=r"func_dump returns \(code, defaults, closure\)"):
        func_load(DUMP[:2])
