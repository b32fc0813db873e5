"""``befit plot``: each option reaches ``plot_model``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

import befit
from befit.cli import plot
from befit.cli.main import main


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments that ``plot_model`` was called with."""
    given: dict[str, Any] = {}

    def load(options: argparse.Namespace) -> tuple[str, None]:
        return options.model, None

    def plot_model(model: Any, to_file: Path, **options: Any) -> None:
        given.update(options, model=model, to_file=to_file)

    monkeypatch.setattr(plot, "load", load)
    monkeypatch.setattr(befit, "plot_model", plot_model)
    return given


def test_without_options_the_defaults_are_those_of_the_function(asked: dict[str, Any]) -> None:
    assert main(["plot", "m:n"]) == 0
    defaults = {"show_shapes": False, "show_layer_names": True, "rankdir": "TB", "inputs": None}
    defaults |= {"show_dtypes": False, "show_trainable": False, "expand_nested": False}
    defaults |= {"collapse_repeats": False, "theme": "light", "engine": "befit", "dpi": 96}
    assert asked == defaults | {"model": "m:n", "to_file": Path("model.png")}


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--show-shapes", "show_shapes", True),
        ("--show-dtypes", "show_dtypes", True),
        ("--show-trainable", "show_trainable", True),
        ("--no-layer-names", "show_layer_names", False),
        ("--expand-nested", "expand_nested", True),
        ("--collapse-repeats", "collapse_repeats", True),
        ("--rankdir=LR", "rankdir", "LR"),
        ("--theme=dark", "theme", "dark"),
        ("--engine=dot", "engine", "dot"),
        ("--dpi=150", "dpi", 150.0),
        ("--output=a.svg", "to_file", Path("a.svg")),
    ],
)
def test_each_option_changes_its_argument(
    asked: dict[str, Any], option: str, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", option, "m:n"]) == 0
    assert asked[name] == value
    assert capsys.readouterr().out == f"{asked['to_file']}\n"
