"""Pictures, and each format they are written in, read back by somebody else's code where there is some."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from PIL import Image

from befit.errors import ArgumentError
from befit.graph.diagram import Box, Diagram, Link, Row
from befit.graph.draw import Picture, PngFont, draw, pdf_width, theme, to_dot, to_pdf, to_png, to_svg
from befit.graph.draw.marks import Shape, Text
from befit.graph.fonts import helvetica_width

SVG = "{http://www.w3.org/2000/svg}"
STRANGE = 'a<b>&"c" \\{x|y}\\'


def box(title: str, inner: Diagram | None = None) -> Box:
    return Box(title, "dense", (Row("input:", ("(None, 8)",)), Row("output:", ("(None, 4)",))), inner)


def chain(*titles: str) -> Diagram:
    links = tuple(Link(index, index + 1, index) for index in range(len(titles) - 1))
    return Diagram("net", tuple(map(box, titles)), links)


NESTED = Diagram(
    "net", (box("x"), box("encoder", chain("deep", "deeper")), box("y")), (Link(0, 1, 0), Link(1, 2, 1))
)


def texts(picture: Picture) -> list[Text]:
    return [mark for mark in picture.marks if isinstance(mark, Text)]


def extent(shape: Shape) -> tuple[float, float, float, float]:
    points = [shape.start, *(point for step in shape.steps for point in step)]
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


# Pictures


@pytest.mark.parametrize("rankdir", ["TB", "LR"])
@pytest.mark.parametrize("diagram", [chain("one", "two", "three"), NESTED])
def test_texts_fit_in_a_box_and_everything_on_the_sheet(diagram: Diagram, rankdir: str) -> None:
    picture = draw(diagram, helvetica_width, rankdir)
    boxes = [extent(mark) for mark in picture.marks if isinstance(mark, Shape) and mark.fill]
    for left, top, right, bottom in boxes:
        assert left >= 0 and top >= 0 and right <= picture.width and bottom <= picture.height  # noqa: PT018
    for text in texts(picture):
        assert any(
            left < text.x and text.x + text.width < right and top < text.y < bottom
            for left, top, right, bottom in boxes
        )


def test_each_title_stands_there_once() -> None:
    shown = Counter(text.text for text in texts(draw(NESTED, helvetica_width, "TB")))
    assert all(shown[title] == 1 for title in ("x", "encoder", "deep", "deeper", "y"))


def test_the_layers_of_a_nested_model_are_inside_its_frame() -> None:
    picture = draw(NESTED, helvetica_width, "TB")
    (frame,) = [
        mark for mark in picture.marks if isinstance(mark, Shape) and mark.fill == theme.LIGHT.frame.fill
    ]
    left, top, right, bottom = extent(frame)
    inside = {text.text for text in texts(picture) if left < text.x < right and top < text.y < bottom}
    assert {"encoder", "deep", "deeper"} <= inside
    assert not {"x", "y"} & inside


def test_every_link_has_an_arrowhead_on_the_border_of_its_target() -> None:
    picture = draw(chain("one", "two"), helvetica_width, "TB")
    (head,) = [mark for mark in picture.marks if isinstance(mark, Shape) and mark.fill == theme.LIGHT.edge]
    faces = [extent(mark) for mark in picture.marks if isinstance(mark, Shape) and mark.stroke_width == 1.0]
    assert head.start[1] == max(top for _, top, _, _ in faces)


def test_a_note_is_wrapped_below_the_boxes() -> None:
    picture = draw(replace(chain("one"), note="word " * 60), helvetica_width, "TB")
    notes = [text for text in texts(picture) if text.text.startswith("word")]
    assert len(notes) > 1
    assert " ".join(text.text for text in notes) == ("word " * 60).strip()
    assert min(note.y for note in notes) > max(text.y for text in texts(picture) if text not in notes)
    assert picture.height > max(note.y for note in notes)


CHAIN = Box(
    "",
    "other",
    (Row("input:", ("(None, 8)",)),),
    parts=(
        Box("first", "dense"),
        Box("", "other", parts=(Box("left", "pooling"), Box("right", "merge")), times=12),
        Box("same", "dense", times=1000),
    ),
)


def test_a_chain_lists_its_layers_in_their_colours_and_how_often_they_repeat() -> None:
    picture = draw(Diagram("net", (CHAIN,), ()), helvetica_width, "TB")
    shown = {text.text: text for text in texts(picture)}
    assert list(shown)[:4] == ["first", "left", "right", "same"]
    assert [shown[name].y for name in ("first", "left", "right", "same")] == sorted(
        shown[name].y for name in ("first", "left", "right", "same")
    )
    fills = [mark.fill for mark in picture.marks if isinstance(mark, Shape)]
    kinds = ("dense", "pooling", "merge", "dense")
    assert [fill for fill in fills if fill in {theme.LIGHT.box(kind).fill for kind in kinds}] == [
        theme.LIGHT.box(kind).fill for kind in kinds
    ]
    twelve, thousand = shown["\N{MULTIPLICATION SIGN}12"], shown["\N{MULTIPLICATION SIGN}1,000"]
    assert shown["left"].y < twelve.y < shown["right"].y
    assert thousand.y == pytest.approx(shown["same"].y, abs=1)
    for count in (twelve, thousand):
        assert count.x > max(shown[name].x + shown[name].width for name in ("first", "left", "right", "same"))
        assert count.x + count.width < picture.width - theme.MARGIN


def test_dot_lists_the_layers_of_a_chain() -> None:
    (label,) = labels(to_dot(Diagram("net", (CHAIN,), ()), "TB"))
    lines = r"first\nleft\nright (these 2 \N{MULTIPLICATION SIGN}12)\nsame \N{MULTIPLICATION SIGN}1,000"
    assert label == lines.replace(r"\N{MULTIPLICATION SIGN}", "\N{MULTIPLICATION SIGN}") + (
        r"\n|{input:}|{{(None, 8)}}"
    )


def test_png_draws_something_alike_for_what_its_font_lacks() -> None:
    font = PngFont(96)
    assert font.width("2 \N{MULTIPLICATION SIGN} 3", 13) == font.width("2 x 3", 13)
    stamps = [font.stamp(text, 13)[0].tobytes() for text in ("\N{MULTIPLICATION SIGN}4", "x4")]
    assert stamps[0] == stamps[1]


# SVG


def test_svg_is_xml_that_holds_each_label_once() -> None:
    diagram = chain(STRANGE, "plain")
    picture = draw(diagram, helvetica_width, "TB")
    root = ElementTree.fromstring(to_svg(picture, STRANGE))
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title") == STRANGE
    shown = Counter(text.text for text in root.iter(f"{SVG}text"))
    assert shown[STRANGE] == shown["plain"] == 1
    assert shown["(None, 8)"] == 2


def test_svg_texts_say_how_wide_they_are_so_that_no_font_overflows() -> None:
    picture = draw(chain("one"), helvetica_width, "TB")
    root = ElementTree.fromstring(to_svg(picture, "net"))
    widths = {element.text: float(element.get("textLength", 0)) for element in root.iter(f"{SVG}text")}
    assert widths["one"] == pytest.approx(helvetica_width("one", theme.TITLE_SIZE), abs=0.01)


def test_svg_has_the_size_of_the_picture() -> None:
    picture = draw(chain("one", "two"), helvetica_width, "TB")
    root = ElementTree.fromstring(to_svg(picture, "net"))
    assert (float(root.get("width", 0)), float(root.get("height", 0))) == (picture.width, picture.height)


# PDF


def objects_of(data: bytes) -> dict[int, bytes]:
    """The objects of a file, found as readers find them: from the end, by the cross-reference table."""
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data).group(1))  # type: ignore[union-attr]
    table = data[start:].split(b"\n")
    assert table[0] == b"xref"
    first, count = map(int, table[1].split())
    assert first == 0
    assert table[2] == b"0000000000 65535 f "
    found = {}
    for number in range(1, count):
        line = table[2 + number]
        assert re.fullmatch(rb"\d{10} 00000 n ", line)
        offset = int(line[:10])
        head = b"%d 0 obj\n" % number
        assert data[offset : offset + len(head)] == head
        found[number] = data[offset + len(head) : data.index(b"\nendobj\n", offset)]
    return found


def content_of(data: bytes) -> bytes:
    (stream,) = [body for body in objects_of(data).values() if b"stream\n" in body]
    length = int(re.search(rb"/Length (\d+)", stream).group(1))  # type: ignore[union-attr]
    packed = stream.split(b"stream\n", 1)[1].removesuffix(b"\nendstream")
    assert len(packed) == length
    return zlib.decompress(packed)


def test_pdf_has_a_header_and_a_cross_reference_table_that_finds_every_object() -> None:
    data = to_pdf(draw(chain("one", "two"), pdf_width, "TB"), "net")
    assert data.startswith(b"%PDF-1.6\n")
    objects = objects_of(data)
    trailer = data[data.rindex(b"trailer") :]
    assert b"/Size %d " % (len(objects) + 1) in trailer
    assert b"/Root 1 0 R" in trailer
    assert b"/Catalog" in objects[1]
    references = {int(number) for body in objects.values() for number in re.findall(rb"(\d+) 0 R", body)}
    assert references <= set(objects)


def test_pdf_page_has_the_size_of_the_picture_in_points() -> None:
    picture = draw(chain("one", "two"), pdf_width, "TB")
    (page,) = [body for body in objects_of(to_pdf(picture, "net")).values() if b"/MediaBox" in body]
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", page).groups()  # type: ignore[union-attr]
    assert [float(side) for side in box] == pytest.approx([picture.width * 0.75, picture.height * 0.75])


def test_a_very_long_pdf_page_has_a_larger_unit() -> None:
    picture = Picture(100.0, 60_000.0, ())
    (page,) = [body for body in objects_of(to_pdf(picture, "net")).values() if b"/MediaBox" in body]
    unit = int(re.search(rb"/UserUnit (\d+)", page).group(1))  # type: ignore[union-attr]
    height = float(re.search(rb"/MediaBox \[0 0 [\d.]+ ([\d.]+)\]", page).group(1))  # type: ignore[union-attr]
    assert height <= 14_400
    assert unit * height == pytest.approx(45_000)


def test_pdf_texts_are_escaped_and_in_winansi() -> None:
    content = content_of(to_pdf(draw(chain("(a\\b) caf\u00e9 \u0159 \u4e2d \u20ac"), pdf_width, "TB"), "net"))
    assert rb"(\(a\\b\) caf" + b"\xe9 r ? \x80) Tj" in content


def test_pdf_texts_are_measured_as_they_stand_in_the_file() -> None:
    assert pdf_width("\u4e2d", 10) == helvetica_width("?", 10)
    assert pdf_width("\u0159", 10) == helvetica_width("r", 10)


# PNG


def test_png_opens_with_the_size_and_resolution_asked_for() -> None:
    for dpi in (48, 96, 192):
        font = PngFont(dpi)
        picture = draw(chain("one", "two"), font.width, "TB")
        with Image.open(io.BytesIO(to_png(picture, font, dpi))) as image:
            image.load()
            assert image.format == "PNG"
            assert image.size == (-(-picture.width * dpi // 96), -(-picture.height * dpi // 96))
            assert image.info["dpi"] == pytest.approx((dpi, dpi), abs=0.02)


def test_png_shows_boxes_in_their_colours_on_white() -> None:
    font = PngFont(96)
    picture = draw(Diagram("net", (Box("t", "convolution"),), ()), font.width, "TB")
    with Image.open(io.BytesIO(to_png(picture, font, 96))) as image:
        assert image.getpixel((0, 0)) == (255, 255, 255)
        inside = (theme.MARGIN + 4, theme.MARGIN + 10)
        assert image.getpixel(inside) == tuple(bytes.fromhex(theme.COLOURS["convolution"].fill[1:]))
        darkest = min(image.convert("L").tobytes())
        assert darkest < 80  # the text


def test_png_bands_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture drawn in many bands is the picture drawn in one."""
    font = PngFont(96)
    picture = draw(NESTED, font.width, "TB")
    whole = to_png(picture, font, 96)
    monkeypatch.setattr("befit.graph.draw.png.PIXELS_PER_BAND", 7 * int(picture.width))
    with Image.open(io.BytesIO(whole)) as one, Image.open(io.BytesIO(to_png(picture, font, 96))) as many:
        assert one.tobytes() == many.tobytes()


def test_png_chunks_have_their_checksums() -> None:
    font = PngFont(96)
    data = to_png(draw(chain("one"), font.width, "TB"), font, 96)
    position, kinds = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position + 4 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(body),)
        kinds.append(body[:4])
        position += 12 + length
    assert kinds == [b"IHDR", b"pHYs", b"IDAT", b"IEND"]


def test_a_png_too_large_to_show_is_an_error_that_says_what_would_do() -> None:
    font = PngFont(96)
    with pytest.raises(ArgumentError, match=r"30000 x 30000 pixels.*\.svg or \.pdf.*dpi=55"):
        to_png(Picture(30_000, 30_000, ()), font, 96)


# DOT


def labels(source: str) -> list[str]:
    """The labels, as Graphviz unquotes them."""
    return [text.replace('\\"', '"') for text in re.findall(r'\[label="((?:[^"\\]|\\.)*)"\]', source)]


def test_dot_labels_are_records_as_keras_2_wrote_them() -> None:
    assert labels(to_dot(chain("one: Dense"), "TB")) == [
        r"one: Dense\n|{input:|output:}|{{(None, 8)}|{(None, 4)}}"
    ]


def test_dot_escapes_the_syntax_of_records_and_strings() -> None:
    (label,) = labels(to_dot(Diagram("net", (Box('{a}|<b>"c"\\', "dense"),), ()), "TB"))
    assert label == r'\{a\}\|\<b\>"c"\\'


def test_dot_has_an_edge_for_each_link_and_the_direction() -> None:
    source = to_dot(replace(chain("one", "two"), links=(Link(0, 1, 0), Link(0, 1, 0))), "LR")
    assert source.count("n0 -> n1;") == 2
    assert "rankdir=LR" in source


def test_dot_draws_nested_models_as_clusters_whose_edges_end_at_the_border() -> None:
    source = to_dot(NESTED, "TB")
    assert "subgraph cluster_n1 {" in source
    assert "n0 -> n1_0 [lhead=cluster_n1];" in source
    assert "n1_1 -> n2 [ltail=cluster_n1];" in source
    assert source.count("{") == source.count("}")


def test_dot_several_tensors_of_one_row_stand_in_brackets() -> None:
    joined = Box("add: Add", "merge", (Row("input:", ("(2,)", "(2,)")),))
    assert labels(to_dot(Diagram("net", (joined,), ()), "TB")) == [r"add: Add\n|{input:}|{{[(2,), (2,)]}}"]


def test_dot_keeps_the_note() -> None:
    assert 'label="not known"' in to_dot(replace(chain("one"), note="not known"), "TB")


# Fonts


def test_helvetica_has_the_widths_of_adobes_metrics() -> None:
    assert helvetica_width("The quick brown fox", 1000) == sum(
        [611, 556, 556, 278, 556, 556, 222, 500, 500, 278, 556, 333, 556, 722, 556, 278, 278, 556, 500]
    )


def test_accents_take_no_room_and_wide_characters_do() -> None:
    assert helvetica_width("\u00e9", 10) == helvetica_width("e\u0301", 10) == helvetica_width("e", 10)
    assert helvetica_width("\u4e2d", 10) == 10
