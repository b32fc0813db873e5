"""Ranks by network simplex: every edge leads to a later rank, and all edges together are as short as can be.

Gansner, Koutsofios, North, Vo: A Technique for Drawing Directed Graphs (1993), section 2. A spanning tree of
*tight* edges (length 1) fixes all ranks. Cutting one of its edges leaves two parts; moving one of them by one
rank changes the total length by the difference between the edges that leave it and those that enter it. Where
that helps, the part moves until another edge becomes tight and takes the place of the cut one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from befit.errors import GraphError
from befit.graph.layout.values import Edge


def assign_ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """Return the rank of each of ``count`` connected vertices, the smallest being 0."""
    weights = Counter(edges)
    ranks = _longest_path_ranks(count, list(weights))
    if count > 1:
        _Simplex(count, weights, ranks).minimise()
    lowest = min(ranks, default=0)
    return [rank - lowest for rank in ranks]


def _longest_path_ranks(count: int, edges: Sequence[Edge]) -> list[int]:
    """Return ranks in which every vertex comes as early as it can."""
    targets: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        targets[source].append(target)
        waiting[target] += 1
    ranks = [0] * count
    ready = deque(vertex for vertex in range(count) if not waiting[vertex])
    done = 0
    while ready:
        source = ready.popleft()
        done += 1
        for target in targets[source]:
            ranks[target] = max(ranks[target], ranks[source] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if done < count:
        raise GraphError("the graph has a cycle: some layers would have to run before themselves")
    return ranks


class _Simplex:
    """Ranks and the spanning tree that fixes them; ``ranks`` is changed in place."""

    def __init__(self, count: int, weights: Counter[Edge], ranks: list[int]) -> None:
        self._count = count
        self._ranks = ranks
        self._edges = list(weights)
        self._incident: list[list[int]] = [[] for _ in range(count)]
        self._surplus = [0] * count  # weight that leaves a vertex minus weight that enters it
        for number, (edge, weight) in enumerate(weights.items()):
            for vertex in edge:
                self._incident[vertex].append(number)
            self._surplus[edge[0]] += weight
            self._surplus[edge[1]] -= weight
        self._tree: list[set[int]] = [set() for _ in range(count)]  # tree edges at each vertex
        # Of each vertex, as seen from vertex 0: the edge towards it, and the stretch of the walk spent below.
        self._walk: list[int] = []
        self._parent_edge = [-1] * count
        self._first = [0] * count
        self._last = [0] * count

    def minimise(self) -> None:
        """Exchange tree edges until no move shortens the edges."""
        self._grow_tree()
        # Degenerate exchanges (of length 0) could go round in circles; ranks are feasible at every step.
        for _ in range(20 * self._count):
            leaving = self._worst_edge()
            if leaving is None:
                return
            self._exchange(*leaving)

    def _slack(self, number: int) -> int:
        source, target = self._edges[number]
        return self._ranks[target] - self._ranks[source] - 1

    def _other_end(self, number: int, vertex: int) -> int:
        source, target = self._edges[number]
        return target if vertex == source else source

    def _add_to_tree(self, number: int) -> None:
        for vertex in self._edges[number]:
            self._tree[vertex].add(number)

    def _grow_tree(self) -> None:
        """Span all vertices by tight edges, moving the part that is done wherever it gets stuck."""
        inside = [False] * self._count
        members: list[int] = []
        fresh = [0]
        inside[0] = True
        while True:
            while fresh:
                vertex = fresh.pop()
                members.append(vertex)
                for number in self._incident[vertex]:
                    other = self._other_end(number, vertex)
                    if not inside[other] and self._slack(number) == 0:
                        inside[other] = True
                        self._add_to_tree(number)
                        fresh.append(other)
            if len(members) == self._count:
                return
            border = (n for n, (a, b) in enumerate(self._edges) if inside[a] != inside[b])
            nearest = min(border, key=self._slack)
            source, target = self._edges[nearest]
            shift = self._slack(nearest) if inside[source] else -self._slack(nearest)
            for vertex in members:
                self._ranks[vertex] += shift
            outside = target if inside[source] else source
            inside[outside] = True
            self._add_to_tree(nearest)
            fresh.append(outside)

    def _worst_edge(self) -> tuple[int, int] | None:
        """Return ``(vertex, way)``: moving the part below ``vertex`` by ``way`` ranks shortens the most."""
        self._walk_tree()
        surplus = self._surplus.copy()
        best, worst = 0, None
        for vertex in reversed(self._walk[1:]):  # children before their parents
            number = self._parent_edge[vertex]
            leaves = self._edges[number][0] == vertex
            cut = surplus[vertex] if leaves else -surplus[vertex]
            if cut < best:
                best, worst = cut, (vertex, -1 if leaves else 1)
            surplus[self._other_end(number, vertex)] += surplus[vertex]
        return worst

    def _walk_tree(self) -> None:
        """List the vertices, parents first, and note where each one's part of the walk begins and ends."""
        walk = self._walk = []
        stack = [0]
        while stack:
            vertex = stack.pop()
            if vertex < 0:
                self._last[~vertex] = len(walk)
                continue
            self._first[vertex] = len(walk)
            walk.append(vertex)
            stack.append(~vertex)
            for number in sorted(self._tree[vertex]):
                if number != self._parent_edge[vertex]:
                    child = self._other_end(number, vertex)
                    self._parent_edge[child] = number
                    stack.append(child)

    def _exchange(self, top: int, way: int) -> None:
        """Move the part below ``top`` towards ``way`` until an edge to the rest becomes tight."""
        first, last = self._first[top], self._last[top]
        part = self._walk[first:last]
        entering, length = -1, -1
        for vertex in part:
            for number in self._incident[vertex]:
                source, target = self._edges[number]
                if (target if way < 0 else source) != vertex:
                    continue
                if first <= self._first[self._other_end(number, vertex)] < last:
                    continue
                slack = self._slack(number)
                if entering < 0 or (slack, number) < (length, entering):
                    entering, length = number, slack
        for vertex in part:
            self._ranks[vertex] += way * length
        leaving = self._parent_edge[top]
        for vertex in self._edges[leaving]:
            self._tree[vertex].discard(leaving)
        self._add_to_tree(entering)
