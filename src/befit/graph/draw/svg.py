"""Pictures as SVG."""

from __future__ import annotations

from html import escape

from befit.graph.draw.marks import Picture, Shape, Text

FONTS = "Helvetica, Arial, 'Liberation Sans', sans-serif"


def to_svg(picture: Picture, title: str) -> bytes:
    """Return ``picture`` as an SVG file; one unit is one CSS pixel.

    Every text carries the width that it was measured as (``textLength``), so that it fits in any font.
    """
    width, height = _number(picture.width), _number(picture.height)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        # Half a pixel aside, lines one pixel wide at whole coordinates fill exactly one row of pixels.
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="-0.5 -0.5 {width} {height}" font-family="{FONTS}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect x="-0.5" y="-0.5" width="{width}" height="{height}" fill="{picture.background}"/>',
    ]
    for mark in picture.marks:
        lines.append(_text(mark) if isinstance(mark, Text) else _path(mark))
    lines.append("</svg>\n")
    return "\n".join(lines).encode()


def _path(shape: Shape) -> str:
    data = [f"M{_point(shape.start)}"]
    for step in shape.steps:
        data.append(("L" if len(step) == 1 else "C") + " ".join(_point(point) for point in step))
    if shape.is_closed:
        data.append("Z")
    attributes = f'd="{"".join(data)}" fill="{shape.fill or "none"}"'
    if shape.stroke is not None:
        attributes += f' stroke="{shape.stroke}" stroke-width="{_number(shape.stroke_width)}"'
    return f"<path {attributes}/>"


def _text(text: Text) -> str:
    return (
        f'<text x="{_number(text.x)}" y="{_number(text.y)}" font-size="{_number(text.size)}" '
        f'textLength="{_number(text.width)}" lengthAdjust="spacingAndGlyphs" fill="{text.colour}" '
        f'xml:space="preserve">{escape(text.text)}</text>'
    )


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.2f}".rstrip("0").rstrip(".")
