"""The page: style, picture, facts and script in one file that loads nothing else.

Its Content-Security-Policy allows exactly the one style sheet and the one script in it, by their digests:
should a layer's name ever come through unescaped, it still could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from string import Template

from befit.graph.diagram import Show
from befit.graph.model_graph import ModelGraph
from befit.graph.viewer.colours import kinds_css
from befit.graph.viewer.drawing import draw_svg
from befit.graph.viewer.facts import scene_as_json
from befit.graph.viewer.scene import Level, make_scene

SCRIPTS = ("model.js", "stage.js", "folding.js", "panel.js", "search.js", "walking.js", "viewer.js")


def to_html(graph: ModelGraph, show: Show, rankdir: str, *, is_embedded: bool = False) -> bytes:
    """Return a page that shows ``graph``: to zoom, search, fold, and ask each layer for its details.

    Args:
        graph: the model.
        show: what boxes show; nested models begin open with ``nested``, else closed.
        rankdir: where the data flows: ``"TB"``, ``"BT"``, ``"LR"`` or ``"RL"``.
        is_embedded: the page is in another one, which keeps the mouse wheel until the picture is clicked.

    Example:
        >>> from befit.graph.model_graph import Layer, Node
        >>> graph = ModelGraph("net", "Model", "keras", {"d": Layer("d", "hidden", "Dense", "hidden")},
        ...                    (Node(0, "d", 0, (), ()),), (), {})
        >>> to_html(graph, Show(), "TB").startswith(b"<!DOCTYPE html>")
        True
    """
    scene = make_scene(graph, show, rankdir)
    style = _asset("viewer.css") + kinds_css()
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(f"js/{name}") for name in SCRIPTS) + "})();\n"
    name = scene.name or graph.type
    page = Template(_asset("viewer.html")).substitute(
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'",
        embedded=" data-embedded" if is_embedded else "",
        name=escape(name),
        facts=escape(" · ".join(_about(graph, scene))),
        note=escape(scene.note or ""),
        style=style,
        picture=draw_svg(scene, f"{name}: layers and connections", is_open=show.nested),
        data=scene_as_json(scene, rankdir),
        script=script,
    )
    return page.encode()


def _about(graph: ModelGraph, scene: Level) -> list[str]:
    """Return what the head of the page says of the model, in a few words each."""
    trainable = sum(parameter.count for parameter in graph.parameters.values() if parameter.trainable)
    frozen = sum(parameter.count for parameter in graph.parameters.values()) - trainable
    count = sum(item.inside is None for item in scene.all_items())
    facts = [f"{count:,} layer" + "s" * (count != 1), f"{trainable + frozen:,} parameters"]
    if frozen:
        facts.append(f"{frozen:,} of them frozen")
    return facts


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _asset(name: str) -> str:
    return files("befit.graph.viewer").joinpath(name).read_text("utf-8")
