"""What the viewer shows: numbered boxes in levels, each level laid out once closed and once opened up.

A level is the model itself, or what is inside a nested one. It is laid out with all its nested models closed
and, if there are any, with all of them open; the browser makes whatever lies between these two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from befit.graph.diagram import Box, Diagram, Link, Show, diagram, group_calls
from befit.graph.draw.faces import even, row_height
from befit.graph.draw.picture import arrange
from befit.graph.draw.theme import ROW_SIZE, TITLE_SIZE
from befit.graph.fonts import helvetica_width
from befit.graph.layout import Layout, Rectangle
from befit.graph.model_graph import Layer, ModelGraph, Node

# Where a box has more room than in a picture: it is pointed at.
BOX_HEIGHT = 30.0
HEADER_HEIGHT = 28.0
SIDE_PADDING = 14.0
CELL_PADDING = 10.0
BUTTON_ROOM = 26.0
"""What the button that opens a nested model takes of its title's line."""

FRAME_HEADER = 38.0
FRAME_PADDING = 18.0

Size = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Item:
    """One box, as one can point at it.

    Attributes:
        number: counts through all levels; a nested model comes before what is inside.
        parent: the number of the nested model that it is inside of, or -1.
        box: what it says.
        layer: what it stands for.
        calls: the calls that it stands for.
        size: of the box, closed.
        inside: what a nested model consists of.
    """

    number: int
    parent: int
    box: Box
    layer: Layer
    calls: tuple[Node, ...]
    size: Size
    inside: Level | None = None

    @property
    def kind(self) -> str:
        """What decides the colour: the sort of layer, or that it is not trained where that is shown."""
        return "frozen" if self.box.is_frozen else self.box.kind

    @property
    def open_size(self) -> Size:
        """The size of the box when it and everything inside is open."""
        if self.inside is None:
            return self.size
        arranged = self.inside.opened or self.inside.closed
        width = max(arranged.width + 2 * FRAME_PADDING, self.size[0])
        return even(width), FRAME_HEADER + arranged.height + FRAME_PADDING


@dataclass(frozen=True, slots=True)
class Level:
    """Boxes side by side, the links between them, and where everything is.

    Attributes:
        graph: what is shown.
        name: of it, on one line.
        items: the boxes.
        links: between them, by their place in ``items``.
        note: for those who look at it.
        closed: the layout with every nested model closed.
        opened: the layout with everything open, if there are nested models.
    """

    graph: ModelGraph
    name: str
    items: tuple[Item, ...]
    links: tuple[Link, ...]
    note: str | None
    closed: Layout
    opened: Layout | None

    def all_items(self) -> Iterator[Item]:
        """Yield every item here and further inside, in the order of their numbers."""
        for item in self.items:
            yield item
            if item.inside is not None:
                yield from item.inside.all_items()


def make_scene(graph: ModelGraph, show: Show, rankdir: str) -> Level:
    """Return ``graph`` as levels of boxes."""
    return _level(graph, diagram(graph, replace(show, nested=True)), rankdir, 0, -1)


def _level(graph: ModelGraph, drawn: Diagram, rankdir: str, number: int, parent: int) -> Level:
    items: list[Item] = []
    for box, (layer, calls) in zip(drawn.boxes, _contents(graph), strict=True):
        item = Item(number, parent, box, layer, calls, _closed_size(box))
        number += 1
        if box.inner is not None and layer.inner is not None:
            inside = _level(layer.inner, box.inner, rankdir, number, item.number)
            number += sum(1 for _ in inside.all_items())
            item = replace(item, inside=inside)
        items.append(item)
    closed = arrange([item.size for item in items], drawn.links, rankdir)
    opened = None
    if any(item.inside is not None for item in items):
        opened = arrange([item.open_size for item in items], drawn.links, rankdir)
    return Level(graph, drawn.name, tuple(items), drawn.links, drawn.note, closed, opened)


def _contents(graph: ModelGraph) -> list[tuple[Layer, tuple[Node, ...]]]:
    """Return for each box of the graph's diagram the layer and the calls that it stands for."""
    if not graph.is_traced and not graph.nodes:
        return [(layer, ()) for layer in graph.layers.values()]
    groups = [tuple(graph.nodes[index] for index in group) for group in group_calls(graph)]
    return [(graph.layer_of(calls[0]), calls) for calls in groups]


def _closed_size(box: Box) -> Size:
    title = helvetica_width(box.title, TITLE_SIZE) + 2 * SIDE_PADDING
    if box.inner is not None:
        title += BUTTON_ROOM
    if not box.rows:
        return even(title), BOX_HEIGHT
    values = max((helvetica_width(value, ROW_SIZE) for row in box.rows for value in row.values), default=0.0)
    height = HEADER_HEIGHT + sum(row_height(len(row.values)) for row in box.rows)
    return even(max(title, value_column(box) + values + CELL_PADDING)), height


def value_column(box: Box) -> float:
    """Return the x at which the values in the rows of ``box`` begin."""
    return max(helvetica_width(row.heading, ROW_SIZE) for row in box.rows) + 2 * CELL_PADDING


def rows_of(layout: Layout, links: Sequence[Link]) -> list[tuple[float, float]]:
    """Return for each box where the row that it stands in begins and ends, along the way of the data.

    Rows are those of one part of the graph that hangs together; the parts stand side by side.
    """
    part_of = list(range(len(layout.boxes)))

    def part(number: int) -> int:
        while part_of[number] != number:
            part_of[number] = part_of[part_of[number]]
            number = part_of[number]
        return number

    for link in links:
        part_of[part(link.target)] = part(link.source)
    spans = [_span(box, layout.is_horizontal) for box in layout.boxes]
    rows: list[tuple[list[int], float, float]] = []
    for number in sorted(range(len(spans)), key=lambda number: (part(number), spans[number])):
        start, end = spans[number]
        if rows and part(rows[-1][0][0]) == part(number) and start < rows[-1][2]:
            members, first, last = rows[-1]
            rows[-1] = ([*members, number], first, max(last, end))
        else:
            rows.append(([number], start, end))
    row_of = {number: (first, last) for members, first, last in rows for number in members}
    return [row_of[number] for number in range(len(spans))]


def _span(box: Rectangle, is_horizontal: bool) -> tuple[float, float]:
    return (box.x, box.right) if is_horizontal else (box.y, box.bottom)
