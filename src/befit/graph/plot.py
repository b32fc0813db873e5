"""``plot_model`` and ``model_to_dot``: a model as a picture."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

from befit.errors import ArgumentError
from befit.graph.diagram import Diagram, Show, diagram
from befit.graph.draw import PngFont, draw, pdf_width, to_dot, to_pdf, to_png, to_svg
from befit.graph.fonts import helvetica_width
from befit.graph.layout import RANKDIRS
from befit.graph.reading import model_graph


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    *,
    show_dtypes: bool = False,
    expand_nested: bool = False,
    inputs: Any = None,
    dpi: float = 96,
) -> None:
    """Draw a model and save the picture, without Graphviz.

    Each layer is a box, each tensor between two layers an arrow. A layer that is called several times is one
    box with the arrows of all its calls; only where it is applied to what came out of it before, each call is
    a box. The file is written whole or not at all.

    Args:
        model: a Keras model, a PyTorch module, or a ``ModelGraph``.
        to_file: where the picture goes; the ending decides what it is: ``.png``, ``.svg``, ``.pdf``, or
            ``.dot`` for Graphviz. A name without an ending gets a png.
        show_shapes: whether boxes show the shapes of inputs and outputs, such as ``(None, 784)``.
        show_layer_names: whether boxes show the layer's name in front of its class.
        rankdir: where the data flows: ``"TB"`` down, ``"BT"`` up, ``"LR"`` right, ``"RL"`` left.
        show_dtypes: whether boxes show the dtypes of the layer's inputs and outputs.
        expand_nested: whether a model inside the model is drawn as a frame around its own layers.
        inputs: an example input, for models that show shapes and connections only when they are called.
        dpi: pixels per inch of a png; other files can be enlarged as they are.

    Raises:
        ArgumentError: an unknown ending or direction, a folder that does not exist, a ``dpi`` below 1,
            or a png of more than 300 million pixels.
        GraphError: the model cannot be read as a graph.
        UnsupportedObjectError: ``model`` is no model of a supported framework.
        MissingDependencyError: a png without Pillow.

    Example:
        >>> import pathlib, tempfile
        >>> from befit.graph.model_graph import Layer, ModelGraph, Node, TensorSpec
        >>> spec = TensorSpec((None, 8), "float32")
        >>> graph = ModelGraph("net", "Model", "keras", {"d": Layer("d", "hidden", "Dense", "hidden")},
        ...                    (Node(0, "d", 0, (spec,), (spec,)),), (), {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_model(graph, pathlib.Path(folder, "net.svg"), show_shapes=True)
        ...     "hidden: Dense" in pathlib.Path(folder, "net.svg").read_text()
        True

    Source:
        Keras 2.1 documentation; ``show_dtypes``, ``expand_nested`` and ``dpi`` from Keras 3.
    """
    target = Path(to_file)
    write = _writer(target)
    _check_rankdir(rankdir)
    _check_dpi(dpi)
    if not target.parent.is_dir():
        raise ArgumentError(
            f"to_file={str(to_file)!r}: there is no folder {str(target.parent)!r}; make it first"
        )
    if target.is_dir():
        raise ArgumentError(f"to_file={str(to_file)!r} is a folder; write the name of a file in it")
    show = Show(show_shapes, show_layer_names, show_dtypes, expand_nested)
    _write_whole(target, write(diagram(model_graph(model, inputs), show), rankdir, dpi))


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    *,
    show_dtypes: bool = False,
    expand_nested: bool = False,
    inputs: Any = None,
) -> str:
    """Return a model as source in the DOT language, for Graphviz or whatever else reads it.

    Args:
        model: a Keras model, a PyTorch module, or a ``ModelGraph``.
        show_shapes: whether boxes show the shapes of the layer's inputs and outputs.
        show_layer_names: whether boxes show the layer's name in front of its class.
        rankdir: where the data flows: ``"TB"``, ``"BT"``, ``"LR"`` or ``"RL"``.
        show_dtypes: whether boxes show the dtypes of the layer's inputs and outputs.
        expand_nested: whether a model inside the model is a cluster of its own layers.
        inputs: an example input, for models that show shapes and connections only when they are called.

    Returns:
        Text in which names are escaped, whatever they contain. Keras 2 returned an object of pydot; its
        ``graph_from_dot_data`` makes one from this text.

    Raises:
        ArgumentError: an unknown direction.
        GraphError: the model cannot be read as a graph.
        UnsupportedObjectError: ``model`` is no model of a supported framework.

    Example:
        >>> from befit.graph.model_graph import Layer, ModelGraph, Node
        >>> graph = ModelGraph("net", "Model", "keras", {"d": Layer("d", "hidden", "Dense", "hidden")},
        ...                    (Node(0, "d", 0, (), ()),), (), {})
        >>> print(model_to_dot(graph))
        digraph "net" {
          graph [rankdir=TB, compound=true];
          node [shape=record, fontname="Helvetica"];
          n0 [label="hidden: Dense"];
        }
        <BLANKLINE>

    Source:
        The labels are those of Keras 2.1's ``keras.utils.vis_utils.model_to_dot``.
    """
    _check_rankdir(rankdir)
    show = Show(show_shapes, show_layer_names, show_dtypes, expand_nested)
    return to_dot(diagram(model_graph(model, inputs), show), rankdir)


def _check_rankdir(rankdir: str) -> None:
    if rankdir not in RANKDIRS:
        raise ArgumentError(f"rankdir={rankdir!r} is no direction; write 'TB', 'BT', 'LR' or 'RL'")


def _check_dpi(dpi: object) -> None:
    if not isinstance(dpi, Real) or not 1 <= float(dpi) < math.inf:
        raise ArgumentError(f"dpi={dpi!r} is no number of pixels per inch; write a number from 1, such as 96")


def _png(content: Diagram, rankdir: str, dpi: float) -> bytes:
    font = PngFont(dpi)
    return to_png(draw(content, font.width, rankdir), font, dpi)


def _svg(content: Diagram, rankdir: str, dpi: float) -> bytes:
    return to_svg(draw(content, helvetica_width, rankdir), content.name)


def _pdf(content: Diagram, rankdir: str, dpi: float) -> bytes:
    return to_pdf(draw(content, pdf_width, rankdir), content.name)


def _dot(content: Diagram, rankdir: str, dpi: float) -> bytes:
    return to_dot(content, rankdir).encode()


_WRITERS: dict[str, Callable[[Diagram, str, float], bytes]] = {
    ".png": _png,
    ".svg": _svg,
    ".pdf": _pdf,
    ".dot": _dot,
}


def _writer(target: Path) -> Callable[[Diagram, str, float], bytes]:
    """Return what makes the content of ``target``, by its ending."""
    ending = target.suffix.lower() or ".png"
    if ending not in _WRITERS:
        raise ArgumentError(
            f"to_file={str(target)!r}: no picture is written as {ending!r}; "
            "let the name end in .png, .svg, .pdf or .dot"
        )
    return _WRITERS[ending]


def _write_whole(target: Path, data: bytes) -> None:
    """Write a file that is there with all of ``data``, or stays as it was."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            part.write_bytes(data)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(target)) from error  # nobody asked for the part
