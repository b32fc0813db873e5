"""Large diagrams made small: chains become one box each, blocks that follow themselves are drawn once.

A block is a stretch of boxes in an order in which data flows. It repeats if the boxes after it stand for the
same, one by one, with the same links among them and to the block before; only the first block may get its
data from elsewhere, and only the last may hand it on to others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TypeAlias

from befit.graph.diagram import Box, Diagram, Link

LONGEST = 250
"""Boxes in a block; looking for longer ones would take long and find next to nothing."""


def collapse(diagram: Diagram) -> Diagram:
    """Return ``diagram`` with chains as one box each and repeated blocks as frames around the first of them.

    Nothing is lost: ``count`` says of both the same. Equal diagrams give equal ones.
    """
    return _join_chains(_fold_blocks(diagram))


def count(boxes: Sequence[Box]) -> tuple[int, int]:
    """Return how many layers boxes stand for, and the number of values in their weights.

    >>> count([Box("d", "dense", parts=(Box("a", "dense", parameters=6), Box("b", "dense")), times=3)])
    (6, 18)
    """
    layers = parameters = 0
    for box in boxes:
        inside = box.parts or (() if box.inner is None else box.inner.boxes)
        counted = count(inside) if inside else (box.layers, box.parameters)
        layers += box.times * counted[0]
        parameters += box.times * counted[1]
    return layers, parameters


@dataclass(frozen=True, slots=True)
class _Run:
    """``times`` blocks of ``length`` boxes, one after the other."""

    start: int
    length: int
    times: int

    @property
    def end(self) -> int:
        return self.start + self.length * self.times


def _find_run(alike: Sequence[int], longest_run: Callable[[int, int, int], tuple[int, int]]) -> _Run | None:
    """Return the best run: of many boxes, in short blocks with few entries.

    Args:
        alike: a number for each box.
        longest_run: told where a run begins, the length of a block, and the most blocks that are alike, says
            how many blocks are a run (1 if none are) and how many tensors each gets from the one before.
    """
    found: _Run | None = None
    best = (0, 0, 0, 0)
    for length in range(1, min(len(alike) // 2, LONGEST) + 1):
        same = [0] * (len(alike) + 1)  # how many boxes from here on are like those one block further
        for start in range(len(alike) - length - 1, -1, -1):
            same[start] = same[start + 1] + 1 if alike[start] == alike[start + length] else 0
        last_block = [0] * length  # of the latest run, by where blocks begin
        for start, boxes in enumerate(same):
            # What begins with a later block of a run is a shorter run, that ends where the longer one does.
            if boxes < length or boxes // length * length < best[0] or start < last_block[start % length]:
                continue
            times, count = longest_run(start, length, boxes // length + 1)
            if times > 1:
                last_block[start % length] = start + (times - 1) * length
                # An entry more costs as much as a block more saves. Of blocks that differ only in where
                # they begin, those that end with a merging layer and what follows it: the last ones.
                worth = (length * (times - max(count, 1)), -length, -count, start if count else -start)
                found, best = max(
                    (found, best), (_Run(start, length, times), worth), key=lambda pair: pair[1]
                )
    return found


def _alike(boxes: Sequence[Box]) -> list[int]:
    """Return a number for each box: the same for those that stand for the same layers."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(_looks(box), len(numbers)) for box in boxes]


def _looks(box: Box) -> Hashable:
    inside = box.parts or (() if box.inner is None else box.inner.boxes)
    links = () if box.inner is None else box.inner.links
    own = (box.kind, box.signature, box.rows, box.is_frozen, box.layers, box.parameters, box.times)
    return (own, tuple(map(_looks, inside)), links)


# Chains


def _join_chains(diagram: Diagram) -> Diagram:
    """Return the diagram, and those inside, with one box for each run of boxes that hand on to each other."""
    boxes = tuple(
        box if box.inner is None else replace(box, inner=_join_chains(box.inner)) for box in diagram.boxes
    )
    diagram = replace(diagram, boxes=boxes)
    count = len(diagram.boxes)
    leaving, entering = [0] * count, [0] * count
    for link in diagram.links:
        leaving[link.source] += 1
        entering[link.target] += 1
    follower = {
        link.source: link.target
        for link in diagram.links
        if leaving[link.source] == entering[link.target] == 1
        and all(_can_join(diagram.boxes[end]) for end in (link.source, link.target))
    }
    inside = set(follower.values())
    chains = []
    for start in range(count):
        if start not in inside:
            chain = [start]
            while chain[-1] in follower:
                chain.append(follower[chain[-1]])
            chains.append(chain)
    return _merged(diagram, chains, [_chain_box([boxes[number] for number in chain]) for chain in chains])


def _find_chain_run(parts: Sequence[Box]) -> _Run | None:
    """Return the best run of parts that have nothing folded in them yet."""

    def longest_run(start: int, length: int, most: int) -> tuple[int, int]:
        return (most if all(part.times == 1 for part in parts[start : start + length]) else 1), 0

    return _find_run(_alike(parts), longest_run)


def _can_join(box: Box) -> bool:
    return box.inner is None and box.kind != "input"


def _chain_box(chain: Sequence[Box]) -> Box:
    if len(chain) == 1:
        return chain[0]
    parts = list(chain)
    while (run := _find_chain_run(parts)) is not None:
        block = parts[run.start : run.start + run.length]
        folded = replace(block[0], times=run.times)
        if run.length > 1:
            folded = Box("", "other", parts=tuple(block), times=run.times)
        parts[run.start : run.end] = [folded]
    enters = [row for row in chain[0].rows if row.heading == "input:"]
    leaves = [row for row in chain[-1].rows if row.heading == "output:"]
    return Box("", "other", rows=(*enters, *leaves), parts=tuple(parts))


# Blocks


def _fold_blocks(diagram: Diagram) -> Diagram:
    boxes = tuple(
        box if box.inner is None else replace(box, inner=_fold_blocks(box.inner)) for box in diagram.boxes
    )
    diagram = _in_order(replace(diagram, boxes=boxes))
    while True:
        run = _find_run(_alike(diagram.boxes), _Blocks(diagram).longest_run)
        if run is None:
            return diagram
        diagram = _in_order(_fold(diagram, run))


_Entering: TypeAlias = tuple[tuple[str, int], int, int, int]
"""A link into a block: the box that it comes from, seen from the block; which of that box's tensors it is;
the box of the block that it leads to; which of that box's links it is."""


class _Blocks:
    """Tells whether stretches of a diagram's boxes, known to be alike, are linked alike as well."""

    def __init__(self, diagram: Diagram) -> None:
        self._enters: list[list[Link]] = [[] for _ in diagram.boxes]
        self._furthest = list(range(len(diagram.boxes)))  # the last box that each hands on to
        self._order: dict[int, int] = {}  # of the tensors that leave a box
        leaving = [0] * len(diagram.boxes)
        for link in diagram.links:
            self._enters[link.target].append(link)
            self._furthest[link.source] = max(self._furthest[link.source], link.target)
            if link.tensor not in self._order:
                self._order[link.tensor] = leaving[link.source]
                leaving[link.source] += 1

        merging = (len(links) > 1 for links in self._enters)
        self._merging = list(accumulate(merging, initial=0))

    def longest_run(self, start: int, length: int, most: int) -> tuple[int, int]:
        """Return how many blocks do the same, and how many tensors each hands on to the next one."""
        if self._merging[start] == self._merging[start + length]:
            return 1, 0  # what merges nothing is (part of) a chain
        if not self._feeds_only_next(start, length):
            return 1, 0
        second = self._pattern(start + length, length)
        count = _count_entries(self._pattern(start, length, is_first=True), second)
        times = 2 if count else 1
        while (
            1 < times < most
            and self._feeds_only_next(start + (times - 1) * length, length)
            and self._pattern(start + times * length, length) == second
        ):
            times += 1
        return times, count

    def _feeds_only_next(self, start: int, length: int) -> bool:
        """Return whether each box of a block hands on to others, none of them behind the next block."""
        return all(
            number < self._furthest[number] < start + 2 * length for number in range(start, start + length)
        )

    def _pattern(self, start: int, length: int, *, is_first: bool = False) -> list[_Entering]:
        """Return the links that enter the boxes of a block, those from inside of it included."""
        pattern = []
        for number in range(start, start + length):
            for position, link in enumerate(self._enters[number]):
                if link.source >= start:
                    source = ("inside", link.source - start)
                elif not is_first and link.source >= start - length:
                    source = ("before", link.source - start + length)
                else:
                    source = ("outside", link.source)
                pattern.append((source, self._order[link.tensor], number - start, position))
        return pattern


def _count_entries(first: Sequence[_Entering], second: Sequence[_Entering]) -> int:
    """Return how many tensors the second block gets from the first one; 0 if the two are not linked alike."""
    if len(first) != len(second):
        return 0
    stands_for: dict[Hashable, Hashable] = {}
    for link, other in zip(first, second, strict=True):
        # The first block may get from anywhere what the others get from the block before.
        is_free = link[0][0] == "outside" and other[0][0] == "before"
        if link[2:] != other[2:] or (not is_free and link != other):
            return 0
        if is_free and stands_for.setdefault(other[:2], link[:2]) != link[:2]:
            return 0
    return len(stands_for) if len(set(stands_for.values())) == len(stands_for) else 0


def _fold(diagram: Diagram, run: _Run) -> Diagram:
    """Return the diagram with a frame around the first block of ``run`` instead of all of them."""
    block = range(run.start, run.start + run.length)
    later = [link.tensor for link in diagram.links if block.stop <= link.target < run.end]
    entering = [link for link in diagram.links if link.target in block]
    entries = list(dict.fromkeys(link.tensor for link in entering if link.source not in block))
    inner_boxes = [
        Box("input of all blocks" if tensor in later else "input of the block", "input", layers=0)
        for tensor in entries
    ]
    shift = len(entries) - block.start
    inner_boxes += diagram.boxes[block.start : block.stop]
    inner_links = [
        Link(
            link.source + shift if link.source in block else entries.index(link.tensor),
            link.target + shift,
            link.tensor,
        )
        for link in entering
    ]
    numbers: dict[int, int] = {}
    inner_links = [
        replace(link, tensor=numbers.setdefault(link.tensor, len(numbers))) for link in inner_links
    ]
    layers, _ = count(inner_boxes)
    title = f"{run.times} \N{MULTIPLICATION SIGN} {layers} layers"
    inner = Diagram(title, tuple(inner_boxes), tuple(inner_links))
    frame = Box(title, "model", inner=inner, times=run.times)
    groups = [[number] for number in range(run.start)]
    groups.append(list(range(run.start, run.end)))
    groups += [[number] for number in range(run.end, len(diagram.boxes))]
    boxes = [frame if len(group) > 1 else diagram.boxes[group[0]] for group in groups]
    folded = _merged(diagram, groups, boxes)
    # Inside, each tensor comes from one entry: so it leads to the frame once.
    links = [link for link in folded.links if link.target != run.start]
    links += dict.fromkeys(link for link in folded.links if link.target == run.start)
    return replace(folded, links=tuple(links))


def _merged(diagram: Diagram, groups: Sequence[Sequence[int]], boxes: Sequence[Box]) -> Diagram:
    """Return the diagram with one box for each group, and the links between them."""
    group_of = {number: index for index, group in enumerate(groups) for number in group}
    links = [Link(group_of[link.source], group_of[link.target], link.tensor) for link in diagram.links]
    kept = tuple(link for link in links if link.source != link.target)
    return replace(diagram, boxes=tuple(boxes), links=kept)


def _in_order(diagram: Diagram) -> Diagram:
    """Return the diagram with each box right behind what it needs, so that blocks stay together."""
    needed: list[list[int]] = [[] for _ in diagram.boxes]
    hands_on = [False] * len(diagram.boxes)
    for link in diagram.links:
        needed[link.target].append(link.source)
        hands_on[link.source] = True
    order: list[int] = []
    done: set[int] = set()
    for end in (number for number, is_used in enumerate(hands_on) if not is_used):
        stack = [end]
        while stack:
            number = stack[-1]
            waiting = [source for source in needed[number] if source not in done]
            if number in done or not waiting:
                stack.pop()
                if number not in done:
                    done.add(number)
                    order.append(number)
            else:
                stack.append(waiting[0])
    place = {number: position for position, number in enumerate(order)}
    links = sorted(
        (replace(link, source=place[link.source], target=place[link.target]) for link in diagram.links),
        key=lambda link: link.target,
    )
    return replace(diagram, boxes=tuple(diagram.boxes[number] for number in order), links=tuple(links))
