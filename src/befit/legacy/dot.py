"""Models in the DOT language, with the methods that scripts for Keras 2 call on them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Self

from befit._internal.staging import part_file
from befit.errors import ArgumentError
from befit.graph import ModelGraph, model_graph, plot_model
from befit.graph import model_to_dot as dot_source

__all__ = ["DotSource", "model_to_dot"]

_TEXTS = ("dot", "raw")
_PICTURES = ("svg", "png", "pdf")


class DotSource(str):
    """A model as source in the DOT language, with the methods of ``pydot.Dot`` that draw and save.

    The pictures are those of ``befit.plot_model``, so ``prog`` has no effect anywhere: neither pydot nor
    Graphviz is needed.

    Args:
        text: The source.
        graph: The model.
        settings: Arguments of ``plot_model``.

    Example:
        >>> from befit.graph.model_graph import Layer, ModelGraph, Node
        >>> graph = ModelGraph("net", "Model", "keras", {"d": Layer("d", "hidden", "Dense", "hidden")},
        ...                    (Node(0, "d", 0, (), ()),), (), {})
        >>> dot = model_to_dot(graph)
        >>> dot.create(prog="dot", format="svg")[:5]
        b'<?xml'

    Source: the ``pydot.Dot`` that Keras 2.1's ``model_to_dot`` returned.
    """

    _graph: ModelGraph
    _settings: dict[str, Any]

    def __new__(cls, text: str, graph: ModelGraph, settings: dict[str, Any]) -> Self:
        """Make a string that knows its model."""
        self = super().__new__(cls, text)
        self._graph = graph
        self._settings = settings
        return self

    def __getnewargs__(self) -> tuple[str, ModelGraph, dict[str, Any]]:  # type: ignore[override]
        """Return what a copy is made of."""
        return str(self), self._graph, self._settings

    def to_string(self) -> str:
        """Return the source as a plain string."""
        return str(self)

    def create(self, prog: Any = None, format: str = "svg") -> bytes:
        """Return the model as a file.

        Args:
            prog: Has no effect.
            format: ``"svg"``, ``"png"``, ``"pdf"``, or ``"dot"`` or ``"raw"`` for the source.

        Raises:
            ArgumentError: another format.
            MissingDependencyError: a png without Pillow.
        """
        if format in _TEXTS:
            return self.encode()
        if format not in _PICTURES:
            raise ArgumentError(
                f"format={format!r} is not drawn; write one of {', '.join((*_PICTURES, *_TEXTS))}, or give "
                "the source to Graphviz"
            )
        with tempfile.TemporaryDirectory(prefix="befit-dot-") as folder:
            path = Path(folder, f"model.{format}")
            plot_model(self._graph, path, **self._settings)
            return path.read_bytes()

    def create_svg(self, prog: Any = None) -> bytes:
        """Return the model as an SVG picture."""
        return self.create(prog, "svg")

    def create_png(self, prog: Any = None) -> bytes:
        """Return the model as a PNG picture."""
        return self.create(prog, "png")

    def create_pdf(self, prog: Any = None) -> bytes:
        """Return the model as a PDF document."""
        return self.create(prog, "pdf")

    def create_dot(self, prog: Any = None) -> bytes:
        """Return the source, in UTF-8."""
        return self.create(prog, "dot")

    def write(self, path: str | os.PathLike[str], prog: Any = None, format: str = "raw") -> bool:
        """Save the model in a file, which is written whole or not at all.

        Args:
            path: Where it goes; its ending has no effect.
            prog: Has no effect.
            format: As for ``create``.

        Returns:
            ``True``.

        Raises:
            ArgumentError: another format.
            MissingDependencyError: a png without Pillow.
            OSError: the file cannot be written.
        """
        data = self.create(prog, format)
        target = Path(path)
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # a pipe or a device stays what it is, a folder is an error
            return True
        try:
            with part_file(target) as part:
                part.write_bytes(data)
                os.replace(part, target)
        except OSError as error:
            # Nobody asked for the part.
            raise type(error)(error.errno, error.strerror, str(target)) from error
        return True

    def write_svg(self, path: str | os.PathLike[str], prog: Any = None) -> bool:
        """Save the model as an SVG picture."""
        return self.write(path, prog, "svg")

    def write_png(self, path: str | os.PathLike[str], prog: Any = None) -> bool:
        """Save the model as a PNG picture."""
        return self.write(path, prog, "png")

    def write_pdf(self, path: str | os.PathLike[str], prog: Any = None) -> bool:
        """Save the model as a PDF document."""
        return self.write(path, prog, "pdf")

    def write_dot(self, path: str | os.PathLike[str], prog: Any = None) -> bool:
        """Save the source, in UTF-8."""
        return self.write(path, prog, "dot")

    def write_raw(self, path: str | os.PathLike[str], prog: Any = None) -> bool:
        """Save the source, in UTF-8."""
        return self.write(path, prog, "raw")


def model_to_dot(
    model: Any,
    show_shapes: bool = False,
    show_layer_names: bool = True,
    rankdir: str = "TB",
    expand_nested: bool = False,
    dpi: float = 96,
    subgraph: bool = False,
) -> DotSource:
    """Return a model as source in the DOT language that can also be drawn and saved.

    Args:
        model: A Keras model, a PyTorch module, or a ``ModelGraph``.
        show_shapes: Whether boxes show the shapes of the layer's inputs and outputs.
        show_layer_names: Whether boxes show the layer's name in front of its class.
        rankdir: Where the data flows: ``"TB"``, ``"BT"``, ``"LR"`` or ``"RL"``.
        expand_nested: Whether a model inside the model is a cluster of its own layers.
        dpi: Pixels per inch of a png.
        subgraph: Only ``False``: there is no pydot to put a cluster into a graph of.

    Raises:
        ArgumentError: an unknown direction, or ``subgraph=True``; (drawing) a ``dpi`` that is not from 1 to
            10,000.
        GraphError: the model cannot be read as a graph.
        UnsupportedObjectError: ``model`` is no model of a supported framework.

    Example:
        >>> from befit.graph.model_graph import Layer, ModelGraph, Node
        >>> graph = ModelGraph("net", "Model", "keras", {"d": Layer("d", "hidden", "Dense", "hidden")},
        ...                    (Node(0, "d", 0, (), ()),), (), {})
        >>> "hidden: Dense" in model_to_dot(graph).to_string()
        True

    Source: Keras 2.3, ``keras.utils.vis_utils.model_to_dot``.
    """
    if subgraph:
        raise ArgumentError(
            "subgraph=True made a cluster for a graph of pydot, which befit does without; draw the outer "
            "model with expand_nested=True"
        )
    graph = model_graph(model)
    settings: dict[str, Any] = {
        "show_shapes": show_shapes,
        "show_layer_names": show_layer_names,
        "rankdir": rankdir,
        "expand_nested": expand_nested,
    }
    return DotSource(dot_source(graph, **settings), graph, {**settings, "dpi": dpi})
