"""The viewer's file: that it needs nothing else, escapes what it shows, and says what is true."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from befit.graph.diagram import Show
from befit.graph.kinds import KINDS
from befit.graph.model_graph import ModelGraph
from befit.graph.plot import plot_model
from befit.graph.viewer import to_html, to_notebook
from befit.graph.viewer.colours import kinds_css
from befit.graph.viewer.scene import make_scene, rows_of

sys.path.append(str(Path(__file__).parent))
from viewer_models import chain, graph, layer, nested, with_parameters

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\"' onload='alert(1)' x=\"",
    "]]></style><svg/onload=alert(1)>",
    "&lt;b&gt; &amp;",
    "模型 \U0001f600 \u202eabc",
    "line\nbreak\x00\x1b",
    "\ud800 lone",
)


class Reader(HTMLParser):
    """The elements of a page, with their attributes, and the text in each ``<style>`` and ``<script>``."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self._inside = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag in ("style", "script"):
            self._inside = tag if "id" not in dict(attributes) else "data"
            assert self._inside not in self.raw, "one of each"
            self.raw[self._inside] = ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside] += data


def read(graph: ModelGraph, show: Show | None = None, rankdir: str = "TB") -> Reader:
    return Reader(to_html(graph, show or Show(), rankdir).decode())


def data(graph: ModelGraph, **show: bool) -> Any:
    return json.loads(read(graph, Show(**show)).raw["data"])


def hostile(names: tuple[str, ...]) -> ModelGraph:
    layers = [layer(name, name, config={name: name}, wrapped=(name, name)) for name in names]
    return graph(names[0], layers, [(i, i + 1) for i in range(len(names) - 1)])


def test_the_file_names_no_other() -> None:
    """No address, no source, no reference but to what is in the file itself."""
    page = to_html(nested(), Show(shapes=True), "TB").decode()
    assert "://" not in page
    assert "@import" not in page
    for tag, attributes in Reader(page).elements:
        assert not {"src", "href", "xlink:href", "style", "background", "action"} & attributes.keys(), tag
        assert not any(name.startswith("on") for name in attributes), tag
    assert set(re.findall(r"url\(([^)]*)\)", page)) == {"#arrow", "#arrow-lit"}


def test_only_its_own_style_and_script_are_allowed() -> None:
    """The Content-Security-Policy is made of their digests, and comes before both."""
    reader = read(nested())
    tags = [tag for tag, _ in reader.elements]
    (policy,) = (a["content"] for t, a in reader.elements if t == "meta" and "http-equiv" in a)
    assert tags.index("meta") < tags.index("style") < tags.index("script")

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy == (
        f"default-src 'none'; style-src {digest(reader.raw['style'])}; "
        f"script-src {digest(reader.raw['script'])}; base-uri 'none'; form-action 'none'"
    )


def test_hostile_names_are_text() -> None:
    """Whatever layers are called, the page has the elements of a page with harmless names."""
    harmless = read(hostile(tuple("abcdefghi")), Show(shapes=True))
    reader = read(hostile(HOSTILE), Show(shapes=True))
    assert Counter(tag for tag, _ in reader.elements) == Counter(tag for tag, _ in harmless.elements)
    assert [sorted(a) for _, a in reader.elements] == [sorted(a) for _, a in harmless.elements]
    assert [box["name"] for box in json.loads(reader.raw["data"])["boxes"]] == list(HOSTILE)
    assert "<" not in reader.raw["data"]


def test_facts_say_what_the_graph_says() -> None:
    x, wide = data(with_parameters())["boxes"]
    assert x["calls"] == [{"in": [], "out": [["(None, 8)", "float32"]]}]
    assert wide == {
        "title": "wide: Dense",
        "name": "wide",
        "type": "Dense",
        "kind": "dense",
        "path": "body/wide",
        "parent": -1,
        "built": True,
        "calls": [
            {"in": [["(None, 8)", "float32"]], "out": [["(None, 4)", "float32"]], "macs": 32},
            {"in": [["?", "?"]], "out": [["(2, 4)", "float16"]], "macs": 10},
        ],
        "trainable": 32,
        "frozen": 4,
        "config": [["units", "4"], ["activation", "relu"]],
        "parameters": [["kernel", "(8, 4)", "float32", 32, True], ["bias", "(4,)", "float32", 4, False]],
    }


def test_numbers_of_boxes_are_those_of_the_picture() -> None:
    """The script finds each box by its place in the picture."""
    model = nested()
    reader = read(model)
    titles = re.findall(r'<text class="title"[^>]*>([^<]*)<', to_html(model, Show(), "TB").decode())
    boxes = json.loads(reader.raw["data"])["boxes"]
    assert [box["title"] for box in boxes] == titles
    assert len(boxes) == 9 + 4 + 4 + 4 + 5 + 5
    for number, box in enumerate(boxes):
        assert box["parent"] < number


def test_every_level_has_its_links() -> None:
    levels = data(nested())["levels"]
    assert [level["parent"] for level in levels] == [-1, 2, 7, 9, 14, 23]
    assert levels[0]["items"] == [0, 1, 2, 7, 21, 22, 23, 29, 30]
    assert levels[0]["links"] == [
        *(0, 2, 1, 7, 0, 21, 2, 22, 7, 22, 21, 22),
        *(22, 23, 23, 29, 22, 29, 21, 29, 7, 30),
    ]
    for level in levels:
        assert set(level["links"]) <= set(level["items"])
        assert len(level["closed"]["boxes"]) == 4 * len(level["items"])
        if "opened" in level:
            assert len(level["opened"]["routes"]) == len(level["links"]) // 2
            assert len(level["opened"]["rows"]) == 2 * len(level["items"])


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
def test_rows_hold_the_boxes_beside_each_other(rankdir: str) -> None:
    """Boxes of one row share its span; rows of one part of the graph do not overlap."""
    scene = make_scene(nested(), Show(), rankdir)
    assert scene.opened is not None
    rows = rows_of(scene.opened, scene.links)
    for box, (start, end) in zip(scene.opened.boxes, rows, strict=True):
        first, last = (box.x, box.right) if rankdir in ("LR", "RL") else (box.y, box.bottom)
        assert start <= first < last <= end
    spans = sorted(set(rows))
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert len(spans) == 5


def test_nested_models_begin_as_asked_for() -> None:
    for is_open in (False, True):
        opened = [
            a
            for _, a in read(nested(), Show(nested=is_open)).elements
            if "open" in (a.get("class") or "").split()
        ]
        assert len(opened) == (5 if is_open else 0)


def test_a_model_that_cannot_be_followed_is_a_list_with_a_note() -> None:
    model = graph("net", [layer("a"), layer("b")], [])
    model = ModelGraph(
        "net", "M", "torch", model.layers, (), (), {}, is_traced=False, untraced_because="<b> went wrong"
    )
    page = to_html(model, Show(), "TB").decode()
    assert '<p id="note">Connections are not known: &lt;b&gt; went wrong.</p>' in page
    assert [box["name"] for box in json.loads(Reader(page).raw["data"])["boxes"]] == ["a", "b"]


def test_a_model_without_layers_is_a_page() -> None:
    assert data(graph("nothing", [], []))["boxes"] == []


def test_frozen_layers_have_their_colour_where_asked_for() -> None:
    model = with_parameters()
    parameters = {key: p for key, p in model.parameters.items() if not p.trainable}
    frozen = graph("net", [layer("a", parameters=(2,)), layer("b")], [(0, 1)], parameters=parameters)
    assert [box["kind"] for box in data(frozen)["boxes"]] == ["dense", "dense"]
    assert [box["kind"] for box in data(frozen, trainable=True)["boxes"]] == ["frozen", "dense"]


def test_the_same_model_gives_the_same_bytes() -> None:
    assert to_html(nested(), Show(shapes=True), "LR") == to_html(nested(), Show(shapes=True), "LR")


def test_a_long_chain_is_no_recursion() -> None:
    assert len(data(chain(2000))["boxes"]) == 2000


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2, between two colours ``#rrggbb``."""

    def luminance(colour: str) -> float:
        channels = [channel / 255 for channel in bytes.fromhex(colour.removeprefix("#"))]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_texts_stand_out_from_what_is_behind_them() -> None:
    """At least 4.5 : 1 in light and in dark colours, and 3 : 1 for borders of controls (WCAG 2, AA)."""
    style = files("befit.graph.viewer").joinpath("viewer.css").read_text("utf-8") + kinds_css()
    pair = r"light-dark\((#\w{6}), (#\w{6})\)"
    named = {name: (light, dark) for name, light, dark in re.findall(rf"--(\w+): {pair}", style)}
    fills = re.findall(rf"\.k-(\w+) {{ --fill: {pair}", style)
    assert {kind for kind, *_ in fills} == {*KINDS, "frozen"}
    for night in (0, 1):
        for behind in ("paper", "card", "hover", "frame"):
            for text in ("text", "quiet"):
                assert contrast(named[text][night], named[behind][night]) >= 4.5, (text, behind, night)
        for kind, *colours in fills:
            assert contrast(named["text"][night], colours[night]) >= 4.5, (kind, night)
        for line in ("control", "accent", "edge", "glow"):
            assert contrast(named[line][night], named["paper"][night]) >= 3, (line, night)


def test_plot_model_writes_it(tmp_path: Path) -> None:
    plot_model(nested(), tmp_path / "model.html", show_shapes=True, expand_nested=True, rankdir="LR")
    assert (tmp_path / "model.html").read_bytes() == to_html(nested(), Show(shapes=True, nested=True), "LR")


def test_a_notebook_shows_the_page_in_a_sandbox() -> None:
    """The frame may run its script, and nothing else: no same origin, no forms, no way to the notebook."""
    model = hostile(HOSTILE[3:] + HOSTILE[:3])
    shown = to_notebook(model)
    ((tag, attributes),) = Reader(shown).elements
    assert tag == "iframe"
    assert set(attributes) == {"sandbox", "title", "style", "srcdoc"}
    assert attributes["sandbox"] == "allow-scripts"
    inside = to_html(model, Show(shapes=True), "TB", is_embedded=True).decode()
    assert attributes["srcdoc"] == inside
    assert html.unescape(shown).count("<iframe") == 1
    assert "data-embedded" in inside


def test_a_graph_shows_itself() -> None:
    """Notebooks ask for a bundle, so that no cell holds the long ``repr`` of a graph as well."""
    model = nested()
    assert model._repr_mimebundle_() == {
        "text/plain": "<ModelGraph of multimodal: 9 layers>",
        "text/html": to_notebook(model),
    }
