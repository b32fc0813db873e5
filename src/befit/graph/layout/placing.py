"""The whole layout: the parts of a graph that hang together, each laid out and set side by side."""

from __future__ import annotations

from collections.abc import Sequence

from befit.errors import ArgumentError, GraphError
from befit.graph.layout.coordinates import place_along_rows
from befit.graph.layout.ordering import order_rows
from befit.graph.layout.ranks import assign_ranks
from befit.graph.layout.routing import route_edges
from befit.graph.layout.rows import cut_edges
from befit.graph.layout.values import Edge, Layout, Point, Rectangle, Size

RANKDIRS = ("TB", "BT", "LR", "RL")
PART_GAP = 36.0
LIST_GAP = 12.0


def lay_out(
    sizes: Sequence[Size],
    edges: Sequence[Edge],
    rankdir: str = "TB",
    tensors: Sequence[int] | None = None,
) -> Layout:
    """Return where boxes of these sizes go, and the ways of the edges between them.

    The same arguments always give the same layout. Boxes never overlap, and no edge runs through a box.

    Args:
        sizes: ``(width, height)`` of each box.
        edges: ``(source, target)``, numbers of boxes, in any order; repeated edges are drawn apart.
        rankdir: where edges lead: ``"TB"`` down, ``"BT"`` up, ``"LR"`` right, ``"RL"`` left.
        tensors: what each edge carries; edges of one source with the same number run together where they can.

    Returns:
        The layout, in the unit of ``sizes``.

    Raises:
        GraphError: the edges form a cycle.
        ArgumentError: ``rankdir`` is none of the four.

    Example:
        >>> layout = lay_out([(40, 20), (40, 20)], [(0, 1)])
        >>> layout.boxes[1].x, layout.boxes[1].y
        (0.0, 46.0)
        >>> layout.routes[0]
        ((20.0, 20.0), (20.0, 46.0))
    """
    if rankdir not in RANKDIRS:
        raise ArgumentError(f"rankdir={rankdir!r} is no direction; write 'TB', 'BT', 'LR' or 'RL'")
    is_horizontal = rankdir in ("LR", "RL")
    if is_horizontal:
        sizes = [(height, width) for width, height in sizes]
    if tensors is None:
        tensors = [0] * len(edges)
    layout = _lay_out_downwards(sizes, edges, tensors)
    return _turned(layout, is_horizontal, is_reversed=rankdir in ("BT", "RL"))


def list_boxes(sizes: Sequence[Size]) -> Layout:
    """Return boxes without edges one below the other.

    >>> list_boxes([(40, 20), (30, 20)]).boxes[1]
    Rectangle(x=0.0, y=32.0, width=30, height=20)
    """
    boxes = []
    y = 0.0
    for width, height in sizes:
        boxes.append(Rectangle(0.0, y, width, height))
        y += height + LIST_GAP
    right = max((box.right for box in boxes), default=0.0)
    return Layout(right, max(y - LIST_GAP, 0.0), tuple(boxes), ())


def _lay_out_downwards(sizes: Sequence[Size], edges: Sequence[Edge], tensors: Sequence[int]) -> Layout:
    boxes: list[Rectangle] = [Rectangle(0.0, 0.0, *size) for size in sizes]
    routes: list[tuple[Point, ...]] = [()] * len(edges)
    right = bottom = 0.0
    for members, numbers in _parts(len(sizes), edges):
        local = {box: index for index, box in enumerate(members)}
        part_edges = [(local[edges[number][0]], local[edges[number][1]]) for number in numbers]
        part_sizes = [sizes[box] for box in members]
        graph = cut_edges(
            part_sizes,
            part_edges,
            [tensors[number] for number in numbers],
            assign_ranks(len(members), part_edges),
        )
        order_rows(graph)
        centres = place_along_rows(graph)
        upper_sides, part_routes = route_edges(graph, centres)
        offset = right + PART_GAP if right else 0.0
        for box, index in local.items():
            width, height = sizes[box]
            rectangle = Rectangle(offset + centres[index] - width / 2, upper_sides[index], width, height)
            boxes[box] = rectangle
            right = max(right, rectangle.right)
            bottom = max(bottom, rectangle.bottom)
        for number, route in zip(numbers, part_routes, strict=True):
            routes[number] = tuple((offset + x, y) for x, y in route)
            right = max(right, *(x for x, _ in routes[number]))
    return Layout(right, bottom, tuple(boxes), tuple(routes))


def _parts(count: int, edges: Sequence[Edge]) -> list[tuple[list[int], list[int]]]:
    """Return ``(boxes, edges)`` of each part of the graph that hangs together, by number."""
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        if source == target:
            raise GraphError(f"box {source} has an edge to itself")
        neighbours[source].append(target)
        neighbours[target].append(source)
    part_of = [-1] * count
    parts: list[tuple[list[int], list[int]]] = []
    for start in range(count):
        if part_of[start] >= 0:
            continue
        part_of[start] = len(parts)
        members = [start]
        for box in members:  # grows while it is walked through
            for neighbour in neighbours[box]:
                if part_of[neighbour] < 0:
                    part_of[neighbour] = len(parts)
                    members.append(neighbour)
        parts.append((sorted(members), []))
    for number, (source, _) in enumerate(edges):
        parts[part_of[source]][1].append(number)
    return parts


def _turned(layout: Layout, is_horizontal: bool, *, is_reversed: bool) -> Layout:
    """Return a layout that runs downwards as one that runs in another direction."""

    def point(x: float, y: float) -> Point:
        along = layout.height - y if is_reversed else y
        return (along, x) if is_horizontal else (x, along)

    def box(downwards: Rectangle) -> Rectangle:
        first = point(downwards.x, downwards.y)
        second = point(downwards.right, downwards.bottom)
        width, height = downwards.width, downwards.height
        if is_horizontal:
            width, height = height, width
        return Rectangle(min(first[0], second[0]), min(first[1], second[1]), width, height)

    width, height = layout.width, layout.height
    return Layout(
        width=height if is_horizontal else width,
        height=width if is_horizontal else height,
        boxes=tuple(box(rectangle) for rectangle in layout.boxes),
        routes=tuple(tuple(point(x, y) for x, y in route) for route in layout.routes),
        is_horizontal=is_horizontal,
    )
