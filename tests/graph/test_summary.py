"""`print_summary` and `summary` of Keras models, on every backend."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from befit.errors import UnbuiltModelError
from befit.graph.summary import Summary, print_summary, summary

pytestmark = pytest.mark.backends

GOLDEN = Path(__file__).parent / "golden"


def printed(model: Any, *arguments: Any, **options: Any) -> list[str]:
    lines: list[str] = []
    print_summary(model, *arguments, print_fn=lines.append, **options)
    return lines


def names(value: Summary) -> list[str]:
    return [row.name for row in value.rows]


def row(value: Summary, name: str) -> Any:
    return next(row for row in value.rows if row.name == name)


@pytest.mark.parametrize("name", ["sequential", "two_inputs"])
def test_prints_what_keras_2_printed(name: str, request: pytest.FixtureRequest) -> None:
    """Character by character: widths, cut names, spaces at the ends of lines, one row for each connection."""
    golden = {"sequential": "stack.txt", "two_inputs": "two_inputs.txt"}[name]
    assert printed(request.getfixturevalue(name)) == (GOLDEN / golden).read_text().splitlines()


def test_prints_to_standard_output_by_default(sequential: Any, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(sequential)
    assert capsys.readouterr().out == (GOLDEN / "stack.txt").read_text()


def test_documented_order_of_arguments(sequential: Any) -> None:
    """model, line_length, positions, print_fn."""
    lines: list[str] = []
    print_summary(sequential, 40, [0.5, 0.75, 1.0], lines.append)
    assert lines[0] == "_" * 40
    assert lines[1] == "Layer (type)        Output Sh Param #   "


def test_print_function_gets_single_lines(siamese: Any) -> None:
    lines = printed(siamese)
    assert all("\n" not in line for line in lines)
    assert "\n".join(lines) == str(summary(siamese))
    assert "\n".join(lines).isascii()


@pytest.mark.parametrize(
    ("positions", "ends"),
    [
        ([0.4, 0.8, 1.0], (20, 40, 50)),
        ([10, 30, 44], (10, 30, 44)),
        (np.array([0.4, 0.8, 1.0]), (20, 40, 50)),
    ],
)
def test_positions_are_shares_or_characters(sequential: Any, positions: Any, ends: tuple[int, ...]) -> None:
    """The header starts each column where the one before ends; rows are as long as the last end."""
    lines = printed(sequential, 50, positions)
    header, first = lines[1], lines[3]
    assert len(lines[0]) == 50
    assert len(header) == len(first) == ends[2]
    assert first[ends[0] :].startswith("(None, 512)"[: ends[1] - ends[0]])
    assert first[ends[1] :].startswith("401920")


def test_documented_positions_work_for_both_kinds(sequential: Any, two_inputs: Any) -> None:
    """The documentation names four positions as the default; three columns use the first three."""
    positions = [0.33, 0.55, 0.67, 1.0]
    assert len(printed(sequential, 100, positions)[1]) == 67
    assert printed(two_inputs, positions=positions) == printed(two_inputs)


def test_totals_are_those_of_keras(
    sequential: Any, two_inputs: Any, siamese: Any, many_outputs: Any, wrappers: Any
) -> None:
    for model in (sequential, two_inputs, siamese, many_outputs, wrappers):
        text: list[str] = []
        model.summary(print_fn=text.append)
        totals = [int(number.replace(",", "")) for number in re.findall(r"params: ([\d,]+)", "".join(text))]
        value = summary(model)
        assert [value.total_params, value.trainable_params, value.non_trainable_params] == totals
        assert value.total_params == model.count_params()


def test_rows_are_those_of_keras(two_inputs: Any, many_outputs: Any) -> None:
    for model in (two_inputs, many_outputs):
        for layer in model.layers:
            found = row(summary(model), layer.name)
            assert found.params == layer.count_params()
            assert found.type == type(layer).__name__


def test_optimizer_variables_are_not_counted(keras: Any) -> None:
    """Keras 3 adds them to the total once the model is trained."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0)
    assert len(model.optimizer.variables) > 2
    assert summary(model).total_params == model.count_params() == 15


def test_frozen_layers(keras: Any) -> None:
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")]
    )
    model.get_layer("a").trainable = False
    value = summary(model)
    assert (value.trainable_params, value.non_trainable_params) == (8, 15)


def test_layer_called_on_different_shapes(keras: Any) -> None:
    """`multiple`, and a connection for each call."""
    layer = keras.layers.Dense(2, name="dense")
    pool = keras.layers.GlobalAveragePooling1D(name="pool")
    flat, steps = keras.Input((3,), name="flat"), keras.Input((5, 3), name="steps")
    model = keras.Model([flat, steps], [layer(flat), pool(layer(steps))])
    assert row(summary(model), "dense").output_shape == "multiple"
    assert row(summary(model), "dense").connected_to == ("flat[0][0]", "steps[0][0]")
    assert row(summary(model), "pool").connected_to == ("dense[1][0]",)


def test_layer_called_twice_on_one_shape_shows_it(siamese: Any) -> None:
    found = row(summary(siamese), "base")
    assert found.output_shape == "(None, 4)"
    assert found.connected_to == ("left[0][0]", "right[0][0]")


def test_several_outputs_are_a_list(many_outputs: Any) -> None:
    assert row(summary(many_outputs), "lstm").output_shape == "[(None, 5, 6), (None, 6), (None, 6)]"


def test_calls_outside_the_model_are_no_connections(keras: Any) -> None:
    """A layer that another model uses too is connected here only to what is here."""
    layer = keras.layers.Dense(2, name="dense")
    other, x, y = (keras.Input((3,), name=name) for name in ("other", "x", "y"))
    keras.Model(other, layer(other))
    model = keras.Model([x, y], keras.layers.Add(name="sum")([layer(x), layer(y)]))
    assert row(summary(model), "dense").connected_to == ("x[0][0]", "y[0][0]")
    assert row(summary(model), "sum").connected_to == ("dense[1][0]", "dense[2][0]")


def test_functional_chain_has_three_columns(keras: Any, wrappers: Any) -> None:
    """Its input is a layer of its own, unlike a Sequential's."""
    assert not summary(wrappers).is_graph
    assert names(summary(wrappers)) == ["steps", "each", "both"]
    assert len(printed(wrappers)[0]) == 65


@pytest.mark.parametrize("shape", ["same tensor twice", "shared layer", "two ends"])
def test_what_is_no_chain_shows_connections(keras: Any, shape: str) -> None:
    x = keras.Input((4,), name="x")
    dense = keras.layers.Dense(4, name="dense")
    outputs = {
        "same tensor twice": lambda: keras.layers.Subtract()([x, x]),
        "shared layer": lambda: dense(dense(x)),
        "two ends": lambda: [dense(x), keras.layers.ReLU()(x)],
    }[shape]()
    assert summary(keras.Model(x, outputs)).is_graph


def test_nested_models_can_be_expanded(siamese: Any) -> None:
    value = summary(siamese, expand_nested=True)
    assert [(row.name, row.depth) for row in value.rows] == [
        ("left", 0),
        ("right", 0),
        ("base", 0),
        ("pixels", 1),
        ("dense_a", 1),
        ("dense_b", 1),
        ("difference", 0),
        ("score", 0),
    ]
    assert row(value, "dense_b").connected_to == ("dense_a[0][0]",)
    assert value.total_params == summary(siamese).total_params
    lines = printed(siamese, expand_nested=True)
    assert any(line.startswith("  dense_a (Dense)  ") for line in lines)


def test_expanded_graph_inside_a_stack_shows_connections(keras: Any, siamese: Any) -> None:
    x = keras.Input((4,), name="x")
    block = keras.Model(
        x, keras.layers.Add(name="sum")([x, keras.layers.Dense(4, name="dense")(x)]), name="block"
    )
    stack = keras.Sequential([keras.Input((4,)), block, keras.layers.Dense(1, name="score")])
    assert not summary(stack).is_graph
    value = summary(stack, expand_nested=True)
    assert value.is_graph
    assert row(value, "sum").connected_to == ("x[0][0]", "dense[0][0]")
    assert row(value, "block").connected_to == ()


def test_subclassed_model_shows_what_it_does(subclassed: Any) -> None:
    value = summary(subclassed, inputs=(3, 4))
    assert [row.type for row in value.rows] == ["InputLayer", "Block", "Add", "Dense", "Dense"]
    assert [row.name for row in value.rows if row.type == "Dense"] == ["head", "unused"]
    assert row(value, "head").output_shape == "(None, 2)"
    assert row(value, "unused").output_shape == "multiple"
    assert value.total_params == subclassed.count_params()


@pytest.mark.parametrize("kind", ["sequential", "subclassed"])
def test_unbuilt_model_is_an_error_that_says_what_to_write(keras: Any, subclassed: Any, kind: str) -> None:
    model = subclassed if kind == "subclassed" else keras.Sequential([keras.layers.Dense(2)], name="flat")
    with pytest.raises(UnbuiltModelError, match=rf"{model.name!r} is not built yet.*inputs=\(32, 10\)"):
        print_summary(model)
    print_summary(model, inputs=(2, 4), print_fn=lambda line: None)


def test_unused_unbuilt_layer_says_so(keras: Any) -> None:
    class Half(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="half")
            self.used, self.unused = keras.layers.Dense(2, name="used"), keras.layers.Dense(3, name="unused")

        def build(self, shape: Any) -> None:
            self.used.build(shape)

        def call(self, x: Any) -> Any:
            return self.used(x)

    lines = printed(Half(), inputs=(1, 4))
    assert any(re.match(r"unused \(Dense\) +multiple +unbuilt *$", line) for line in lines)


def test_model_without_layers(keras: Any) -> None:
    """The rule below the last layer is missing, as in Keras 2."""
    lines = printed(keras.Sequential())
    assert lines[2] == "=" * 65
    assert lines[3:] == ["Total params: 0", "Trainable params: 0", "Non-trainable params: 0", "_" * 65]


def test_value_can_be_kept_and_sent(many_outputs: Any) -> None:
    value = summary(many_outputs)
    assert pickle.loads(pickle.dumps(value)) == value
    data = json.loads(json.dumps(value.to_dict()))
    assert data["total_params"] == many_outputs.count_params()
    assert [entry["name"] for entry in data["rows"]] == names(value)
    assert data["rows"][1]["connected_to"] == ["tokens[0][0]"]


def test_html_escapes_names(keras: Any) -> None:
    x = keras.Input((2,), name="x")
    page = summary(keras.Model(x, keras.layers.Dense(1, name="a<b>&c")(x)))._repr_html_()
    assert "a&lt;b&gt;&amp;c (Dense)" in page
    assert "<b>" not in page
    assert page.count("<tr>") == 3


def test_reading_is_quiet(sequential: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Only `print_summary` prints."""
    summary(sequential)
    assert capsys.readouterr() == ("", "")


def test_error_of_the_print_function_arrives(sequential: Any) -> None:
    def failing(line: str) -> None:
        raise KeyError(line[:5])

    with pytest.raises(KeyError, match="_____"):
        print_summary(sequential, print_fn=failing)
