"""Diagrams laid out by befit and by Graphviz' ``dot``, given the same boxes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import NamedTuple

import numpy as np

from befit.graph.diagram import Diagram
from befit.graph.draw.arrows import draw_arrow
from befit.graph.draw.faces import draw_layer
from befit.graph.draw.marks import Shape
from befit.graph.fonts import helvetica_width
from befit.graph.layout import Layout, lay_out
from benchmarks.plot_measure import Array, Drawing, bezier

DOT = shutil.which("dot")
PIXELS_PER_INCH = 72
"""Of ``dot``, so that its usual gaps are 18 pixels between boxes and 36 between rows."""


class Task(NamedTuple):
    """What an engine is given."""

    sizes: list[tuple[float, float]]
    edges: list[tuple[int, int]]
    tensors: list[int]


def task(diagram: Diagram) -> Task:
    """Return the boxes of a diagram, as large as befit draws them in an svg, and its edges."""
    faces = [draw_layer(box, helvetica_width) for box in diagram.boxes]
    return Task(
        [(face.width, face.height) for face in faces],
        [(link.source, link.target) for link in diagram.links],
        [link.tensor for link in diagram.links],
    )


def befit_layout(given: Task) -> Layout:
    """Return befit's layout."""
    return lay_out(given.sizes, given.edges, "TB", given.tensors)


def befit_drawing(given: Task, layout: Layout) -> Drawing:
    """Return the lines as befit draws them along the routes of the layout."""
    return Drawing(
        layout.width,
        layout.height,
        np.array([(box.x, box.y, box.right, box.bottom) for box in layout.boxes]),
        given.edges,
        [_points(*draw_arrow(route, layout.is_horizontal)) for route in layout.routes],
    )


def _points(line: Shape, head: Shape) -> Array:
    controls = [line.start]
    for step in (*line.steps, (head.start,)):
        controls += [controls[-1], step[0], step[0]] if len(step) == 1 else step
    return bezier(np.array(controls))


def dot_layout(given: Task) -> str:
    """Return what ``dot`` says about where boxes and edges go."""
    # Without arrowheads the lines reach the boxes; otherwise they end where the heads begin.
    lines = ["digraph {", 'node [shape=box, fixedsize=true, label=""];', "edge [arrowhead=none];"]
    for number, (width, height) in enumerate(given.sizes):
        lines.append(f"{number} [width={width / PIXELS_PER_INCH}, height={height / PIXELS_PER_INCH}];")
    lines += [f"{source} -> {target};" for source, target in given.edges]
    lines.append("}")
    assert DOT is not None
    command = [DOT, "-Tplain"]
    return subprocess.run(command, input="\n".join(lines), text=True, check=True, capture_output=True).stdout


def dot_drawing(given: Task, plain: str) -> Drawing:
    """Return a drawing of ``dot``, whose y grows upwards and whose unit is the inch."""
    boxes = np.zeros((len(given.sizes), 4))
    edges, lines = [], []
    width = height = 0.0
    for line in plain.splitlines():
        kind, *words = shlex.split(line)
        if kind == "graph":
            width, height = (float(word) * PIXELS_PER_INCH for word in words[1:3])
        elif kind == "node":
            x, y = float(words[1]) * PIXELS_PER_INCH, height - float(words[2]) * PIXELS_PER_INCH
            half = np.array(given.sizes[int(words[0])]) / 2
            boxes[int(words[0])] = (x - half[0], y - half[1], x + half[0], y + half[1])
        elif kind == "edge":
            points = np.array(words[3 : 3 + 2 * int(words[2])], float).reshape(-1, 2) * PIXELS_PER_INCH
            points[:, 1] = height - points[:, 1]
            edges.append((int(words[0]), int(words[1])))
            lines.append(bezier(points))
    return Drawing(width, height, boxes, edges, lines)
