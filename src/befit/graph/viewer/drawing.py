"""The graph as inline SVG, in the state in which the viewer opens; colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from befit.graph.draw.arrows import curve
from befit.graph.draw.faces import baseline, row_height
from befit.graph.draw.theme import ARROW_LENGTH, LINE_HEIGHT, ROW_PADDING, ROW_SIZE, TITLE_SIZE
from befit.graph.fonts import helvetica_width
from befit.graph.layout import Layout, Point
from befit.graph.viewer import scene
from befit.graph.viewer.scene import Item, Level

MARGIN = 24.0
RADIUS = 6
BUTTON_SIZE = 18

OPEN_TITLE = (scene.FRAME_PADDING + scene.BUTTON_ROOM, baseline(0, scene.FRAME_HEADER, TITLE_SIZE))
"""Where the title of an open nested model begins."""

OPEN_BUTTON = (scene.FRAME_PADDING, (scene.FRAME_HEADER - BUTTON_SIZE) / 2)
"""The upper left corner of the button that closes it."""


def arrangement(level: Level, *, is_open: bool) -> Layout:
    """Return the layout of ``level`` in the state in which the viewer opens."""
    return level.opened if is_open and level.opened is not None else level.closed


def draw_svg(level: Level, title: str, *, is_open: bool) -> str:
    """Return an ``<svg>`` element: the whole model, nested models open or closed."""
    layout = arrangement(level, is_open=is_open)
    width, height = number(layout.width + 2 * MARGIN), number(layout.height + 2 * MARGIN)
    lines = [
        f'<svg id="stage" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="group" tabindex="0" '
        f'aria-label="{escape(title)}" aria-describedby="keys-hint">',
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 9 8" refX="1" refY="4" markerWidth="9" markerHeight="8" '
            'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0.6L9,4L0,7.4Z"/></marker>'
            for name in ("arrow", "arrow-lit")
        ),
        f'</defs><g id="view" transform="translate({_point((MARGIN, MARGIN))})">',
        *_level(level, is_open=is_open),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines)


def _level(level: Level, *, is_open: bool) -> Iterator[str]:
    layout = arrangement(level, is_open=is_open)
    yield '<g class="level"><g class="edges">'
    for route in layout.routes:
        yield f'<path class="edge" d="{edge_path(route, is_horizontal=layout.is_horizontal)}"/>'
    yield "</g>"
    for item, place in zip(level.items, layout.boxes, strict=True):
        yield from _item(item, (place.x, place.y), is_open=is_open)
    yield "</g>"


def _item(item: Item, at: Point, *, is_open: bool) -> Iterator[str]:
    is_open = is_open and item.inside is not None
    width, height = item.open_size if is_open else item.size
    classes = f"box k-{item.kind}" + " table" * bool(item.box.rows) + " open" * is_open
    yield f'<g class="{classes}" transform="translate({_point(at)})">'
    yield '<g class="face">'
    if item.box.rows:
        yield from _rows(item)
    yield f'<rect class="border" width="{number(width)}" height="{number(height)}" rx="{RADIUS}"/>'
    x, y = OPEN_TITLE if is_open else closed_title(item)
    yield _text("title", x, y, item.box.title, TITLE_SIZE)
    yield "</g>"
    if item.inside is not None:
        place = button_place(item, is_open=is_open)
        yield f'<g class="fold" aria-hidden="true" transform="translate({_point(place)})">'
        yield f'<rect width="{BUTTON_SIZE}" height="{BUTTON_SIZE}" rx="5"/>'
        yield '<path d="M5,9h8"/><path class="upright" d="M9,5v8"/></g>'
        inner = arrangement(item.inside, is_open=is_open)
        left = (item.open_size[0] - inner.width) / 2
        yield f'<g class="inside" transform="translate({_point((left, scene.FRAME_HEADER))})">'
        yield from _level(item.inside, is_open=is_open)
        yield "</g>"
    yield "</g>"


def button_place(item: Item, *, is_open: bool) -> Point:
    """Return the upper left corner of the button that opens or closes a nested model."""
    if is_open:
        return OPEN_BUTTON
    height = scene.HEADER_HEIGHT if item.box.rows else scene.BOX_HEIGHT
    return 8.0, (height - BUTTON_SIZE) / 2


def closed_title(item: Item) -> Point:
    """Return where the title of a closed box begins: the x, and the y of its baseline."""
    height = scene.HEADER_HEIGHT if item.box.rows else scene.BOX_HEIGHT
    room = scene.BUTTON_ROOM if item.inside else 0.0
    free = item.size[0] - room - helvetica_width(item.box.title, TITLE_SIZE)
    return room + free / 2, baseline(0, height, TITLE_SIZE)


def _rows(item: Item) -> Iterator[str]:
    """Yield the lower part of a box: headings, and what they say of each tensor."""
    top, column = scene.HEADER_HEIGHT, scene.value_column(item.box)
    width, height = number(item.size[0]), number(item.size[1])
    corner = f"a{RADIUS},{RADIUS} 0 0 1 {RADIUS},"
    yield f'<g class="rows"><rect class="paper" width="{width}" height="{height}" rx="{RADIUS}"/>'
    yield f'<path class="head" d="M0,{number(top)}V{RADIUS}{corner}-{RADIUS}'
    yield f'H{number(item.size[0] - RADIUS)}{corner}{RADIUS}V{number(top)}Z"/>'
    for row in item.box.rows:
        bottom = top + row_height(len(row.values))
        yield f'<path class="rule" d="M0,{number(top)}h{width}"/>'
        middle = baseline(top, bottom, ROW_SIZE)
        yield _text("heading", scene.CELL_PADDING, middle, row.heading, ROW_SIZE)
        for place, value in enumerate(row.values):
            line = top + ROW_PADDING + place * LINE_HEIGHT
            y = baseline(line, line + LINE_HEIGHT, ROW_SIZE)
            yield _text("value", column, y, value, ROW_SIZE)
        top = bottom
    yield "</g>"


def edge_path(route: tuple[Point, ...], *, is_horizontal: bool) -> str:
    """Return a smooth line along ``route`` that leaves room for the arrowhead; as ``folding.js`` does."""
    along = 0 if is_horizontal else 1
    tip, before = route[-1], route[-2]
    back = ARROW_LENGTH if tip[along] > before[along] else -ARROW_LENGTH
    end = (tip[0] - back, tip[1]) if is_horizontal else (tip[0], tip[1] - back)
    steps = curve((*route[:-1], end), is_horizontal)
    lines = (("L" if len(step) == 1 else "C") + " ".join(map(_point, step)) for step in steps)
    return f"M{_point(route[0])}{''.join(lines)}"


def _text(role: str, x: float, y: float, text: str, size: float) -> str:
    length = number(helvetica_width(text, size))
    return f'<text class="{role}" x="{number(x)}" y="{number(y)}" textLength="{length}">{escape(text)}</text>'


def _point(point: Point) -> str:
    return f"{number(point[0])},{number(point[1])}"


def number(value: float) -> str:
    """Return ``value`` with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
