"""``engine="dot"``: the user's own Graphviz, and programs that only pretend to be it."""

from __future__ import annotations

import logging
import shutil
import stat
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from befit.errors import ArgumentError, GraphError, MissingDependencyError
from befit.graph.draw import graphviz
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, TensorSpec
from befit.graph.plot import plot_model

SPEC = (TensorSpec((None, 8), "float32"),)
STRANGE = 'a<b>&"c" \\{x|y} &lt;i&gt; &#65; &amp &\\'
GRAPH = ModelGraph(
    name="net",
    type="Functional",
    framework="keras",
    layers={
        "x": Layer("x", "x", "InputLayer", "x", is_input=True),
        "y": Layer("y", STRANGE, "Dense", "y"),
    },
    nodes=(Node(0, "x", 0, SPEC, SPEC), Node(1, "y", 0, SPEC, SPEC)),
    edges=(Edge(0, 0, 1, 0), Edge(0, 0, 1, 1)),
    parameters={},
)

needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="there is no Graphviz here")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is run as ``dot``; write a Python script into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "dot"
    path.touch()
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    return path


def pretend(program: Path, script: str) -> None:
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{script}\n")


def test_without_the_program_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"Graphviz.*engine='befit'"):
        plot_model(GRAPH, tmp_path / "net.svg", engine="dot")
    assert not list(tmp_path.iterdir())


def test_the_program_gets_the_source_format_and_resolution(tmp_path: Path, program: Path) -> None:
    """All of its input: it reads to the end and would hang if nobody closed it."""
    pretend(program, "print(sys.argv[1:], sys.stdin.read())")
    plot_model(GRAPH, tmp_path / "net.png", engine="dot", rankdir="LR", dpi=150)
    written = (tmp_path / "net.png").read_text()
    assert written.startswith("['-Tpng', '-Gdpi=150'] digraph")
    assert "rankdir=LR" in written
    plot_model(GRAPH, tmp_path / "net.pdf", engine="dot", dpi=150)
    assert (tmp_path / "net.pdf").read_text().startswith("['-Tpdf'] digraph")


def test_source_is_written_without_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plot_model(GRAPH, tmp_path / "net.dot", engine="dot")
    assert (tmp_path / "net.dot").read_text().startswith("digraph")


def test_a_failure_shows_what_the_program_said(tmp_path: Path, program: Path) -> None:
    pretend(program, "sys.exit('Trapezoid-table overflow')")
    with pytest.raises(GraphError, match=r"status 1: Trapezoid-table overflow.*engine='befit'"):
        plot_model(GRAPH, tmp_path / "net.svg", engine="dot")
    assert not (tmp_path / "net.svg").exists()


def test_a_program_that_draws_nothing_has_failed(tmp_path: Path, program: Path) -> None:
    """Whatever its status says: an empty file is no picture."""
    pretend(program, "print('no plugin for svg', file=sys.stderr)")
    with pytest.raises(GraphError, match=r"drew nothing: no plugin for svg.*engine='befit'"):
        plot_model(GRAPH, tmp_path / "net.svg", engine="dot")
    assert not (tmp_path / "net.svg").exists()


def test_a_program_that_does_not_end_is_ended(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(program, "time.sleep(100)")
    monkeypatch.setattr(graphviz, "TIMEOUT", 0.3)
    with pytest.raises(GraphError, match=r"not done after 0\.3 seconds"):
        plot_model(GRAPH, tmp_path / "net.svg", engine="dot")


def test_a_shrunk_picture_is_an_error(tmp_path: Path, program: Path) -> None:
    """Graphviz exits with 0 all the same."""
    said = "graph is too large for cairo-renderer bitmaps. Scaling"
    pretend(program, f"print('a picture'); print({said!r}, file=sys.stderr)")
    with pytest.raises(ArgumentError, match=r"would shrink.*\.svg.*smaller dpi than 96"):
        plot_model(GRAPH, tmp_path / "net.png", engine="dot")
    assert not (tmp_path / "net.png").exists()


def test_warnings_of_the_program_are_logged(
    tmp_path: Path, program: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(program, "print('a picture'); print('no fonts', file=sys.stderr)")
    with caplog.at_level(logging.WARNING):
        plot_model(GRAPH, tmp_path / "net.svg", engine="dot")
    assert "Graphviz: no fonts" in caplog.text


@needs_graphviz
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_graphviz_itself_draws_strange_names_and_repeated_edges(tmp_path: Path, theme: str) -> None:
    path = tmp_path / "net.svg"
    plot_model(GRAPH, path, show_shapes=True, theme=theme, engine="dot")
    root = ElementTree.parse(path).getroot()
    svg = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{svg}text")]
    assert f"{STRANGE}: Dense" in texts
    assert [group.get("class") for group in root.iter(f"{svg}g")].count("edge") == 2


@needs_graphviz
@pytest.mark.parametrize("ending", [".png", ".pdf"])
def test_graphviz_itself_writes_each_format(tmp_path: Path, ending: str) -> None:
    plot_model(GRAPH, tmp_path / f"net{ending}", engine="dot")
    assert (tmp_path / f"net{ending}").read_bytes()[1:4] in (b"PNG", b"PDF")
