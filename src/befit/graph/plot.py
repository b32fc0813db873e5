"""``plot_model`` and ``model_to_dot``: a model as a picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from befit._internal.staging import part_file
from befit.errors import ArgumentError
from befit.graph.diagram import Diagram, Show, diagram
from befit.graph.draw import THEMES, PngFont, Theme, draw, pdf_width, run_dot, to_dot, to_pdf, to_png, to_svg
from befit.graph.fonts import helvetica_width
from befit.graph.layout import RANKDIRS
from befit.graph.model_graph import ModelGraph
from befit.graph.reading import model_graph
from befit.graph.repeats import collapse

ENGINES = ("befit", "dot")
LARGEST_DPI = 10_000


def plot_model(
    model: Any,
    to_file: str | os.PathLike[str] = "model.png",
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    *,
    show_dtypes: bool = False,
    show_trainable: bool = False,
    expand_nested: bool = False,
    collapse_repeats: bool = False,
    inputs: Any = None,
    theme: str | Theme = "light",
    engine: str = "befit",
    dpi: float = 96,
) -> None:
    """Draw a model and save the picture, without Graphviz.

    Each layer is a box, each tensor between two layers an arrow. A layer that is called several times is one
    box with the arrows of all its calls; only where it is applied to what came out of it before, each call is
    a box. The file is written whole or not at all.

    Args:
        model: a Keras model, a PyTorch module, or a ``ModelGraph``.
        to_file: where the picture goes; the ending decides what it is: ``.png``, ``.svg``, ``.pdf``,
            ``.html`` for a page to look around in, or ``.dot`` for Graphviz. A name without an ending gets a
            png.
        show_shapes: whether boxes show the shapes of inputs and outputs, such as ``(None, 784)``.
        show_layer_names: whether boxes show the layer's name in front of its class.
        rankdir: where the data flows: ``"TB"`` down, ``"BT"`` up, ``"LR"`` right, ``"RL"`` left.
        show_dtypes: whether boxes show the dtypes of the layer's inputs and outputs.
        show_trainable: whether layers none of whose weights is trained are marked as frozen.
        expand_nested: whether a model inside the model is drawn as a frame around its own layers.
        collapse_repeats: whether layers that only follow each other share one box, and blocks of layers that
            repeat are drawn once, in a frame that says how often.
        inputs: an example input, for models that show shapes and connections only when they are called.
        theme: ``"light"``, ``"dark"``, or colours of your own; a page has both, and a switch.
        engine: ``"befit"``, or ``"dot"`` to have Graphviz lay out and draw, if it is installed.
        dpi: pixels per inch of a png; other files can be enlarged as they are.

    Raises:
        ArgumentError: an unknown ending, direction, theme or engine, a folder that does not exist, a ``dpi``
            that is not from 1 to 10,000, a png of more than 300 million pixels, or ``collapse_repeats``,
            ``engine="dot"`` or a theme of your own for a page, which cannot have them.
        GraphError: the model cannot be read as a graph, or Graphviz fails on it.
        UnsupportedObjectError: ``model`` is no model of a supported framework.
        MissingDependencyError: a png without Pillow, or ``engine="dot"`` without Graphviz.

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
    ending = _ending(target)
    _check_rankdir(rankdir)
    _check_dpi(dpi)
    _check_engine(engine)
    colours = _theme(theme)
    if ending == ".html" and (collapse_repeats or engine != "befit" or isinstance(theme, Theme)):
        raise ArgumentError(
            f"to_file={str(to_file)!r}: a page takes neither collapse_repeats=True nor engine='dot' nor a "
            "theme of your own; leave them out, or write a .svg file"
        )
    if not target.parent.is_dir():
        raise ArgumentError(
            f"to_file={str(to_file)!r}: there is no folder {str(target.parent)!r}; make it first"
        )
    if target.is_dir():
        raise ArgumentError(f"to_file={str(to_file)!r} is a folder; write the name of a file in it")
    show = Show(show_shapes, show_layer_names, show_dtypes, expand_nested, show_trainable)
    graph = model_graph(model, inputs)
    picture = _Wanted(graph, show, collapse_repeats, rankdir, colours, dpi)
    if engine == "dot" and ending != ".dot":
        data = run_dot(to_dot(picture.content, rankdir, colours), ending.removeprefix("."), dpi)
    else:
        data = _WRITERS[ending](picture)
    _write_whole(target, data)


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    *,
    show_dtypes: bool = False,
    show_trainable: bool = False,
    expand_nested: bool = False,
    collapse_repeats: bool = False,
    inputs: Any = None,
) -> str:
    """Return a model as source in the DOT language, for Graphviz or whatever else reads it.

    Args:
        model: a Keras model, a PyTorch module, or a ``ModelGraph``.
        show_shapes: whether boxes show the shapes of the layer's inputs and outputs.
        show_layer_names: whether boxes show the layer's name in front of its class.
        rankdir: where the data flows: ``"TB"``, ``"BT"``, ``"LR"`` or ``"RL"``.
        show_dtypes: whether boxes show the dtypes of the layer's inputs and outputs.
        show_trainable: whether layers none of whose weights is trained are marked as frozen.
        expand_nested: whether a model inside the model is a cluster of its own layers.
        collapse_repeats: whether chains share one box, and repeated blocks are drawn once, in a cluster.
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
    show = Show(show_shapes, show_layer_names, show_dtypes, expand_nested, show_trainable)
    return to_dot(_content(model_graph(model, inputs), show, collapse_repeats), rankdir)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be drawn, and how."""

    graph: ModelGraph
    show: Show
    collapse_repeats: bool
    rankdir: str
    theme: Theme
    dpi: float

    @property
    def content(self) -> Diagram:
        """Boxes and links."""
        return _content(self.graph, self.show, self.collapse_repeats)


def _content(graph: ModelGraph, show: Show, collapse_repeats: bool) -> Diagram:
    content = diagram(graph, show)
    return collapse(content) if collapse_repeats else content


def _check_rankdir(rankdir: str) -> None:
    if rankdir not in RANKDIRS:
        raise ArgumentError(f"rankdir={rankdir!r} is no direction; write 'TB', 'BT', 'LR' or 'RL'")


def _check_dpi(dpi: object) -> None:
    if not isinstance(dpi, Real) or not 1 <= float(dpi) <= LARGEST_DPI:
        raise ArgumentError(
            f"dpi={dpi!r} is no number of pixels per inch; write one from 1 to {LARGEST_DPI}, such as 96"
        )


def _check_engine(engine: object) -> None:
    if engine not in ENGINES:
        raise ArgumentError(f"engine={engine!r} does not exist; write 'befit' or 'dot'")


def _theme(theme: object) -> Theme:
    if isinstance(theme, Theme):
        return theme
    if not isinstance(theme, str) or theme not in THEMES:
        raise ArgumentError(f"theme={theme!r} does not exist; write 'light' or 'dark', or give a Theme")
    return THEMES[theme]


def _png(wanted: _Wanted) -> bytes:
    font = PngFont(wanted.dpi)
    return to_png(draw(wanted.content, font.width, wanted.rankdir, wanted.theme), font, wanted.dpi)


def _svg(wanted: _Wanted) -> bytes:
    content = wanted.content
    return to_svg(draw(content, helvetica_width, wanted.rankdir, wanted.theme), content.name)


def _pdf(wanted: _Wanted) -> bytes:
    content = wanted.content
    return to_pdf(draw(content, pdf_width, wanted.rankdir, wanted.theme), content.name)


def _dot(wanted: _Wanted) -> bytes:
    return to_dot(wanted.content, wanted.rankdir).encode()


def _page(wanted: _Wanted) -> bytes:
    from befit.graph.viewer import to_html  # nobody else needs its scripts and style sheets

    return to_html(wanted.graph, wanted.show, wanted.rankdir)


_WRITERS: dict[str, Callable[[_Wanted], bytes]] = {
    ".png": _png,
    ".svg": _svg,
    ".pdf": _pdf,
    ".html": _page,
    ".dot": _dot,
}


def _ending(target: Path) -> str:
    """Return the ending of ``target``, which decides what is written."""
    ending = target.suffix.lower() or ".png"
    if ending not in _WRITERS:
        raise ArgumentError(
            f"to_file={str(target)!r}: no picture is written as {ending!r}; "
            "let the name end in .png, .svg, .pdf, .html or .dot"
        )
    return ending


def _write_whole(target: Path, data: bytes) -> None:
    """Write a file that is there with all of ``data``, or stays as it was."""
    if target.exists() and not target.is_file():
        target.write_bytes(data)  # a pipe or a device, such as /dev/stdout, stays what it is
        return
    try:
        with part_file(target) as part:
            part.write_bytes(data)
            os.replace(part, target)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(target)) from error  # nobody asked for the part
