"""Pictures as PNG, drawn by Pillow with the font that it brings along.

The sheet is drawn in bands of rows, which are compressed as they are made, so that memory does not grow with
its height. A band is drawn three times as large and shrunk, which smooths lines and spaces letters evenly.

PNG: W3C Portable Network Graphics specification, chapters 5 (chunks), 9 (filters), 11 (IHDR, pHYs, IDAT).
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from befit._internal.optional import require
from befit.errors import ArgumentError
from befit.graph.draw.marks import Picture, Shape, Step, Text
from befit.graph.layout import Point

PIXELS_PER_UNIT_DPI = 96
MOST_PIXELS = 300_000_000
PIXELS_PER_BAND = 1_000_000
SMOOTHING = 3
MOST_STAMPS = 500
INCHES_PER_METRE = 39.3701


# What Pillow's font has no picture of, but something like it.
_SIMILAR = str.maketrans(
    {"\N{MULTIPLICATION SIGN}": "x", "\N{HORIZONTAL ELLIPSIS}": "...", "\N{EM DASH}": "-"}
)


class PngFont:
    """Pillow's own font at a resolution; needs no font on the machine."""

    def __init__(self, dpi: float) -> None:
        self.scale = dpi / PIXELS_PER_UNIT_DPI
        self._pillow, self._image, self._draw = (
            require(f"PIL.{name}", extra="plot", purpose="drawing a .png")
            for name in ("ImageFont", "Image", "ImageDraw")
        )
        self._fonts: dict[float, Any] = {}
        self._widths: dict[tuple[str, float], float] = {}
        self._stamps: dict[tuple[str, float], tuple[Any, int, int]] = {}

    def sized(self, size: float) -> Any:
        """Return the Pillow font for texts of ``size``."""
        if size not in self._fonts:
            pixels = max(size * self.scale * SMOOTHING, 1.0)  # smaller fonts Pillow does not have
            self._fonts[size] = self._pillow.load_default(size=pixels)
        return self._fonts[size]

    def width(self, text: str, size: float) -> float:
        """Return the width of ``text`` in the picture's unit."""
        if (text, size) not in self._widths:
            length = self.sized(size).getlength(text.translate(_SIMILAR))
            self._widths[text, size] = float(length) / (self.scale * SMOOTHING)
        return self._widths[text, size]

    def stamp(self, text: str, size: float) -> tuple[Any, int, int]:
        """Return the text as a mask, ``SMOOTHING`` times as large, and where its left upper corner goes.

        Shapes and headings stand in many boxes, so each is drawn once.
        """
        if (text, size) not in self._stamps:
            if len(self._stamps) == MOST_STAMPS:
                self._stamps.clear()
            shown = text.translate(_SIMILAR)
            left, top, right, bottom = self.sized(size).getbbox(shown, anchor="ls")
            mask = self._image.new("L", (max(right - left, 1), max(bottom - top, 1)))
            self._draw.Draw(mask).text((-left, -top), shown, fill=255, font=self.sized(size), anchor="ls")
            self._stamps[text, size] = (mask, left, top)
        return self._stamps[text, size]


def to_png(picture: Picture, font: PngFont, dpi: float) -> bytes:
    """Return ``picture`` as a PNG file with ``dpi`` pixels per inch.

    Raises:
        ArgumentError: it would have more than 300 million pixels.
    """
    width, height = math.ceil(picture.width * font.scale), math.ceil(picture.height * font.scale)
    if width * height > MOST_PIXELS:
        fitting = math.floor(dpi * math.sqrt(MOST_PIXELS / (width * height)))
        raise ArgumentError(
            f"at dpi={dpi:g} the picture would be {width} x {height} pixels, more than "
            f"{MOST_PIXELS // 10**6} million in all; write a .svg or .pdf file, or pass dpi={fitting}"
        )
    compressor = zlib.compressobj(3)  # a tenth larger than at 6, in half the time
    compressed = [compressor.compress(rows) for rows in _bands(picture, font, width, height)]
    compressed.append(compressor.flush())
    per_metre = round(dpi * INCHES_PER_METRE)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(
                b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
            ),  # 8 bits of red, green, blue
            _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)),
            _chunk(b"IDAT", b"".join(compressed)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _bands(picture: Picture, font: PngFont, width: int, height: int) -> Iterator[bytes]:
    """Yield the rows of pixels, from the top, each behind a zero for "no filter"."""
    image_module = require("PIL.Image", extra="plot", purpose="drawing a .png")
    draw_module = require("PIL.ImageDraw", extra="plot", purpose="drawing a .png")
    scale = font.scale * SMOOTHING
    rows = max(1, min(height, PIXELS_PER_BAND // width))
    outlines = [_Outline(mark, scale) for mark in picture.marks if isinstance(mark, Shape)]
    texts = [mark for mark in picture.marks if isinstance(mark, Text)]
    for top in range(0, height, rows):
        count = min(rows, height - top)
        large = image_module.new("RGB", (width * SMOOTHING, count * SMOOTHING), picture.background)
        pen = draw_module.Draw(large)
        for outline in outlines:
            if outline.top <= (top + count) * SMOOTHING and outline.bottom >= top * SMOOTHING:
                outline.paint(pen, top * SMOOTHING)
        for text in texts:
            x, y = round((text.x + 0.5) * scale), round((text.y + 0.5) * scale) - top * SMOOTHING
            if abs(y - large.height / 2) <= large.height / 2 + 2 * text.size * scale:
                stamp, left, above = font.stamp(text.text, text.size)
                large.paste(text.colour, (x + left, y + above), stamp)
        band = large.reduce(SMOOTHING)
        data = band.tobytes()
        stride = width * 3
        yield b"".join(b"\0" + data[start : start + stride] for start in range(0, len(data), stride))


class _Outline:
    """A shape as a polygon or a line in the pixels of the large image."""

    def __init__(self, shape: Shape, scale: float) -> None:
        self._shape = shape
        self._width = max(1, round(shape.stroke_width * scale))
        points = [shape.start]
        for step in shape.steps:
            points.extend(_flat(points[-1], step, scale))
        if shape.is_closed:
            points.append(shape.start)
        # A line one unit wide at a whole coordinate is to fill the pixels of one unit: hence the halves.
        # Whole numbers because Pillow cuts off fractions, which would move what begins above a band.
        self._points = [(round((x + 0.5) * scale - 0.5), round((y + 0.5) * scale - 0.5)) for x, y in points]
        ordinates = [y for _, y in self._points]
        self.top = min(ordinates) - self._width
        self.bottom = max(ordinates) + self._width

    def paint(self, pen: Any, top: int) -> None:
        """Paint the shape on a band that begins at row ``top``."""
        points = [(x, y - top) for x, y in self._points]
        if self._shape.fill is not None:
            pen.polygon(points, fill=self._shape.fill)
        if self._shape.stroke is not None:
            pen.line(points, fill=self._shape.stroke, width=self._width, joint="curve")


def _flat(start: Point, step: Step, scale: float) -> list[Point]:
    """Return the points of a line or, every few pixels, of a curve."""
    if len(step) == 1:
        return [step[0]]
    first, second, end = step
    count = min(max(4, math.ceil(math.dist(start, end) * scale / 8)), 64)
    points = []
    for number in range(1, count + 1):
        t = number / count
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
        points.append(
            (
                a * start[0] + b * first[0] + c * second[0] + d * end[0],
                a * start[1] + b * first[1] + c * second[1] + d * end[1],
            )
        )
    return points
