"""What holds for every script."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from befit.errors import ArgumentError, MissingDependencyError
from befit.migrate import migrate_source

OLD = [
    "import keras",
    "import keras.utils.np_utils",
    "import keras.utils.io_utils as io",
    "from keras.utils import np_utils, Sequence",
    "from keras.utils import *",
    "from tensorflow.keras.utils import multi_gpu_model as many",
    "import tensorflow as tf, os",
    "from tf_keras import utils; import sys",
    "y = np_utils.to_categorical(y, nb_classes=3)  # one",
    "x = keras.utils.io_utils.HDF5Matrix('a', 'x')",
    "tf.keras.utils.get_file('a', 'b', md5_hash='c')",
    "utils.Progbar(io.HDF5Matrix, sys.path, os.name)",
    "model.fit_generator(g, 3, workers=2)",
    "model.fit(x, y, nb_epoch=3, shuffle='batch')",
    "class S(Sequence): pass",
    "model.evaluate_generator(S())",
    "np_utils = None",
    "def f(keras): return keras.utils.normalize(3)",
]
UNRELATED = [
    "a  =  ( 1,)",
    "# a comment",
    "",
    "def plain( q ):\n\treturn  q",
    "b = '''x\n  y'''",
    "if a : pass",
    "c = [1,\n      2 ]  # two",
    "model.fit(x , y)",
]


def _indented(lines: list[str], shape: str) -> str:
    body = textwrap.indent("\n".join([*lines, "pass"]), "    ")
    return {"function": f"def f():\n{body}", "try": f"try:\n{body}\nexcept ImportError:\n{body}"}[shape]


STATEMENTS = st.sampled_from(OLD + UNRELATED)
BLOCKS = st.builds(
    _indented,
    st.lists(st.sampled_from([line for line in OLD if "class" not in line]), max_size=4),
    st.sampled_from(["function", "try"]),
)
SCRIPTS = st.lists(STATEMENTS | BLOCKS, max_size=9).map("\n".join)


@settings(max_examples=30, deadline=None)
@given(SCRIPTS)
def test_the_result_is_python_and_migrating_it_changes_nothing(script: str) -> None:
    migrated = migrate_source(script)
    ast.parse(migrated.text)
    again = migrate_source(migrated.text)
    assert again.text == migrated.text


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(UNRELATED), max_size=9), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_unrelated_code_stays_byte_for_byte(lines: list[str], newline: str, has_end: bool) -> None:
    script = newline.join([*lines, "from keras.utils import np_utils", *lines]).replace("\r\n", "\n")
    script = script.replace("\n", newline) + (newline if has_end else "")
    assert migrate_source(script.replace("keras", "mine")).text == script.replace("keras", "mine")
    rest = migrate_source(script).text
    before, _, after = script.partition(f"from keras.utils import np_utils{newline}")
    if after:
        kept = [line for line in rest.split(newline) if line]
        assert kept == [line for line in (before + after).split(newline) if line]


@pytest.mark.parametrize("module", [textwrap, json, json.decoder])
def test_code_without_keras_is_not_touched(module: object) -> None:
    script = inspect.getsource(module)
    migration = migrate_source(script)
    assert migration.text == script
    assert migration.remarks == ()


def test_remarks_name_the_lines_of_the_script_as_it_was() -> None:
    script = "from keras.utils import (\n    np_utils,\n    HDF5Matrix)\n\n\nm.fit_generator(**k)\n"
    assert [remark.line for remark in migrate_source(script).remarks] == [6]


@pytest.mark.parametrize("script", ["print 3\n", "def f(:\n", "x = (\n", "\0"])
def test_what_is_no_python_3_is_one_clear_line(script: str) -> None:
    with pytest.raises(ArgumentError, match=r"^old\.py:\d+: no Python 3 source \(.+\)") as raised:
        migrate_source(script, "old.py")
    assert "\n" not in str(raised.value)


def test_deep_nesting_is_an_error_that_says_so() -> None:
    with pytest.raises(ArgumentError, match=r"^old\.py: nested too deeply"):
        migrate_source("x = " + "+".join(["a"] * 500) + "\n", "old.py")


def test_without_libcst_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libcst", None)
    with pytest.raises(MissingDependencyError, match=r"befit\[migrate\]"):
        migrate_source("x = 1")
