"""From a diagram to a picture: how large boxes are, where they go, and what is drawn there."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from befit.graph.diagram import Diagram, Link
from befit.graph.draw import theme
from befit.graph.draw.arrows import draw_arrow
from befit.graph.draw.faces import draw_frame, draw_layer
from befit.graph.draw.marks import Mark, Picture, moved, text_mark
from befit.graph.draw.theme import LIGHT, Theme
from befit.graph.fonts import TextWidth
from befit.graph.layout import Layout, Size, lay_out, list_boxes


def draw(diagram: Diagram, text_width: TextWidth, rankdir: str, colours: Theme = LIGHT) -> Picture:
    """Return the picture of ``diagram``, with texts as wide as ``text_width`` says."""
    inside = _draw_diagram(diagram, text_width, rankdir, colours)
    return Picture(
        inside.width + 2 * theme.MARGIN,
        inside.height + 2 * theme.MARGIN,
        tuple(moved(inside.marks, theme.MARGIN, theme.MARGIN)),
        colours.background,
    )


def _draw_diagram(diagram: Diagram, text_width: TextWidth, rankdir: str, colours: Theme) -> Picture:
    faces = []
    for box in diagram.boxes:
        if box.inner is None:
            faces.append(draw_layer(box, text_width, colours))
        else:
            inside = _draw_diagram(box.inner, text_width, rankdir, colours)
            faces.append(draw_frame(box, inside, text_width, colours))
    sizes = [(face.width, face.height) for face in faces]
    layout = arrange(sizes, diagram.links, rankdir)
    marks: list[Mark] = []
    for route in layout.routes:
        marks.extend(draw_arrow(route, layout.is_horizontal, colours.edge))
    for rectangle, face in zip(layout.boxes, faces, strict=True):
        marks.extend(moved(face.marks, rectangle.x, rectangle.y))
    width, height = layout.width, layout.height
    if diagram.note is not None:
        height += theme.NOTE_GAP
        for line in textwrap.wrap(diagram.note, theme.NOTE_LINE):
            note = text_mark(line, theme.NOTE_SIZE, colours.quiet_text, text_width)
            marks.extend(moved([note], 0, height + theme.NOTE_SIZE))
            width, height = max(width, note.width), height + theme.LINE_HEIGHT
    return Picture(width, height, tuple(marks))


def arrange(sizes: Sequence[Size], links: Sequence[Link], rankdir: str) -> Layout:
    """Return where boxes of these sizes go: one below the other if nothing links them."""
    if not links:
        return list_boxes(sizes)
    edges = [(link.source, link.target) for link in links]
    return lay_out(sizes, edges, rankdir, [link.tensor for link in links])
