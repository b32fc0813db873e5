"""The viewer in the output of a notebook's cell."""

from __future__ import annotations

from html import escape

from befit.graph.diagram import Show
from befit.graph.model_graph import ModelGraph
from befit.graph.viewer.page import to_html

HEIGHT = 520


def to_notebook(graph: ModelGraph) -> str:
    """Return the viewer as an ``<iframe>`` that carries its whole page with it.

    The frame is a sandbox: its styles and ids do not meet those of the notebook or of another output, and its
    script can reach neither the notebook nor its cookies.

    Example:
        >>> from befit.graph.model_graph import Layer
        >>> graph = ModelGraph("net", "Model", "keras", {"d": Layer("d", "hidden", "Dense", "hidden")},
        ...                    (), (), {}, is_traced=False)
        >>> to_notebook(graph).startswith('<iframe sandbox="allow-scripts"')
        True
    """
    page = to_html(graph, Show(shapes=True), "TB", is_embedded=True).decode()
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(graph.name)}: layers and connections" '
        f'style="width:100%;height:{HEIGHT}px;border:1px solid rgb(128 128 128/.35);border-radius:8px" '
        f'srcdoc="{escape(page)}"></iframe>'
    )
