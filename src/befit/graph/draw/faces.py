"""What one box looks like, drawn at ``(0, 0)``."""

from __future__ import annotations

import math

from befit.graph.diagram import Box
from befit.graph.draw import theme
from befit.graph.draw.marks import Mark, Picture, Shape, line, moved, rounded, text_mark
from befit.graph.fonts import TextWidth


def draw_layer(box: Box, text_width: TextWidth) -> Picture:
    """Return the box of a layer: its title, and below it the rows as a table."""
    colours = theme.COLOURS[box.kind]
    title = text_mark(box.title, theme.TITLE_SIZE, theme.TEXT, text_width)
    headings = [text_mark(row.heading, theme.ROW_SIZE, theme.QUIET_TEXT, text_width) for row in box.rows]
    values = [
        [text_mark(value, theme.ROW_SIZE, theme.TEXT, text_width) for value in row.values] for row in box.rows
    ]
    column = theme.CELL_PADDING + max((heading.width for heading in headings), default=0) + theme.CELL_PADDING
    table_width = (
        column + max((value.width for row in values for value in row), default=0) + theme.CELL_PADDING
    )
    width = _even(max(title.width + 2 * theme.SIDE_PADDING, table_width if box.rows else 0))
    header = theme.HEADER_HEIGHT if box.rows else theme.BOX_HEIGHT
    height = header + sum(_row_height(len(row)) for row in values)

    start, steps = rounded(width, height, theme.RADIUS)
    marks: list[Mark] = [Shape(start, steps, fill=theme.BACKGROUND if box.rows else colours.fill)]
    if box.rows:
        marks.append(Shape(*rounded(width, header, theme.RADIUS, only_upper=True), fill=colours.fill))
    texts = moved([title], (width - title.width) / 2, _baseline(0, header, title.size))
    top = header
    for heading, row in zip(headings, values, strict=True):
        marks.append(line((0, top), (width, top), colours.border, theme.DIVIDER_WIDTH))
        bottom = top + _row_height(len(row))
        texts.extend(moved([heading], theme.CELL_PADDING, _baseline(top, bottom, heading.size)))
        for number, value in enumerate(row):
            line_top = top + theme.ROW_PADDING + number * theme.LINE_HEIGHT
            baseline = _baseline(line_top, line_top + theme.LINE_HEIGHT, value.size)
            texts.extend(moved([value], column, baseline))
        top = bottom
    marks.append(Shape(start, steps, stroke=colours.border, stroke_width=theme.BORDER_WIDTH, is_closed=True))
    return Picture(width, height, (*marks, *texts))


def draw_frame(box: Box, inside: Picture, text_width: TextWidth) -> Picture:
    """Return the frame of a nested model around the picture of what is inside."""
    title = text_mark(box.title, theme.TITLE_SIZE, theme.TEXT, text_width)
    width = _even(max(inside.width, title.width) + 2 * theme.FRAME_PADDING)
    height = _even(theme.FRAME_HEADER + inside.height + theme.FRAME_PADDING)
    start, steps = rounded(width, height, theme.FRAME_RADIUS)
    frame = Shape(start, steps, theme.FRAME_FILL, theme.FRAME_BORDER, theme.BORDER_WIDTH, is_closed=True)
    return Picture(
        width,
        height,
        (
            frame,
            *moved([title], theme.FRAME_PADDING, _baseline(0, theme.FRAME_HEADER, title.size)),
            *moved(inside.marks, round((width - inside.width) / 2), theme.FRAME_HEADER),
        ),
    )


def _row_height(lines: int) -> float:
    return lines * theme.LINE_HEIGHT + 2 * theme.ROW_PADDING


def _baseline(top: float, bottom: float, size: float) -> float:
    """Return the baseline of a text in the middle between ``top`` and ``bottom``: capitals are 0.72 high."""
    return (top + bottom) / 2 + 0.36 * size


def _even(width: float) -> float:
    """Return the next even number, so that the middle of a box lies on a whole pixel."""
    return 2 * math.ceil(width / 2)
