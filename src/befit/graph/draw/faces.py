"""What one box looks like, drawn at ``(0, 0)``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from befit.graph.diagram import Box, Row
from befit.graph.draw import theme
from befit.graph.draw.marks import Mark, Picture, Shape, line, moved, rounded, text_mark
from befit.graph.draw.theme import LIGHT, Colours, Theme
from befit.graph.fonts import TextWidth


def draw_layer(box: Box, text_width: TextWidth, colours: Theme = LIGHT) -> Picture:
    """Return the box of a layer: its title, and below it the rows as a table; of a chain, all titles."""
    table = _Table(box.rows, text_width, colours)
    bands = _Bands(box.parts or (box,), text_width, colours, is_single=not box.parts)
    width = even(max(bands.width, table.width))
    header = bands.band_height(has_table=bool(box.rows))
    height = header * len(bands.boxes) + table.height
    border = bands.colours_of(bands.boxes[0] if len(bands.boxes) == 1 else box).border

    start, steps = rounded(width, height, theme.RADIUS)
    marks: list[Mark] = [Shape(start, steps, fill=colours.background)]
    marks += bands.draw(width, header, is_closed=not box.rows)
    marks += moved(table.draw(width, border), 0, header * len(bands.boxes))
    marks.append(Shape(start, steps, stroke=border, stroke_width=theme.BORDER_WIDTH, is_closed=True))
    return Picture(width, height, tuple(marks))


def draw_frame(box: Box, inside: Picture, text_width: TextWidth, colours: Theme = LIGHT) -> Picture:
    """Return the frame of a nested model around the picture of what is inside."""
    title = text_mark(box.title, theme.TITLE_SIZE, colours.text, text_width)
    width = even(max(inside.width, title.width) + 2 * theme.FRAME_PADDING)
    height = even(theme.FRAME_HEADER + inside.height + theme.FRAME_PADDING)
    start, steps = rounded(width, height, theme.FRAME_RADIUS)
    fill, border = colours.frame.fill, colours.frame.border
    frame = Shape(start, steps, fill, border, theme.BORDER_WIDTH, is_closed=True)
    return Picture(
        width,
        height,
        (
            frame,
            *moved([title], theme.FRAME_PADDING, baseline(0, theme.FRAME_HEADER, title.size)),
            *moved(inside.marks, round((width - inside.width) / 2), theme.FRAME_HEADER),
        ),
    )


class _Bands:
    """The titles of a box on their colours; those of a chain below each other, and how often they repeat."""

    def __init__(
        self, parts: Sequence[Box], text_width: TextWidth, colours: Theme, *, is_single: bool
    ) -> None:
        self._colours = colours
        self._is_single = is_single
        self.boxes: list[Box] = []
        repeats: list[tuple[int, int, int]] = []  # first band, number of bands, times
        for part in parts:
            members = part.parts or (part,)
            if part.times > 1:
                repeats.append((len(self.boxes), len(members), part.times))
            self.boxes.extend(members)
        self._titles = [
            text_mark(box.title, theme.TITLE_SIZE, colours.text, text_width) for box in self.boxes
        ]
        self._repeats = [
            (
                first,
                count,
                text_mark(f"\N{MULTIPLICATION SIGN}{times:,}", theme.ROW_SIZE, colours.text, text_width),
            )
            for first, count, times in repeats
        ]
        self.width = max(title.width for title in self._titles) + 2 * theme.SIDE_PADDING
        self._brace = self.width - theme.SIDE_PADDING + theme.BRACE_GAP
        if self._repeats:
            label = max(text.width for _, _, text in self._repeats)
            self.width = self._brace + theme.BRACE_WIDTH + theme.BRACE_GAP + label + theme.CELL_PADDING

    def band_height(self, *, has_table: bool) -> float:
        """Return the height of each title's band."""
        if len(self.boxes) > 1:
            return theme.BAND_HEIGHT
        return theme.HEADER_HEIGHT if has_table else theme.BOX_HEIGHT

    def colours_of(self, box: Box) -> Colours:
        """Return what a band is coloured with."""
        return self._colours.frozen if box.is_frozen else self._colours.box(box.kind)

    def draw(self, width: float, height: float, *, is_closed: bool) -> list[Mark]:
        """Return the bands, the first with round corners above, the last below if nothing follows."""
        marks: list[Mark] = []
        last = len(self.boxes) - 1
        for number, (box, title) in enumerate(zip(self.boxes, self._titles, strict=True)):
            outline = rounded(
                width, height, theme.RADIUS, upper=number == 0, lower=is_closed and number == last
            )
            band: list[Mark] = [Shape(*outline, fill=self.colours_of(box).fill)]
            if number:
                border = self._colours.box("model").border
                band.append(line((0, 0), (width, 0), border, theme.DIVIDER_WIDTH / 2))
            left = (width - title.width) / 2 if self._is_single else theme.SIDE_PADDING
            band += moved([title], left, baseline(0, height, title.size))
            marks += moved(band, 0, number * height)
        shift = width - self.width  # a wide table below leaves room to the left of the braces
        for first, count, label in self._repeats:
            top, bottom = first * height + 4, (first + count) * height - 4
            left, right = self._brace + shift, self._brace + shift + theme.BRACE_WIDTH
            brace = (((right, top),), ((right, bottom),), ((left, bottom),))
            marks.append(Shape((left, top), brace, stroke=self._colours.quiet_text, stroke_width=1.0))
            middle = baseline(top, bottom, label.size)
            marks += moved([label], right + theme.BRACE_GAP, middle)
        return marks


class _Table:
    """Headings and, for each tensor, what they say."""

    def __init__(self, rows: Sequence[Row], text_width: TextWidth, colours: Theme) -> None:
        self._headings = [text_mark(r.heading, theme.ROW_SIZE, colours.quiet_text, text_width) for r in rows]
        self._values = [
            [text_mark(value, theme.ROW_SIZE, colours.text, text_width) for value in row.values]
            for row in rows
        ]
        headings = max((heading.width for heading in self._headings), default=0)
        values = max((value.width for row in self._values for value in row), default=0)
        self._column = headings + 2 * theme.CELL_PADDING
        self.width = self._column + values + theme.CELL_PADDING if rows else 0.0
        self.height = sum(row_height(len(row)) for row in self._values)

    def draw(self, width: float, border: str) -> list[Mark]:
        """Return the rows, each with a line above it."""
        marks: list[Mark] = []
        top = 0.0
        for heading, row in zip(self._headings, self._values, strict=True):
            marks.append(line((0, top), (width, top), border, theme.DIVIDER_WIDTH))
            bottom = top + row_height(len(row))
            marks.extend(moved([heading], theme.CELL_PADDING, baseline(top, bottom, heading.size)))
            for number, value in enumerate(row):
                line_top = top + theme.ROW_PADDING + number * theme.LINE_HEIGHT
                below = baseline(line_top, line_top + theme.LINE_HEIGHT, value.size)
                marks.extend(moved([value], self._column, below))
            top = bottom
        return marks


def row_height(lines: int) -> float:
    """Return the height of a row of so many lines."""
    return lines * theme.LINE_HEIGHT + 2 * theme.ROW_PADDING


def baseline(top: float, bottom: float, size: float) -> float:
    """Return the baseline of a text in the middle between ``top`` and ``bottom``: capitals are 0.72 high."""
    return (top + bottom) / 2 + 0.36 * size


def even(width: float) -> float:
    """Return the next even number, so that the middle of a box lies on a whole pixel."""
    return 2 * math.ceil(width / 2)
