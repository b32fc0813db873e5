"""From a diagram to a picture: how large boxes are, where they go, and what is drawn there."""

from __future__ import annotations

import textwrap
from itertools import pairwise

from befit.graph.diagram import Diagram
from befit.graph.draw import theme
from befit.graph.draw.faces import draw_frame, draw_layer
from befit.graph.draw.marks import Mark, Picture, Shape, Step, moved, text_mark
from befit.graph.fonts import TextWidth
from befit.graph.layout import Point, lay_out, list_boxes


def draw(diagram: Diagram, text_width: TextWidth, rankdir: str) -> Picture:
    """Return the picture of ``diagram``, with texts as wide as ``text_width`` says."""
    inside = _draw_diagram(diagram, text_width, rankdir)
    return Picture(
        inside.width + 2 * theme.MARGIN,
        inside.height + 2 * theme.MARGIN,
        tuple(moved(inside.marks, theme.MARGIN, theme.MARGIN)),
    )


def _draw_diagram(diagram: Diagram, text_width: TextWidth, rankdir: str) -> Picture:
    faces = []
    for box in diagram.boxes:
        if box.inner is None:
            faces.append(draw_layer(box, text_width))
        else:
            faces.append(draw_frame(box, _draw_diagram(box.inner, text_width, rankdir), text_width))
    sizes = [(face.width, face.height) for face in faces]
    edges = [(link.source, link.target) for link in diagram.links]
    if edges:
        layout = lay_out(sizes, edges, rankdir, [link.tensor for link in diagram.links])
    else:
        layout = list_boxes(sizes)
    marks: list[Mark] = []
    for route in layout.routes:
        marks.extend(_draw_route(route, layout.is_horizontal))
    for rectangle, face in zip(layout.boxes, faces, strict=True):
        marks.extend(moved(face.marks, rectangle.x, rectangle.y))
    width, height = layout.width, layout.height
    if diagram.note is not None:
        height += theme.NOTE_GAP
        for line in textwrap.wrap(diagram.note, theme.NOTE_LINE):
            note = text_mark(line, theme.NOTE_SIZE, theme.QUIET_TEXT, text_width)
            marks.extend(moved([note], 0, height + theme.NOTE_SIZE))
            width, height = max(width, note.width), height + theme.LINE_HEIGHT
    return Picture(width, height, tuple(marks))


def _draw_route(route: tuple[Point, ...], is_horizontal: bool) -> tuple[Shape, Shape]:
    """Return a smooth line along ``route``, and an arrowhead."""
    tip, before = route[-1], route[-2]
    along = 0 if is_horizontal else 1
    forwards = 1.0 if tip[along] > before[along] else -1.0

    def behind_tip(length: float, aside: float) -> Point:
        back = tip[along] - forwards * length
        return (back, tip[1] + aside) if is_horizontal else (tip[0] + aside, back)

    steps: list[Step] = []
    for start, end in pairwise((*route[:-1], behind_tip(theme.ARROW_LENGTH - 1, 0.0))):
        if start[1 - along] == end[1 - along]:
            steps.append((end,))
            continue
        middle = (start[along] + end[along]) / 2
        if is_horizontal:
            steps.append(((middle, start[1]), (middle, end[1]), end))
        else:
            steps.append(((start[0], middle), (end[0], middle), end))
    half = theme.ARROW_WIDTH / 2
    wings = (behind_tip(theme.ARROW_LENGTH, half), behind_tip(theme.ARROW_LENGTH, -half))
    return (
        Shape(route[0], tuple(steps), stroke=theme.EDGE, stroke_width=theme.EDGE_WIDTH),
        Shape(tip, tuple((wing,) for wing in wings), fill=theme.EDGE, is_closed=True),
    )
