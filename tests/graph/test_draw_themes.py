"""Colours: readable in every theme, and the same in every format."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from befit.errors import ArgumentError
from befit.graph.diagram import Box, Diagram, Link
from befit.graph.draw import Picture, PngFont, Theme, draw, theme, to_dot, to_pdf, to_png, to_svg
from befit.graph.draw.marks import Shape
from befit.graph.draw.theme import Colours
from befit.graph.fonts import helvetica_width
from befit.graph.kinds import KINDS

ONE = Diagram("net", (Box("one", "dense"),), ())
INNER = Diagram("inner", (Box("deep", "dense"), Box("deeper", "dense")), (Link(0, 1, 0),))
NESTED = Diagram("net", (Box("x", "dense"), Box("encoder", "model", inner=INNER)), (Link(0, 1, 0),))


@pytest.mark.parametrize("colours", theme.THEMES.values(), ids=theme.THEMES)
def test_every_kind_has_colours_on_which_text_is_readable(colours: Theme) -> None:
    def luminance(colour: str) -> float:
        channels = [channel / 255 for channel in bytes.fromhex(colour[1:])]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        darker, lighter = sorted((luminance(one), luminance(other)))
        return (lighter + 0.05) / (darker + 0.05)

    assert set(colours.boxes) == set(KINDS)
    for pair in (*colours.boxes.values(), colours.frozen, colours.frame):
        assert contrast(pair.fill, colours.text) >= 7  # WCAG 2.2, level AAA
        assert contrast(pair.border, colours.background) >= 2
    assert contrast(colours.background, colours.text) >= 7
    assert contrast(colours.background, colours.quiet_text) >= 4.5  # level AA
    assert contrast(colours.background, colours.edge) >= 3


def test_a_kind_without_colours_looks_like_other_layers() -> None:
    own = replace(theme.LIGHT, boxes={"other": Colours("#101112", "#202122")})
    picture = draw(Diagram("net", (Box("t", "dense"),), ()), helvetica_width, "TB", own)
    assert "#101112" in {mark.fill for mark in picture.marks if isinstance(mark, Shape)}


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "#1234567", "#123456 ", None, 0xFF0000])
def test_a_colour_that_not_every_format_knows_is_an_error(colour: Any) -> None:
    with pytest.raises(ArgumentError, match="#rrggbb"):
        Colours(colour, "#000000")
    with pytest.raises(ArgumentError, match="edge"):
        replace(theme.LIGHT, edge=colour)


def test_a_theme_needs_colours_for_other_layers() -> None:
    with pytest.raises(ArgumentError, match="'other'"):
        replace(theme.LIGHT, boxes={})


def test_a_theme_of_something_else_than_pairs_of_colours_is_an_error() -> None:
    for name in ("frozen", "frame"):
        with pytest.raises(ArgumentError, match=f"{name}='#123456'.*Colours"):
            replace(theme.LIGHT, **{name: "#123456"})
    with pytest.raises(ArgumentError, match=r"boxes\['dense'\]='#123456'.*Colours"):
        replace(theme.LIGHT, boxes={**theme.LIGHT.boxes, "dense": "#123456"})
    with pytest.raises(ArgumentError, match=r"'conv'.*convolution"):
        replace(theme.LIGHT, boxes={**theme.LIGHT.boxes, "conv": theme.LIGHT.frozen})


def test_frozen_layers_have_a_colour_of_their_own() -> None:
    picture = draw(Diagram("net", (Box("t", "dense", is_frozen=True),), ()), helvetica_width, "TB")
    fills = {mark.fill for mark in picture.marks if isinstance(mark, Shape)}
    assert theme.LIGHT.frozen.fill in fills
    assert theme.LIGHT.box("dense").fill not in fills


def test_dot_has_the_colours_of_a_theme_if_asked_for() -> None:
    source = to_dot(NESTED, "TB", theme.DARK)
    assert source.count(theme.DARK.box("dense").fill) == 3
    for colour in (theme.DARK.background, theme.DARK.edge, theme.DARK.text, theme.DARK.frame.fill):
        assert colour in source


@pytest.mark.parametrize("write", [lambda p: to_svg(p, "n"), lambda p: to_pdf(p, "n")])
def test_a_dark_picture_is_dark_in_every_format(write: Callable[[Picture], bytes]) -> None:
    picture = draw(ONE, helvetica_width, "TB", theme.DARK)
    written = write(picture)
    if written.startswith(b"%PDF"):
        content = zlib.decompress(written.split(b"stream\n")[1])
        sheet = f"0 0 {picture.width:g} {picture.height:g} re f".encode()
        assert content.splitlines()[1] == b"0.0784 0.0902 0.1098 rg " + sheet
    else:
        assert f'fill="{theme.DARK.background}"/>'.encode() in written


def test_a_dark_png_is_dark() -> None:
    font = PngFont(96)
    picture = draw(ONE, font.width, "TB", theme.DARK)
    with Image.open(io.BytesIO(to_png(picture, font, 96))) as image:
        assert image.getpixel((0, 0)) == (0x14, 0x17, 0x1C)
