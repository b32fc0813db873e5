"""The plain text table against a literal reading of how Keras 2 wrote a row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArgumentError
from befit.graph.summary import Row, Summary
from befit.graph.table import html_table, plain_lines

CELLS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


def row_of_keras_2(fields: list[str], positions: list[int]) -> str:
    line = ""
    for i in range(len(fields)):
        if i > 0:
            line = line[:-1] + " "
        line += str(fields[i])
        line = line[: positions[i]]
        line += " " * (positions[i] - len(line))
    return line


@given(
    st.lists(CELLS, min_size=3, max_size=3),
    st.lists(st.integers(2, 60), min_size=3, max_size=3).map(sorted),
)
def test_rows_are_written_as_keras_2_wrote_them(cells: list[str], ends: list[int]) -> None:
    lines = list(plain_lines(["a", "b", "c"], [[cells]], ["below"], 60, ends))
    assert lines[3] == row_of_keras_2(cells, ends)
    assert lines[1] == row_of_keras_2(["a", "b", "c"], ends)


@given(st.integers(1, 200), st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_shares_are_cut_down_to_whole_characters(length: int, shares: list[float]) -> None:
    (_, header, *_) = plain_lines(["first", "second", "third"], [], [], length, [*shares, 1.0])
    ends = [int(length * share) for share in [*shares, 1.0]]
    assert header == row_of_keras_2(["first", "second", "third"], ends)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0.5, 1.0], "says where 2 columns end; this table has 3"),
        ([0.5, 0.3, 1.0], "must not decrease"),
        ([-5, 20, 40], "must not be negative"),
    ],
)
def test_positions_that_cannot_work(positions: list[float], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        list(plain_lines(["a", "b", "c"], [], [], 40, positions))


def summary_of(*rows: Row) -> Summary:
    return Summary("net", "Net", rows, 1234567, 1234567, 0, is_graph=True)


def test_negative_line_length() -> None:
    with pytest.raises(ArgumentError, match="line_length is -3"):
        summary_of().lines(-3)


@pytest.mark.parametrize("length", [None, 0])
def test_no_line_length_is_the_default(length: int | None) -> None:
    assert next(summary_of().lines(length, [])) == "_" * 98


def test_numbers_of_layers_have_no_commas_and_totals_have() -> None:
    text = str(summary_of(Row("a", "Dense", "(1,)", 1234567, (), 0, True)))
    assert " 1234567 " in text
    assert "Total params: 1,234,567\n" in text


def test_connections_follow_each_other_in_the_last_column() -> None:
    lines = list(summary_of(Row("a", "Add", "(1,)", 0, ("x[0][0]", "y[0][0]"), 0, True)).lines())
    assert lines[3][65:].rstrip() == "x[0][0]"
    assert lines[4] == " " * 65 + "y[0][0]".ljust(33)


def test_html_has_one_row_a_block() -> None:
    page = html_table(["a", "b"], [[["1", "x"], ["", "y"]], [["2", "z"]]], ["below"], "title <1>")
    assert page.count("<tr>") == 3
    assert ">x<br>y</td>" in page
    assert "title &lt;1&gt;" in page
