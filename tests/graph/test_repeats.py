"""Chains and repeated blocks: drawn once, but all of them still there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from befit.graph.diagram import Box, Diagram, Link
from befit.graph.repeats import collapse, count

Links = list[tuple[int, int]]


def box(type_name: str, parameters: int = 0) -> Box:
    return Box(f"name: {type_name}", "other", parameters=parameters, signature=type_name)


def diagram_of(types: str, links: Links) -> Diagram:
    """A box for each letter; every link from one box carries the same tensor."""
    boxes = tuple(replace(box(letter, ord(letter)), title=f"{i}: {letter}") for i, letter in enumerate(types))
    return Diagram("net", boxes, tuple(Link(a, b, a) for a, b in links))


def residual(blocks: str, head: str = "h", tail: str = "t") -> Diagram:
    """Blocks of a layer and a sum with what came in, between a head and a tail."""
    types, links, last = head, [], 0
    for letter in blocks:
        layer = len(types)
        types += letter + "+"
        links += [(last, layer), (layer, layer + 1), (last, layer + 1)]
        last = layer + 1
    return diagram_of(types + tail, [*links, (last, len(types))])


def leaves(boxes: tuple[Box, ...], times: int = 1) -> Counter[str]:
    """How often each layer is there, by its signature."""
    found: Counter[str] = Counter()
    for each in boxes:
        inside = each.parts or (() if each.inner is None else each.inner.boxes)
        if inside:
            found += leaves(inside, times * each.times)
        else:
            found[each.signature] += times * each.times * each.layers
    return +found


def frames(diagram: Diagram) -> list[Box]:
    return [each for each in diagram.boxes if each.inner is not None]


@st.composite
def diagrams(draw: st.DrawFn) -> Diagram:
    """Blocks of few sorts, each repeated some times, with links within, to the block before, and far back."""
    types = "x"
    links: Links = []
    for _ in range(draw(st.integers(1, 3))):
        pattern = draw(st.text("abc", min_size=1, max_size=3))
        spots = st.tuples(st.integers(-2, len(pattern) - 1), st.integers(0, len(pattern) - 1))
        inside = draw(st.lists(spots, max_size=5))
        for _ in range(draw(st.integers(1, 4))):
            start = len(types)
            links += [(start + at - 1, start + at) for at in range(len(pattern)) if draw(st.booleans())]
            links += [(start + a, start + b) for a, b in inside if 0 <= start + a < start + b]
            types += pattern
    number = st.integers(0, len(types) - 1)
    more = draw(st.lists(st.tuples(number, number), max_size=2))
    return diagram_of(types, links + [(min(pair), max(pair)) for pair in more if pair[0] != pair[1]])


@given(diagrams())
def test_unfolding_the_counts_gives_every_layer_and_weight_back(diagram: Diagram) -> None:
    folded = collapse(diagram)
    assert count(folded.boxes) == count(diagram.boxes)
    assert leaves(folded.boxes) == leaves(diagram.boxes)


@given(diagrams())
def test_the_same_diagram_is_folded_in_the_same_way(diagram: Diagram) -> None:
    assert collapse(diagram) == collapse(replace(diagram))


@given(diagrams())
def test_what_is_folded_still_flows_forwards(diagram: Diagram) -> None:
    def check(folded: Diagram) -> None:
        assert all(0 <= link.source < link.target < len(folded.boxes) for link in folded.links)
        for each in frames(folded):
            assert each.inner is not None
            check(each.inner)

    check(collapse(diagram))


@given(diagrams())
def test_inputs_and_results_stay_inputs_and_results(diagram: Diagram) -> None:
    """A box in the folded diagram that gets or gives nothing holds one that never did."""

    def idle(whole: Diagram) -> tuple[bool, bool]:
        targets = {link.target for link in whole.links}
        sources = {link.source for link in whole.links}
        everything = set(range(len(whole.boxes)))
        return everything > targets, everything > sources

    assert idle(collapse(diagram)) == idle(diagram)


def test_layers_that_only_follow_each_other_share_a_box() -> None:
    folded = collapse(diagram_of("abcd", [(0, 1), (1, 2), (0, 3), (2, 3)]))
    assert [[part.signature for part in each.parts] for each in folded.boxes] == [[], ["b", "c"], []]
    assert [(link.source, link.target) for link in folded.links] == [(0, 1), (0, 2), (1, 2)]


def test_an_input_keeps_its_box() -> None:
    diagram = diagram_of("xab", [(0, 1), (1, 2)])
    diagram = replace(diagram, boxes=(replace(diagram.boxes[0], kind="input"), *diagram.boxes[1:]))
    assert [each.kind for each in collapse(diagram).boxes] == ["input", "other"]


@pytest.mark.parametrize(
    ("types", "parts"),
    [
        ("aaaa", [("a", 4)]),
        ("abababx", [("ab", 3), ("x", 1)]),
        ("xaab", [("x", 1), ("a", 2), ("b", 1)]),
        ("abc", [("a", 1), ("b", 1), ("c", 1)]),
        ("ababa", [("ab", 2), ("a", 1)]),
    ],
)
def test_a_chain_says_how_often_its_layers_repeat(types: str, parts: list[tuple[str, int]]) -> None:
    links = [(index, index + 1) for index in range(len(types) - 1)]
    (chain,) = collapse(diagram_of(types, links)).boxes
    shown = [("".join(each.signature for each in part.parts or (part,)), part.times) for part in chain.parts]
    assert shown == parts


def test_blocks_that_follow_themselves_are_one_frame() -> None:
    folded = collapse(residual("aaaa"))
    assert [each.times for each in folded.boxes] == [1, 4, 1]
    (frame,) = frames(folded)
    assert frame.title == "4 \N{MULTIPLICATION SIGN} 2 layers"
    assert frame.inner is not None
    assert [each.title for each in frame.inner.boxes] == ["input of the block", "1: a", "2: +"]
    assert sorted((link.source, link.target) for link in frame.inner.links) == [(0, 1), (0, 2), (1, 2)]
    assert [(link.source, link.target) for link in folded.links] == [(0, 1), (1, 2)]


def test_blocks_end_with_their_sum_even_where_more_follows_it() -> None:
    """The layers after the sum of the last block would otherwise belong to no block."""
    folded = collapse(residual("aaa", tail="+"))
    assert [each.times for each in folded.boxes] == [1, 3, 1]


def test_blocks_of_other_layers_or_weights_are_not_the_same() -> None:
    assert [each.times for each in frames(collapse(residual("aabbb")))] == [2, 3]
    assert frames(collapse(residual("abcd"))) == []
    diagram = residual("aa")
    other = tuple(replace(each, parameters=index) for index, each in enumerate(diagram.boxes))
    assert frames(collapse(replace(diagram, boxes=other))) == []


def test_blocks_begin_where_their_input_divides() -> None:
    """Not with the last layer of the block before, though that comes as often."""
    types, links = "hr", [(0, 1)]
    for start in (1, 4, 7):
        types += "a+r"
        links += [(start, start + 1), (start + 1, start + 2), (start, start + 2), (start + 2, start + 3)]
    (frame,) = frames(collapse(diagram_of(types, links)))
    assert frame.inner is not None
    _, layer, merged = frame.inner.boxes
    assert layer.title == "2: a"
    assert [part.signature for part in merged.parts] == ["+", "r"]


def test_blocks_of_the_same_layers_linked_in_another_way_are_not_the_same() -> None:
    links = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (3, 4), (4, 5)]
    assert frames(collapse(diagram_of("ha+a+t", links))) == []


def test_blocks_that_reach_further_back_are_not_folded() -> None:
    diagram = residual("aaaa")
    reaching = Link(2, 6, 2)
    links = sorted((*diagram.links, reaching), key=lambda link: link.target)
    assert all(each.times < 3 for each in frames(collapse(replace(diagram, links=tuple(links)))))


def test_blocks_whose_results_are_used_elsewhere_are_not_folded() -> None:
    diagram = residual("aaaa")
    links = (*diagram.links, Link(2, 9, 2))
    assert all(each.times < 4 for each in frames(collapse(replace(diagram, links=links))))


def test_a_run_ends_with_the_block_whose_result_is_used_elsewhere() -> None:
    diagram = residual("aaaa")
    folded = collapse(replace(diagram, links=(*diagram.links, Link(6, 9, 6))))
    assert [each.times for each in frames(folded)] == [3]


def test_a_run_ends_before_the_block_that_is_linked_in_another_way() -> None:
    diagram = residual("aaaa")
    links = [replace(link, source=7, tensor=7) if link == Link(6, 8, 6) else link for link in diagram.links]
    assert [each.times for each in frames(collapse(replace(diagram, links=tuple(links))))] == [3]


def test_many_blocks_that_are_not_folded_take_no_longer() -> None:
    """All their sums are used at the end as well; trying each number of blocks would take hours."""
    diagram = residual("a" * 1000)
    links = [*diagram.links, *(Link(number, 2001, number) for number in range(2, 2000, 2))]
    assert frames(collapse(replace(diagram, links=tuple(links)))) == []


def test_blocks_beside_each_other_are_not_folded() -> None:
    types = "x" + "ab+" * 3
    links = [(0, 3 * i + j) for i in range(3) for j in (1, 2)]
    links += [(3 * i + j, 3 * i + 3) for i in range(3) for j in (1, 2)]
    assert frames(collapse(diagram_of(types, links))) == []


def test_what_all_blocks_get_enters_the_frame_by_itself() -> None:
    types, links, last = "mx", [], 1
    for _ in range(3):
        layer = len(types)
        types += "a"
        links += [(last, layer), (0, layer)]
        last = layer
    (frame,) = frames(collapse(diagram_of(types, links)))
    assert frame.times == 3
    assert frame.inner is not None
    assert {each.title for each in frame.inner.boxes if not each.layers} == {
        "input of the block",
        "input of all blocks",
    }


def test_repeated_links_stay_outside_of_frames() -> None:
    folded = collapse(diagram_of("xab", [(0, 1), (0, 1), (1, 2)]))
    assert [(link.source, link.target) for link in folded.links] == [(0, 1), (0, 1)]


def test_nested_models_are_folded_inside() -> None:
    inner = diagram_of("aaa", [(0, 1), (1, 2)])
    diagram = Diagram("net", (Box("nested", "model", inner=inner), box("b")), (Link(0, 1, 0),))
    nested, _ = collapse(diagram).boxes
    assert nested.inner is not None
    assert [part.times for part in nested.inner.boxes[0].parts] == [3]


@pytest.mark.parametrize("types", ["a" * 5000, "ab" * 2500])
def test_five_thousand_layers_are_folded(types: str) -> None:
    links = [(index, index + 1) for index in range(4999)]
    assert leaves(collapse(diagram_of(types, links)).boxes) == Counter(types)


def test_a_thousand_residual_blocks_are_folded() -> None:
    assert [each.times for each in collapse(residual("a" * 1000)).boxes] == [1, 1000, 1]
