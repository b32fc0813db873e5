"""What the script of the viewer is told: of each box what the panel says, of each level where things are."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from befit.graph.layout import Layout
from befit.graph.model_graph import ModelGraph, TensorSpec
from befit.graph.viewer import drawing, scene
from befit.graph.viewer.scene import Item, Level


def scene_as_json(level: Level, rankdir: str) -> str:
    """Return the scene as JSON that is safe inside of a ``<script>`` element.

    It is ASCII without ``<``, so neither ``</script>`` nor ``<!--`` can occur, whatever names are like.
    """
    content = {
        "rankdir": rankdir,
        "frame": {
            "header": scene.FRAME_HEADER,
            "padding": scene.FRAME_PADDING,
            "title": _rounded(drawing.OPEN_TITLE),
            "button": drawing.OPEN_BUTTON,
        },
        "boxes": list(_boxes(level)),
        "levels": list(_levels(level, -1)),
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _boxes(level: Level) -> Iterator[dict[str, Any]]:
    for item in level.items:
        yield _facts(item, level.graph)
        if item.inside is not None:
            yield from _boxes(item.inside)


def _facts(item: Item, graph: ModelGraph) -> dict[str, Any]:
    """Return what there is to say about one box; what does not apply is left out."""
    layer = item.layer
    parameters = [graph.parameters[key] for key in layer.parameters]
    facts: dict[str, Any] = {
        "title": item.box.title,
        "name": layer.name,
        "type": layer.type,
        "kind": item.kind,
        "path": layer.path,
        "parent": item.parent,
        "wraps": layer.wrapped,
        "built": layer.built,
        "calls": [
            {
                "in": [] if layer.is_input else [_spec(spec) for spec in call.inputs],
                "out": [_spec(spec) for spec in call.outputs],
                **({} if call.macs is None else {"macs": call.macs}),
            }
            for call in item.calls
        ],
        "trainable": sum(parameter.count for parameter in parameters if parameter.trainable),
        "frozen": sum(parameter.count for parameter in parameters if not parameter.trainable),
        "config": [[str(key), str(value)] for key, value in layer.config.items()],
    }
    if item.inside is None:
        facts["parameters"] = [
            [parameter.name, str(parameter.shape), parameter.dtype, parameter.count, parameter.trainable]
            for parameter in parameters
        ]
    else:
        facts["closed"] = {
            "size": _rounded(item.size),
            "title": _rounded(drawing.closed_title(item)),
            "button": drawing.button_place(item, is_open=False),
        }
        facts["note"] = item.inside.note
    return {key: fact for key, fact in facts.items() if fact not in (None, [])}


def _spec(spec: TensorSpec) -> list[str]:
    return ["?" if spec.shape is None else str(spec.shape), spec.dtype or "?"]


def _levels(level: Level, parent: int) -> Iterator[dict[str, Any]]:
    """Yield this level and those inside; what never moves needs no routes."""
    numbers = [item.number for item in level.items]
    facts: dict[str, Any] = {
        "parent": parent,
        "items": numbers,
        "links": [numbers[end] for link in level.links for end in (link.source, link.target)],
        "closed": _arrangement(level.closed, with_routes=level.opened is not None),
    }
    if level.opened is not None:
        facts["opened"] = _arrangement(level.opened, with_routes=True)
        facts["opened"]["rows"] = _rounded(
            end for row in scene.rows_of(level.opened, level.links) for end in row
        )
    yield facts
    for item in level.items:
        if item.inside is not None:
            yield from _levels(item.inside, item.number)


def _arrangement(layout: Layout, *, with_routes: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "size": _rounded((layout.width, layout.height)),
        "boxes": _rounded(length for box in layout.boxes for length in (box.x, box.y, box.width, box.height)),
    }
    if with_routes:
        facts["routes"] = [_rounded(length for point in route for length in point) for route in layout.routes]
    return facts


def _rounded(lengths: Iterable[float]) -> list[float]:
    """Return ``lengths`` with one decimal at most."""
    return [int(length) if length == int(length) else round(length, 1) for length in lengths]
