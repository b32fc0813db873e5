"""``model_to_dot`` as scripts for Keras 2 use it: a text that draws and saves itself."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import threading
import xml.etree.ElementTree as ET

import pytest

import befit
from befit.errors import ArgumentError
from befit.graph.model_graph import Layer, ModelGraph, Node, TensorSpec
from befit.legacy import model_to_dot

SPEC = TensorSpec((None, 8), "float32")
GRAPH = ModelGraph(
    "net",
    "Model",
    "keras",
    {"d": Layer("d", "hidden", "Dense", "hidden")},
    (Node(0, "d", 0, (SPEC,), (SPEC,)),),
    (),
    {},
)
BEGINNINGS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "dot": b"digraph", "raw": b"digraph"}


@pytest.fixture
def dot():
    return model_to_dot(GRAPH, True)


@pytest.mark.backends
def test_a_model_of_keras_is_drawn_as_in_a_notebook():
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, name="hidden")])
    dot = model_to_dot(model, show_shapes=True)
    assert str(dot) == befit.model_to_dot(model, show_shapes=True)
    assert "hidden" in "".join(ET.fromstring(dot.create(prog="dot", format="svg")).itertext())


def test_the_arguments_stand_where_they_stood():
    names = "model show_shapes show_layer_names rankdir expand_nested dpi subgraph"
    assert list(inspect.signature(model_to_dot).parameters) == names.split()


@pytest.mark.parametrize("format", BEGINNINGS)
def test_each_format_is_created_and_written(dot, tmp_path, format):
    data = dot.create(prog=["dot", "-Gsplines=ortho"], format=format)
    assert data.startswith(BEGINNINGS[format])
    assert dot.write(tmp_path / "one", format=format) is True
    assert getattr(dot, f"write_{format}")(str(tmp_path / "two"), prog="dot") is True
    for name in ("one", "two"):
        assert (tmp_path / name).read_bytes() == data
    if format != "raw":
        assert getattr(dot, f"create_{format}")() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_picture_is_the_one_of_plot_model(dot, tmp_path):
    befit.plot_model(GRAPH, tmp_path / "model.svg", show_shapes=True)
    assert dot.create_svg() == (tmp_path / "model.svg").read_bytes()


def test_the_text_is_plain_and_written_by_default(dot, tmp_path):
    assert type(dot.to_string()) is str
    assert dot.to_string() == dot == befit.model_to_dot(GRAPH, show_shapes=True)
    dot.write(tmp_path / "model.dot")
    assert (tmp_path / "model.dot").read_text() == dot


def test_dpi_is_the_one_of_the_png():
    small, large = (model_to_dot(GRAPH, dpi=dpi).create_png() for dpi in (48, 192))
    widths = [int.from_bytes(data[16:20], "big") for data in (small, large)]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda dot: pickle.loads(pickle.dumps(dot))])
def test_a_copy_draws_the_same(dot, remake):
    again = remake(dot)
    assert again == dot
    assert again.create_svg() == dot.create_svg()


@pytest.mark.parametrize("format", ["jpg", "ps", "html", "SVG", None])
def test_formats_that_are_not_drawn_are_refused(dot, tmp_path, format):
    with pytest.raises(ArgumentError, match="write one of svg, png, pdf, dot, raw"):
        dot.write(tmp_path / "model", format=format)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_named(dot, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        dot.write_svg(tmp_path / "none" / "model.svg")
    assert caught.value.filename == str(tmp_path / "none" / "model.svg")
    with pytest.raises(IsADirectoryError):
        dot.write_svg(tmp_path)


def test_a_pipe_stays_a_pipe(dot, tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    dot.write(pipe)
    reader.join(30)
    assert got == [dot.encode()]
    assert pipe.is_fifo()


def test_a_cluster_is_refused():
    with pytest.raises(ArgumentError, match="expand_nested=True"):
        model_to_dot(GRAPH, subgraph=True)
