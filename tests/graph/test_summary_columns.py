"""What `print_summary` and `summary` show beyond Keras 2: columns, repeats, the table of rich."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.errors import ArgumentError, MissingDependencyError
from befit.graph.columns import COLUMNS
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter, TensorSpec
from befit.graph.rows import repeats
from befit.graph.summary import print_summary, summary

SPEC = TensorSpec((None, 8), "float32")


def chain(*types: str, macs: int | None = 64) -> ModelGraph:
    """Layers that follow each other; each Dense has its own kernel, float32, and a bias that is frozen."""
    layers, parameters = {}, {}
    for number, kind in enumerate(types):
        keys: tuple[int, ...] = ()
        if kind == "Dense":
            keys = (2 * number, 2 * number + 1)
            parameters[keys[0]] = Parameter(keys[0], "kernel", (8, 8), "float32", True)
            parameters[keys[1]] = Parameter(keys[1], "bias", (8,), "float16", False)
        layers[f"l{number}"] = Layer(f"l{number}", f"l{number}", kind, f"l{number}", keys)
    nodes = [
        Node(n, f"l{n}", 0, (SPEC,) if n else (), (SPEC,), macs if kind == "Dense" else 0)
        for n, kind in enumerate(types)
    ]
    edges = [Edge(n - 1, 0, n, 0) for n in range(1, len(nodes))]
    return ModelGraph("net", "Net", "keras", layers, tuple(nodes), tuple(edges), parameters)


def text(graph: ModelGraph, **options: Any) -> list[str]:
    lines: list[str] = []
    print_summary(graph, print_fn=lines.append, **options)
    return [line.rstrip() for line in lines]


def test_every_column() -> None:
    """In the order asked for, as wide as the text, with what its total is below."""
    assert text(chain("Dense", "ReLU"), columns=tuple(reversed(COLUMNS))) == [
        "_" * 98,
        "Layer (type)  MACs  Memory  Dtype    Trainable  Input Shape  Connected to  Param #  Output Shape",
        "=" * 98,
        "l0 (Dense)    64    272 B   float32  in part    multiple                   72       (None, 8)",
        "_" * 98,
        "l1 (ReLU)     0     0 B     float32             (None, 8)    l0[0][0]      0        (None, 8)",
        "=" * 98,
        "Total params: 72",
        "Trainable params: 64",
        "Non-trainable params: 8",
        "Memory of all weights: 272 B",
        "Total MACs: 64",
        "_" * 98,
    ]


@pytest.mark.parametrize("columns", [("macs", "colour"), "colour", ["params", 3]])
def test_unknown_column_is_refused_with_the_list(columns: Any) -> None:
    with pytest.raises(ArgumentError, match=r"there is no column .*choose from output_shape, params, conn"):
        summary(chain("Dense"), columns=columns)


def test_one_column_may_be_a_word() -> None:
    assert summary(chain("Dense"), columns="macs").columns == ("macs",)


def test_columns_obey_line_length_and_positions() -> None:
    lines = text(chain("Dense", "ReLU"), columns=("params", "macs"), line_length=60)
    assert lines[0] == "_" * 60
    assert text(chain("Dense"), columns=("params",), positions=[20, 30])[1] == "Layer (type)        Param #"
    with pytest.raises(ArgumentError, match=r"this table has 2, so write 2 numbers, such as \(0\.5, 1\.0\)"):
        text(chain("Dense"), columns=("params",), positions=[20])


def test_total_of_what_is_not_known_says_so() -> None:
    value = summary(chain("Dense", "Dense", macs=None), columns=("macs",))
    assert not value.macs_complete
    assert "Total MACs: 0 and more: those marked ? are not known" in str(value)
    assert value.rows[0].macs is None


def test_rows_hold_everything_whatever_is_shown() -> None:
    value = summary(chain("Dense"))
    row = value.to_dict()["rows"][0]
    assert (row["macs"], row["memory"], row["trainable_params"], row["dtype"]) == (64, 272, 64, "float32")
    assert value.to_dict()["columns"] == ["output_shape", "params"]
    json.dumps(value.to_dict())


def test_columns_in_notebooks() -> None:
    page = summary(chain("Dense"), columns=("memory",))._repr_html_()
    assert "Memory" in page
    assert "272 B" in page
    assert "Output Shape" not in page


def test_repeated_layers_are_shown_once() -> None:
    graph = chain("Flatten", *["ReLU"] * 5, "Dense")
    value = summary(graph, collapse_repeats=True)
    assert [(row.type, row.times, row.block) for row in value.rows] == [
        ("Flatten", 1, None),
        ("ReLU", 5, None),
        ("Dense", 1, None),
    ]
    assert "\N{MULTIPLICATION SIGN}5 l1 (ReLU)" in str(value)


def test_repeated_blocks_are_shown_once_and_totals_stay() -> None:
    graph = chain("Flatten", *["Dense", "ReLU"] * 3, "Softmax")
    value, whole = summary(graph, collapse_repeats=True), summary(graph)
    assert [(row.name, row.times) for row in value.rows] == [("l0", 1), ("l1", 3), ("l2", 3), ("l7", 1)]
    first, second = value.rows[1:3]
    assert first.block == second.block is not None
    assert (value.total_params, value.total_macs, value.total_memory) == (216, 192, 816)
    assert (value.total_params, value.total_macs) == (whole.total_params, whole.total_macs)
    lines = text(graph, collapse_repeats=True)
    place = lines.index("\N{MULTIPLICATION SIGN}3 (2 layers)")
    assert lines[place + 2].startswith("  l1 (Dense)")
    assert lines[place + 4].startswith("  l2 (ReLU)")


def test_layers_that_differ_are_no_repeats() -> None:
    """Same class, same shapes, other connections."""
    graph = chain("Add", "Add", "Add")
    again = ModelGraph(
        *("net", "Net", "keras", graph.layers, graph.nodes),
        (*graph.edges, Edge(0, 0, 2, 1)),
        {},
    )
    assert len(summary(again, collapse_repeats=True).rows) == 3
    assert [row.times for row in summary(chain("Dense", "Dense"), collapse_repeats=True).rows] == [1, 1]


@given(st.text("abc", max_size=30))
def test_repeats_cover_everything(values: str) -> None:
    spelled = "".join(values[start : start + length] * times for start, length, times in repeats(values))
    assert spelled == values


def test_long_chain_collapses_at_once() -> None:
    assert list(repeats("x" * 5000)) == [(0, 1, 5000)]
    assert list(repeats("xy" * 2500)) == [(0, 2, 2500)]


def test_rich_table_has_the_same_content() -> None:
    lines = text(chain("Dense", "ReLU"), style="rich", columns=("output_shape", "macs"))
    assert any("l0 (Dense)" in line and "64" in line and "│" in line for line in lines)
    assert lines[-1] == "Total MACs: 64"
    assert "\x1b" not in "".join(lines)


def test_rich_table_is_as_wide_as_its_text() -> None:
    """No terminal, so no 80 columns."""
    lines = text(chain("Dense", "ReLU"), style="rich", columns=tuple(COLUMNS) * 2)
    assert len(lines[0]) > 160
    assert not any(line.endswith("…") for line in lines)
    assert sum(line.count("(None, 8)") for line in lines) == 6


def test_rich_table_wraps_to_the_length() -> None:
    lines = text(chain("Dense"), style="rich", line_length=24)
    assert max(map(len, lines)) <= 24


def test_rich_markup_in_names_is_text() -> None:
    graph = chain("[bold]")
    assert any("l0 ([bold])" in line for line in text(graph, style="rich"))


def test_rich_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith("rich"):
            raise ModuleNotFoundError("No module named 'rich'", name="rich")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingDependencyError, match=r'pip install "befit\[rich\]"'):
        print_summary(chain("Dense"), style="rich")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "fancy"}, "write 'plain' or 'rich'"),
        ({"style": "rich", "positions": [1]}, "positions belongs"),
    ],
)
def test_styles_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        print_summary(chain("Dense"), **options)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", 40), ("bfloat16", 20), ("bool", 10), ("int4", 5), ("float8_e4m3fn", 10), ("complex64", 80)],
)
def test_memory_by_dtype(dtype: str, size: int) -> None:
    assert Parameter(0, "w", (2, 5), dtype, True).bytes == size


@pytest.mark.parametrize("style", ["plain", "rich"])
def test_what_a_terminal_would_obey_is_written_out(style: str) -> None:
    """A name with a line break takes one line, one with a code for colours gives none."""
    if style == "rich":
        pytest.importorskip("rich")
    layer = Layer("a", "a\n\x1b[31mred", "Dense", "a")
    graph = ModelGraph("m", "Model", "keras", {"a": layer}, (Node(0, "a", 0, (), ()),), (), {})
    lines: list[str] = []
    print_summary(graph, columns=["params"], style=style, print_fn=lines.append)
    assert all(line.isprintable() for line in lines)
    assert any(r"a\n\x1b[31mred (Dense)" in line for line in lines)


def test_rich_refuses_a_negative_length() -> None:
    graph = ModelGraph("m", "Model", "keras", {}, (), (), {})
    with pytest.raises(ArgumentError, match="line_length is -3"):
        print_summary(graph, style="rich", line_length=-3)
