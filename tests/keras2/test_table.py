"""The table of old names: complete, true, and the one in the documentation."""

import importlib
from pathlib import Path

import keras
import pytest

from befit.legacy.names import METHODS, MODULES, NAMES, ROOTS

PAGE = Path(__file__).parents[2] / "docs" / "keras2.md"


def name_table():
    lines = ["| Keras 2 | in | gone | today | in Keras 3 |", "|---|---|---|---|---|"]
    for row in NAMES:
        places = ", ".join(f"`{place}`" for place in row.modules)
        today = f"`{row.today}`"
        if row.arguments:
            today += "; " + ", ".join(f"`{old}=` is `{new}=`" for old, new in row.arguments.items())
        lines.append(f"| `{row.name}` | {places} | {row.gone or ''} | {today} | {row.why} |")
    return "\n".join(lines)


def method_table():
    lines = ["| Keras 2 | gone | today | renamed |", "|---|---|---|---|"]
    for row in METHODS:
        if row.gone:
            renamed = ", ".join(f"`{old}` → `{new}`" for old, new in row.arguments.items() if new)
            lines.append(f"| `Model.{row.name}` | {row.gone} | `{row.write}` | {renamed} |")
    return "\n".join(lines)


def test_the_documentation_has_this_table():
    page = PAGE.read_text()
    assert name_table() in page, name_table()
    assert method_table() in page, method_table()


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.name)
def test_what_is_written_today_can_be_imported(row):
    namespace = {}
    exec(row.write, namespace)
    assert namespace[row.name] is not None


@pytest.mark.parametrize("row", [row for row in NAMES if "utils" in row.modules], ids=lambda row: row.name)
def test_a_name_that_is_gone_is_not_there_and_one_that_is_not_is(row):
    assert hasattr(keras.utils, row.name) == (row.gone is None)


def test_modules_that_are_gone_cannot_be_imported():
    for module in MODULES:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"keras.{module}")


def test_each_row_is_there_once():
    assert len({(row.name, place) for row in NAMES for place in row.modules}) == sum(
        len(row.modules) for row in NAMES
    )
    assert len({row.name for row in METHODS}) == len(METHODS)
    assert all(place == "utils" or place in MODULES for row in NAMES for place in row.modules)
    assert ROOTS[0] == "keras"
