"""Pictures as PDF: one page of the picture's size, in Helvetica, which every PDF reader has.

ISO 32000-1: objects (7.3), cross-reference table (7.5.4), painting (8.5), text (9.4), WinAnsi (annex D).
"""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections.abc import Sequence

from befit.graph.draw.marks import Picture, Shape, Text
from befit.graph.fonts import helvetica_width

POINTS_PER_PIXEL = 0.75
LONGEST_PAGE = 14400
"""In the page's unit; readers take no more. Larger pages have a larger unit (``UserUnit``)."""


def to_pdf(picture: Picture, title: str) -> bytes:
    """Return ``picture`` as a PDF file."""
    width, height = picture.width * POINTS_PER_PIXEL, picture.height * POINTS_PER_PIXEL
    unit = max(1, math.ceil(max(width, height) / LONGEST_PAGE))
    scale = POINTS_PER_PIXEL / unit
    content = [f"{_number(scale)} 0 0 {_number(-scale)} 0 {_number(height / unit)} cm".encode()]
    content.append(
        f"{_colour(picture.background)} rg 0 0 {_point((picture.width, picture.height))} re f".encode()
    )
    for mark in picture.marks:
        content.append(_text(mark) if isinstance(mark, Text) else _shape(mark))
    stream = zlib.compress(b"\n".join(content))
    page = (
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_number(width / unit)} {_number(height / unit)}] "
        f"/UserUnit {unit} /Contents 4 0 R /Resources << /Font << /F 5 0 R >> >> >>"
    )
    return _file(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            page.encode(),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            # Outside of page content, text is big-endian UTF-16 with a byte order mark.
            b"<< /Title <feff%s> /Producer (befit) >>" % title.encode("utf-16-be").hex().encode(),
        ]
    )


def pdf_width(text: str, size: float) -> float:
    """Return the width of ``text`` as it stands in the file."""
    return helvetica_width(_encode(text).decode("cp1252"), size)


def _encode(text: str) -> bytes:
    """Return ``text`` in WinAnsi: letters lose accents that it lacks, other characters become ``?``."""
    encoded = bytearray()
    for character in text:
        try:
            encoded += character.encode("cp1252")
        except UnicodeEncodeError:
            encoded += unicodedata.normalize("NFD", character)[0].encode("cp1252", "replace")
    return bytes(encoded)


def _file(objects: Sequence[bytes]) -> bytes:
    """Return a file of these objects, numbered from 1: the catalogue first, the information last."""
    data = bytearray(b"%PDF-1.6\n%\xe2\xe3\xcf\xd3\n")  # the second line marks the file as binary
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        data += b"%010d 00000 n \n" % offset
    data += b"trailer\n<< /Size %d /Root 1 0 R /Info %d 0 R >>\n" % (len(objects) + 1, len(objects))
    data += b"startxref\n%d\n%%%%EOF\n" % start
    return bytes(data)


def _shape(shape: Shape) -> bytes:
    operators = []
    if shape.fill is not None:
        operators.append(f"{_colour(shape.fill)} rg")
    if shape.stroke is not None:
        operators.append(f"{_colour(shape.stroke)} RG {_number(shape.stroke_width)} w")
    operators.append(f"{_point(shape.start)} m")
    for step in shape.steps:
        operators.append(" ".join(_point(point) for point in step) + (" l" if len(step) == 1 else " c"))
    if shape.is_closed:
        operators.append("h")
    operators.append("B" if shape.fill and shape.stroke else "f" if shape.fill else "S")
    return "\n".join(operators).encode()


def _text(text: Text) -> bytes:
    """Return the text, turned over, as the page's y grows upwards and the picture's downwards."""
    place = f"{_colour(text.colour)} rg BT /F {_number(text.size)} Tf 1 0 0 -1 {_point((text.x, text.y))} Tm"
    characters = _encode(text.text)
    for special in (b"\\", b"(", b")"):
        characters = characters.replace(special, b"\\" + special)
    return b"%s (%s) Tj ET" % (place.encode(), characters)


def _colour(colour: str) -> str:
    return " ".join(_number(channel / 255) for channel in bytes.fromhex(colour.removeprefix("#")))


def _point(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
