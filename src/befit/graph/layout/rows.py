"""The graph in rows: edges that span several rows are cut into pieces from one row to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from befit.graph.layout.values import Edge, Size

BOX_GAP = 22.0
BEND_GAP = 12.0

CORNER = 7.0
"""Edges keep this far from the corners of boxes, unless the box is tiny."""


@dataclass(slots=True)
class Rows:
    """Vertices in rows: the first ``boxes`` of them are boxes, the others bends, places that an edge passes.

    Attributes:
        boxes: the number of boxes.
        sizes: width and height of each vertex; bends are points.
        row_of: the row of each vertex.
        upper: for each vertex its neighbours in the row above, one entry for every piece of an edge.
        lower: the same for the row below.
        paths: for each edge the vertices that it passes, from source to target.
        rows: the vertices of each row, from left to right.
    """

    boxes: int
    sizes: list[Size]
    row_of: list[int]
    upper: list[list[int]]
    lower: list[list[int]]
    paths: list[list[int]]
    rows: list[list[int]] = field(default_factory=list)

    def is_bend(self, vertex: int) -> bool:
        """Return whether ``vertex`` is only a place that an edge passes."""
        return vertex >= self.boxes

    def distance(self, left: int, right: int) -> float:
        """Return how far the centres of two neighbours in a row have to be apart at least."""
        gap = BEND_GAP if self.is_bend(left) and self.is_bend(right) else BOX_GAP
        return (self.sizes[left][0] + self.sizes[right][0]) / 2 + gap

    def port_reach(self, vertex: int) -> float:
        """Return how far from its centre edges may meet ``vertex``."""
        width = self.sizes[vertex][0]
        return max(width / 2 - CORNER, width / 4)


def cut_edges(
    sizes: Sequence[Size], edges: Sequence[Edge], tensors: Sequence[int], ranks: Sequence[int]
) -> Rows:
    """Return the graph in rows, given the row of each box.

    Edges that carry the same tensor of the same box share their bends and part only where they have to, those
    that lead to the same box at the last bend.
    """
    count = len(sizes)
    graph = Rows(
        boxes=count,
        sizes=list(sizes),
        row_of=list(ranks),
        upper=[[] for _ in range(count)],
        lower=[[] for _ in range(count)],
        paths=[],
    )
    shared: dict[tuple[int, int, int], int] = {}
    for (source, target), tensor in zip(edges, tensors, strict=True):
        path = [source]
        for row in range(ranks[source] + 1, ranks[target]):
            bend = shared.get((source, tensor, row))
            if bend is None:
                bend = shared[source, tensor, row] = len(graph.sizes)
                graph.sizes.append((0.0, 0.0))
                graph.row_of.append(row)
                graph.upper.append([])
                graph.lower.append([])
                _join(graph, path[-1], bend)
            path.append(bend)
        _join(graph, path[-1], target)
        path.append(target)
        graph.paths.append(path)
    return graph


def _join(graph: Rows, above: int, below: int) -> None:
    graph.lower[above].append(below)
    graph.upper[below].append(above)
