"""``plot_model`` and ``model_to_dot`` from the outside: arguments, files, errors."""

from __future__ import annotations

import inspect
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import befit.graph.plot
from befit.errors import ArgumentError, MissingDependencyError, UnsupportedObjectError
from befit.graph.diagram import Show
from befit.graph.draw import THEMES
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter, TensorSpec
from befit.graph.plot import model_to_dot, plot_model


def layer(name: str, type_name: str, **fields: Any) -> Layer:
    return Layer(name, name, type_name, name, **fields)


def node(index: int, name: str, width: int) -> Node:
    return Node(index, name, 0, (TensorSpec((None, 8), "float32"),), (TensorSpec((None, width), "float32"),))


INNER = ModelGraph(
    "encoder", "Sequential", "keras", {"deep": layer("deep", "Dense")}, (node(0, "deep", 4),), (), {}
)
GRAPH = ModelGraph(
    name="net",
    type="Functional",
    framework="keras",
    layers={
        "x": layer("x", "InputLayer", is_input=True),
        "encoder": layer("encoder", "Sequential", inner=INNER),
        "y": layer("y", "Dense"),
    },
    nodes=(node(0, "x", 8), node(1, "encoder", 4), node(2, "y", 3)),
    edges=(Edge(0, 0, 1, 0), Edge(1, 0, 2, 0)),
    parameters={},
)


def chain_of(count: int) -> ModelGraph:
    names = [f"l{index}" for index in range(count)]
    return ModelGraph(
        name="deep",
        type="Functional",
        framework="keras",
        layers={name: layer(name, "Dense") for name in names},
        nodes=tuple(node(index, name, 8) for index, name in enumerate(names)),
        edges=tuple(Edge(index, 0, index + 1, 0) for index in range(count - 1)),
        parameters={},
    )


HEADS = {".png": b"\x89PNG\r\n\x1a\n", ".svg": b"<?xml", ".pdf": b"%PDF-", ".dot": b"digraph"}


def labels(path: Path) -> Counter[str]:
    """The texts of an svg file."""
    texts = ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")
    return Counter(text.text or "" for text in texts)


def test_the_documented_arguments_come_first_and_in_order() -> None:
    parameters = inspect.signature(plot_model).parameters
    assert {name: p.default for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD} == {
        "model": inspect.Parameter.empty,
        "to_file": "model.png",
        "show_shapes": False,
        "show_layer_names": True,
        "rankdir": "TB",
    }
    assert [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY] == [
        "show_dtypes",
        "show_trainable",
        "expand_nested",
        "collapse_repeats",
        "inputs",
        "theme",
        "engine",
        "dpi",
    ]


def test_without_a_name_the_picture_is_model_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot_model(GRAPH) is None  # type: ignore[func-returns-value]
    assert [path.name for path in tmp_path.iterdir()] == ["model.png"]
    with Image.open("model.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf", ".dot", ".PNG", ".Svg"])
def test_the_ending_decides_what_is_written(tmp_path: Path, ending: str) -> None:
    plot_model(GRAPH, str(tmp_path / f"net{ending}"))
    assert (tmp_path / f"net{ending}").read_bytes().startswith(HEADS[ending.lower()])


def test_a_name_without_ending_is_a_png_of_that_name(tmp_path: Path) -> None:
    plot_model(GRAPH, tmp_path / "picture")
    assert [path.name for path in tmp_path.iterdir()] == ["picture"]
    assert (tmp_path / "picture").read_bytes().startswith(HEADS[".png"])


@pytest.mark.parametrize("ending", HEADS)
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    for name in ("a", "b"):
        plot_model(GRAPH, tmp_path / f"{name}{ending}", show_shapes=True)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_every_argument_changes_what_it_is_about(tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    plot_model(GRAPH, path)
    assert labels(path) == {"x: InputLayer": 1, "encoder: Sequential": 1, "y: Dense": 1}
    plot_model(GRAPH, path, True)
    assert labels(path)["(None, 8)"] == 4
    plot_model(GRAPH, path, False, False)
    assert labels(path) == {"InputLayer": 1, "Sequential": 1, "Dense": 1}
    plot_model(GRAPH, path, show_dtypes=True)
    assert labels(path)["float32"] == 6
    plot_model(GRAPH, path, expand_nested=True)
    assert labels(path) == {"x: InputLayer": 1, "encoder: Sequential": 1, "deep: Dense": 1, "y: Dense": 1}


FROZEN = replace(
    GRAPH,
    layers={**GRAPH.layers, "y": layer("y", "Dense", parameters=(0,))},
    parameters={0: Parameter(0, "y/kernel", (4, 3), "float32", trainable=False)},
)


def test_frozen_layers_are_marked_in_every_format(tmp_path: Path) -> None:
    for ending in (".svg", ".dot"):
        path = tmp_path / f"net{ending}"
        plot_model(FROZEN, path)
        assert "frozen" not in path.read_text()
        plot_model(FROZEN, path, show_trainable=True)
        assert path.read_text().count("y: Dense (frozen)") == 1
    assert "y: Dense (frozen)" in model_to_dot(FROZEN, show_trainable=True)


def test_repeats_are_collapsed_if_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "deep.svg"
    plot_model(chain_of(40), path, collapse_repeats=True)
    assert labels(path) == {"l0: Dense": 1, "\N{MULTIPLICATION SIGN}40": 1}
    assert "l0: Dense \N{MULTIPLICATION SIGN}40" in model_to_dot(chain_of(40), collapse_repeats=True)


def test_a_theme_is_a_name_or_a_value(tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    plot_model(GRAPH, path, theme="dark")
    assert f'fill="{THEMES["dark"].background}"' in path.read_text()
    plot_model(GRAPH, path, theme=replace(THEMES["light"], background="#fedcba"))
    assert 'fill="#fedcba"' in path.read_text()


def test_a_page_is_made_of_the_graph_and_what_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def to_html(*arguments: Any) -> bytes:
        asked.append(arguments)
        return b"<!DOCTYPE html>"

    viewer = ModuleType("befit.graph.viewer")
    viewer.to_html = to_html  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "befit.graph.viewer", viewer)
    plot_model(GRAPH, tmp_path / "net.html", True, True, "LR", expand_nested=True)
    assert (tmp_path / "net.html").read_bytes() == b"<!DOCTYPE html>"
    assert asked == [(GRAPH, Show(shapes=True, nested=True), "LR")]


def test_rankdir_turns_the_picture(tmp_path: Path) -> None:
    sizes = {}
    for rankdir in ("TB", "BT", "LR", "RL"):
        plot_model(GRAPH, tmp_path / "net.png", False, True, rankdir)
        with Image.open(tmp_path / "net.png") as image:
            sizes[rankdir] = image.size
    assert sizes["TB"] == sizes["BT"]
    assert sizes["LR"] == sizes["RL"]
    assert sizes["LR"][0] > 2 * sizes["TB"][0]
    assert sizes["TB"][1] > 2 * sizes["LR"][1]


@pytest.mark.parametrize("dpi", [192, np.float32(192), np.int64(192)])
def test_dpi_enlarges_a_png(tmp_path: Path, dpi: float) -> None:
    plot_model(GRAPH, tmp_path / "small.png")
    plot_model(GRAPH, tmp_path / "large.png", dpi=dpi)
    with Image.open(tmp_path / "small.png") as small, Image.open(tmp_path / "large.png") as large:
        assert large.width == pytest.approx(2 * small.width, abs=12)
        assert large.height == pytest.approx(2 * small.height, abs=2)


@pytest.mark.parametrize("dpi", [1, 10_000])
def test_a_picture_is_drawn_at_every_resolution(tmp_path: Path, dpi: float) -> None:
    """Pillow has no font smaller than a pixel, and none of any size."""
    tiny = replace(GRAPH, layers={"x": layer("x", "")}, nodes=(node(0, "x", 8),), edges=())
    plot_model(tiny, tmp_path / "net.png", dpi=dpi)
    with Image.open(tmp_path / "net.png") as image:
        assert image.info["dpi"][0] == pytest.approx(dpi, rel=0.02)


class NoPillow:
    """Finds every module but Pillow, as on a machine that does not have it."""

    @staticmethod
    def find_spec(name: str, *_: Any) -> None:
        if name == "PIL":
            raise ModuleNotFoundError("No module named 'PIL'", name="PIL")


@pytest.fixture
def without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoPillow, *sys.meta_path])


@pytest.mark.usefixtures("without_pillow")
def test_svg_pdf_and_dot_need_no_pillow(tmp_path: Path) -> None:
    for ending in (".svg", ".pdf", ".dot"):
        plot_model(GRAPH, tmp_path / f"net{ending}")
        assert (tmp_path / f"net{ending}").stat().st_size > 100


@pytest.mark.usefixtures("without_pillow")
def test_a_png_without_pillow_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"befit\[plot\]"):
        plot_model(GRAPH, tmp_path / "net.png")
    assert not list(tmp_path.iterdir())


# Errors, and what is left behind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to_file": "net.jpg"}, r"'\.jpg'.*\.png, \.svg, \.pdf, \.html or \.dot"),
        ({"to_file": "nowhere/net.png"}, "no folder 'nowhere'"),
        ({"to_file": "folder"}, "is a folder"),
        ({"rankdir": "down"}, "'TB', 'BT', 'LR' or 'RL'"),
        ({"rankdir": None}, "'TB', 'BT', 'LR' or 'RL'"),
        ({"dpi": 0}, "dpi=0"),
        ({"dpi": float("nan")}, "dpi=nan"),
        ({"dpi": 10_001}, "dpi=10001.*from 1 to 10000"),
        ({"dpi": "96"}, "dpi='96'"),
        ({"theme": "pink"}, "theme='pink'.*'light' or 'dark'"),
        ({"theme": {}}, r"theme=\{\}"),
        ({"engine": "neato"}, "engine='neato'.*'befit' or 'dot'"),
        ({"to_file": "net.html", "engine": "dot"}, r"page.*\.svg"),
        ({"to_file": "net.html", "collapse_repeats": True}, r"page.*\.svg"),
        ({"to_file": "net.html", "theme": THEMES["light"]}, r"page.*theme of your own.*\.svg"),
    ],
)
def test_an_argument_that_cannot_work_is_named_before_the_model_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(ArgumentError, match=message):
        plot_model(object(), **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_model_is_an_error() -> None:
    with pytest.raises(UnsupportedObjectError, match="no model"):
        model_to_dot(object())


def test_an_unknown_direction_is_an_error_for_dot_too() -> None:
    with pytest.raises(ArgumentError, match="'LR'"):
        model_to_dot(GRAPH, rankdir="up")


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "net.svg"
    path.write_text("old")
    write_bytes = Path.write_bytes

    def write_half(self: Path, data: bytes) -> int:
        write_bytes(self, data[: len(data) // 2])
        raise failure

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(type(failure)):
        plot_model(GRAPH, path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.svg"]


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".svg")
    plot_model(GRAPH, path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    """What stands for /dev/stdout here, which must not become a file."""
    path = tmp_path / "pipe.svg"
    os.mkfifo(path)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
        plot_model(GRAPH, path)
        assert path.is_fifo()
        assert pipe.read().startswith(HEADS[".svg"])


def test_a_failure_while_drawing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise RuntimeError("broken")

    monkeypatch.setitem(befit.graph.plot._WRITERS, ".svg", fail)
    with pytest.raises(RuntimeError, match="broken"):
        plot_model(GRAPH, tmp_path / "net.svg")
    assert not list(tmp_path.iterdir())


# Models


@pytest.mark.parametrize("ending", [".svg", ".pdf", ".dot"])
def test_a_chain_of_5000_layers_is_drawn(tmp_path: Path, ending: str) -> None:
    """Deeper than Python's own stack."""
    path = tmp_path / f"deep{ending}"
    plot_model(chain_of(5000), path)
    if ending == ".svg":
        assert len(labels(path)) == 5000
    plot_model(chain_of(5000), path, collapse_repeats=True)
    assert path.stat().st_size < 10_000


@pytest.mark.backends
def test_a_siamese_keras_model(siamese: Any, tmp_path: Path) -> None:
    for ending in HEADS:
        plot_model(siamese, tmp_path / f"net{ending}", show_shapes=True)
    shown = labels(tmp_path / "net.svg")
    assert {"left: InputLayer", "right: InputLayer", "base: Functional", "score: Dense"} <= set(shown)
    source = model_to_dot(siamese)
    number = source.index("base: Functional")
    base = source[:number].rsplit("[label=", 1)[0].split()[-1]
    assert source.count(f"{base} -> ") == 2
    assert source.count(f" -> {base};") == 2


@pytest.mark.backends
def test_a_nested_keras_model_shows_its_layers_if_asked_to(siamese: Any, tmp_path: Path) -> None:
    plot_model(siamese, tmp_path / "net.svg", expand_nested=True)
    assert {"dense_a: Dense", "dense_b: Dense"} <= set(labels(tmp_path / "net.svg"))


def test_a_torch_module_from_an_example_input(tmp_path: Path) -> None:
    import torch

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(8, 8)
            self.act = torch.nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.act(self.fc(x)) + x)

    for ending in HEADS:
        plot_model(Residual(), tmp_path / f"net{ending}", inputs=torch.zeros(2, 8), show_shapes=True)
    shown = labels(tmp_path / "net.svg")
    assert {"fc: Linear", "act: ReLU", "act: ReLU (call 2)"} <= set(shown)
    assert shown["(None, 8)"] > 4


def test_a_torch_module_without_input_is_a_list_with_a_note(tmp_path: Path) -> None:
    import torch

    plot_model(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), tmp_path / "net.svg")
    shown = labels(tmp_path / "net.svg")
    assert any("Linear" in text for text in shown)
    assert any(text.startswith("Connections are not known") for text in shown)
