"""Chains far deeper than Python's stack, from the reader to the text; and the options of the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from befit.cli.main import main
from befit.graph.reading import model_graph
from befit.graph.summary import summary

DEPTH = 5000


@pytest.fixture
def deep_keras(keras: Any) -> Any:
    """One layer called 5,000 times; Keras needs a deep stack to build that, befit none to read it."""
    relu = keras.layers.ReLU(name="relu")
    inputs = x = keras.Input((2,), name="x")
    for _ in range(DEPTH):
        x = relu(x)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        return keras.Model(inputs, x)
    finally:
        sys.setrecursionlimit(limit)


def test_deep_keras_model(deep_keras: Any) -> None:
    graph = model_graph(deep_keras)
    assert len(graph.nodes) == DEPTH + 1
    assert [node.call for node in graph.nodes[1:]] == list(range(DEPTH))
    value = summary(graph)
    assert len(value.rows[1].connected_to) == DEPTH
    assert len(str(value).splitlines()) > DEPTH


def test_deep_torch_module() -> None:
    model = nn.Sequential(*(nn.Identity() for _ in range(DEPTH)))
    graph = model_graph(model, (1, 2))
    value = summary(graph)
    assert len(value.rows) == DEPTH
    assert value.macs_complete
    (row,) = summary(graph, collapse_repeats=True).rows
    assert row.times == DEPTH


def saved(keras: Any, folder: Path) -> str:
    layers = [keras.layers.Dense(8, name=f"dense_{n}") for n in range(3)]
    path = folder / "net.keras"
    keras.Sequential([keras.Input((8,)), *layers]).save(path)
    return str(path)


def test_command_shows_columns(keras: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(keras, tmp_path)
    assert main(["summary", path, "--columns", "macs,memory", "--collapse-repeats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["Layer", "(type)", "MACs", "Memory"]
    assert "Total MACs: 192" in lines
    assert main(["summary", path, "--json", "--columns", "macs"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"] == ["macs"]
    assert main(["summary", path, "--style", "rich"]) == 0
    assert "╭" in capsys.readouterr().out


def test_command_refuses_an_unknown_column(
    keras: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["summary", saved(keras, tmp_path), "--columns", "colour"]) == 2
    assert "there is no column 'colour'" in capsys.readouterr().err
