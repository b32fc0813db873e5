"""The viewer in a real Chromium: what one sees, clicks and types."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from befit.graph.diagram import Show
from befit.graph.model_graph import ModelGraph
from befit.graph.viewer import to_html, to_notebook

sys.path.append(str(Path(__file__).parent))
from browser import CHROMIUM, DRIVER, WHY_NOT, Page, browser
from viewer_models import beside, chain, graph, layer, nested, with_parameters

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=WHY_NOT)

ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"
LEFT, UP, RIGHT, DOWN = "\ue012", "\ue013", "\ue014", "\ue015"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(shared: Page, tmp_path: Path) -> Iterator[Page]:
    """The browser; in the end, the page that was open must have nothing to complain about."""
    shared.messages()
    yield shared
    assert shared.messages() == []


def show(page: Page, folder: Path, model: ModelGraph, rankdir: str = "TB", **what: bool) -> None:
    path = folder / "model.html"
    path.write_bytes(to_html(model, Show(**what), rankdir))
    page.open(path)


def face(name: str) -> str:
    return f'.face[aria-label^="{name}:"]'


def is_shown(page: Page, name: str) -> bool:
    script = (
        "return document.querySelector(arguments[0]).querySelector('.border').getClientRects().length > 0"
    )
    return bool(page.run(script, face(name)))


def focused(page: Page) -> str:
    label: str | None = page.run(
        "const a = document.activeElement; return a.getAttribute('aria-label') ?? a.id ?? a.textContent"
    )
    return (label or "").split(":")[0]


def scale(page: Page) -> str:
    return str(page.run("return document.getElementById('scale').textContent"))


def test_it_opens_as_a_whole_and_readable(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested(), shapes=True)
    assert page.run("return document.title") == "multimodal"
    assert page.faults() == []
    window, picture = page.box("main"), page.box("#view")
    for start, end in (("left", "right"), ("top", "bottom")):
        assert picture[start] + picture[end] == pytest.approx(window[start] + window[end], abs=2), "centred"
    for name in ("image", "text", "again"):
        box = page.box(face(name))
        assert window["left"] < box["left"] < box["right"] < window["right"]
        assert window["top"] < box["top"] < box["bottom"] < window["bottom"]
        assert page.box(f"{face(name)} > .title")["height"] > 0


def test_keys_buttons_and_the_wheel_zoom(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    before = page.box(face("fuse"))["width"]
    whole = scale(page)
    page.press("+", "-", "-")
    assert page.box(face("fuse"))["width"] == pytest.approx(0.8 * before, rel=0.01)
    page.click("#zoom-in")
    assert page.box(face("fuse"))["width"] == pytest.approx(before, rel=0.01)
    page.scroll(face("fuse"), -200)
    wheeled = page.box(face("fuse"))
    assert wheeled["width"] > 1.2 * before
    page.press("0")
    assert scale(page) == whole


def test_the_wheel_zooms_where_the_pointer_is(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    before = page.box(face("text"))
    page.scroll(face("text"), -300)
    after = page.box(face("text"))
    assert after["width"] > 1.3 * before["width"]
    for start, size in (("x", "width"), ("y", "height")):
        assert after[start] + after[size] / 2 == pytest.approx(before[start] + before[size] / 2, abs=1.5)


def test_dragging_and_arrow_keys_move_the_picture(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    page.click(face("image"))
    before = page.box(face("fuse"))
    page.drag(face("fuse"), 70, 40)
    dragged = page.box(face("fuse"))
    assert (dragged["x"] - before["x"], dragged["y"] - before["y"]) == pytest.approx((70, 40), abs=1)
    assert page.run("return document.getElementById('panel-title').textContent") == "image", "no click"
    for focus in ("getElementById('stage').focus()", "activeElement.blur()"):
        before = page.box(face("fuse"))
        page.run(f"document.{focus}")
        page.press(RIGHT, UP)
        after = page.box(face("fuse"))
        assert (after["x"] - before["x"], after["y"] - before["y"]) == pytest.approx((-60, 60), abs=1)


def test_two_fingers_pinch(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    before = page.box(face("fuse"))["width"]
    page.pinch("#stage", 100, 200)
    assert page.box(face("fuse"))["width"] == pytest.approx(2 * before, rel=0.02)


@pytest.mark.parametrize("query", ["concat", "FUSE", "fuse: concatenate", "concatenate (None, 8)"])
def test_searching_finds_by_name_class_and_shape(page: Page, tmp_path: Path, query: str) -> None:
    show(page, tmp_path, nested())
    page.press("/", *query)
    assert focused(page) == "Search layers by name, class or shape"
    matches = page.run("return [...document.querySelectorAll('.match > .face')].map((e) => e.ariaLabel)")
    assert matches == ["fuse: Concatenate"]
    opacity = "return Number(getComputedStyle(document.querySelector(arguments[0])).opacity)"
    assert page.run(opacity, face("fuse")) == 1
    assert page.run(opacity, face("image")) < 0.5
    page.press(ESCAPE)
    assert page.run(opacity, face("image")) == 1


def test_enter_goes_through_the_matches_and_opens_what_they_are_in(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    page.press("/", *"_sum")
    assert page.run("return document.querySelectorAll('.holds').length") == 5
    seen = []
    for _ in range(6):
        page.press(ENTER)
        seen.append(page.run("return document.getElementById('panel-title').textContent"))
        assert is_shown(page, seen[-1])
    names = ["vision_sum", "language_a_sum", "language_b_sum", "language_sum", "head_sum"]
    assert seen == [*names, names[0]]
    assert page.faults() == []


def test_a_click_opens_the_details(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, with_parameters())
    page.click(face("wide"))
    text = page.run("return document.getElementById('panel').innerText")
    for fact in ("wide", "Dense", "body/wide", "36, of them 4 frozen", "Multiply-adds\t42", "Call 2 of 2"):
        assert fact in text
    for fact in ("(None, 4) float32", "kernel\n(8, 4) float32", "bias\n(4,) float32, frozen", "relu"):
        assert fact in text
    page.press(ESCAPE)
    assert page.run("return document.getElementById('panel').hidden")


def test_the_details_lead_to_the_neighbours(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    page.click(face("fuse"))
    links = "return [...document.querySelectorAll('#panel .links button')].map((b) => b.innerText)"
    assert page.run(links) == [
        "vision: Functional",
        "language: Functional",
        "shortcut: Conv2D",
        "head: Functional",
        "again: Add",
    ]
    assert page.run("return document.querySelectorAll('.edge.lit').length") == 5
    page.click("#panel .links:last-child li:first-child button")
    assert page.run("return document.querySelector('#panel .act').textContent") == "Open this model"
    page.click("#panel .act")
    assert is_shown(page, "head_0")
    assert page.run("return document.querySelector('#panel .act').textContent") == "Close this model"
    page.click("#panel .links:last-child li:last-child button")
    assert page.run("return document.getElementById('panel-title').textContent") == "again"
    assert page.run("return document.querySelectorAll('.chosen').length") == 1


def test_a_nested_model_opens_and_closes(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    closed = page.places()
    assert not is_shown(page, "head_0")
    for _ in range(2):
        page.click(f"{face('head')} + .fold")
        assert is_shown(page, "head_0")
        assert page.run("return document.querySelector(arguments[0]).ariaExpanded", face("head")) == "true"
        assert page.box(face("again"))["top"] > page.box(f"{face('head')} > .border")["bottom"]
        tops = {round(page.box(face(name))["top"]) for name in ("vision", "shortcut", "language")}
        assert len(tops) == 1, "closed ones still stand in a row"
        assert page.faults() == []
        page.click(f"{face('head')} + .fold")
        assert not is_shown(page, "head_0")
    assert page.places() == closed


@pytest.mark.parametrize("rankdir", ["TB", "BT", "LR", "RL"])
@pytest.mark.parametrize("model", [nested, beside])
def test_whatever_is_open_nothing_overlaps(page: Page, tmp_path: Path, model: Any, rankdir: str) -> None:
    show(page, tmp_path, model(), rankdir, shapes=rankdir == "TB")
    count = page.run("return document.querySelectorAll('.fold').length")
    for states in itertools.product([False, True], repeat=count):
        page.run(
            "const states = arguments[0];"
            "document.querySelectorAll('.fold').forEach((fold, i) => {"
            "  if (fold.parentNode.classList.contains('open') !== states[i])"
            "    fold.dispatchEvent(new MouseEvent('click', { bubbles: true }));"
            "});",
            states,
        )
        assert page.faults() == [], states


def test_all_open_is_the_layout_of_all_open(page: Page, tmp_path: Path) -> None:
    """The browser arrives, from everything closed, at what Python lays out for everything open."""
    show(page, tmp_path, nested(), nested=True)
    wanted = page.places()
    assert page.run("return document.getElementById('fold-all').textContent") == "Close all"
    show(page, tmp_path, nested())
    page.click("#fold-all")
    assert page.places() == wanted


def test_light_and_dark(page: Page, tmp_path: Path) -> None:
    """The system's choice counts until the button was used, which is remembered."""
    background = "return getComputedStyle(document.documentElement).backgroundColor"
    show(page, tmp_path, nested())
    light = page.run(background)
    page.prefer("dark")
    page.settle()
    dark = page.run(background)
    assert dark != light
    page.click("#theme")
    assert page.run(background) == light
    page.open(tmp_path / "model.html", scheme="dark")
    assert page.run(background) == light
    page.click("#theme")
    assert page.run(background) == dark
    page.run("localStorage.clear()")


def test_everything_can_be_reached_by_keys(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    order = []
    for _ in range(9):
        page.press(TAB)
        order.append(focused(page))
    assert order == [
        "Search layers by name, class or shape",
        "fold-all",
        "Dark colours",
        "Keys and colours",
        "multimodal",
        "image",
        "Zoom out",
        "Show the whole model",
        "Zoom in",
    ]


def test_a_layer_that_is_hidden_again_hands_on_its_place(page: Page, tmp_path: Path) -> None:
    """The picture has one place in the order of Tab: the layer where one was, or what hides it now."""
    show(page, tmp_path, nested(), nested=True)
    page.run("document.querySelector(arguments[0]).focus()", face("language_a_0"))
    page.click("#fold-all")
    page.press(TAB, TAB, TAB, TAB)
    assert focused(page) == "language"


def test_arrow_keys_lead_from_layer_to_layer(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, nested())
    page.run("document.querySelector(arguments[0]).focus()", face("vision"))
    path = []
    for key in (" ", DOWN, DOWN):
        page.press(key)
        path.append(focused(page))
    assert path[:2] == ["vision", "vision_in"]
    first, second = path[2], {"vision_0": "vision_1", "vision_1": "vision_0"}[path[2]]
    page.press(RIGHT if page.box(face(first))["x"] < page.box(face(second))["x"] else LEFT)
    assert focused(page) == second, "beside it"
    page.press(UP)
    assert focused(page) == "vision_in"
    page.press(UP)
    assert focused(page) == "vision", "out of it, against the data"
    page.press(DOWN, DOWN, DOWN)
    assert focused(page) == "vision_sum"
    page.press(DOWN)
    assert focused(page) == "fuse", "out of it, along the data"
    width = "return getComputedStyle(document.activeElement.querySelector('.border')).strokeWidth"
    assert page.run(width) == "3.5px", "the focus is seen"
    page.press(ENTER)
    assert focused(page) == "panel-title"
    page.press(ESCAPE)
    assert focused(page) == "fuse"
    assert page.run("return document.getElementById('panel').hidden")


def test_hostile_names_run_nothing(page: Page, tmp_path: Path) -> None:
    names = [
        "<script>window.harmed = 1</script>",
        "</script><img src=x onerror='window.harmed = 1'>",
        "\"' onfocus='window.harmed = 1' x=\"",
        "模型 \U0001f600",
    ]
    layers = [layer(name, name, config={name: name}) for name in names]
    show(page, tmp_path, graph(names[0], layers, [(0, 1), (1, 2), (2, 3)]), shapes=True)
    assert page.run("return document.title") == names[0]
    for number, name in enumerate(names):
        page.press("0")
        page.run("document.querySelectorAll('.face')[arguments[0]].focus()", number)
        page.press(ENTER)
        assert page.run("return document.getElementById('panel-title').textContent") == name
    assert page.run("return [window.harmed, document.querySelectorAll('img').length]") == [None, 0]


def test_nothing_is_asked_of_the_network(page: Page, tmp_path: Path) -> None:
    page.requests()
    show(page, tmp_path, nested(), shapes=True)
    page.press("/", *"dense", ENTER, ESCAPE, "?", ESCAPE)
    page.click("#fold-all")
    page.click("#theme")
    page.run("localStorage.clear()")
    assert page.requests() == [(tmp_path / "model.html").as_uri()]


def test_moving_ends_where_jumping_does(page: Page, tmp_path: Path) -> None:
    """Who has not asked for less motion sees the picture glide to a match; it arrives at the same place."""
    places = []
    for motion in ("reduce", "no-preference"):
        show(page, tmp_path, nested(), nested=True)
        page.prefer("light", motion)
        page.press("/", *"head_sum", ENTER)
        page.rest()
        places.append(page.box(face("head_sum")))
    assert places[0] == pytest.approx(places[1], abs=0.1)


def test_a_long_chain_shows_texts_where_one_looks(page: Page, tmp_path: Path) -> None:
    """Texts far from the window are not laid out, and are there as soon as they come near."""
    show(page, tmp_path, chain(1500), shapes=True)
    shown = (
        "return [...document.querySelectorAll('text.title')].filter((e) => e.getClientRects().length).length"
    )
    assert 5 < page.run(shown) < 100
    title = "return document.querySelector(arguments[0]).querySelector('.title').getClientRects().length"
    assert page.run(title, face("dense_1234")) == 0
    page.press("/", *"dense_1234", ENTER)
    assert page.run(title, face("dense_1234")) == 1
    assert 5 < page.run(shown) < 100


def test_paper_gets_the_whole_picture(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, chain(60))
    page.run("dispatchEvent(new Event('beforeprint'))")
    box = page.run(
        "const { width, height } = document.getElementById('stage').viewBox.baseVal; return [width, height]"
    )
    assert box[1] > 60 * 30
    page.run("dispatchEvent(new Event('afterprint'))")
    assert not page.run("return document.getElementById('stage').hasAttribute('viewBox')")
    assert page.driver.print_page()


def test_a_notebook_cell_shows_it(page: Page, tmp_path: Path) -> None:
    """Inside of its sandbox the page works, two do not meet, and the wheel belongs to the notebook."""
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!DOCTYPE html><meta charset=utf-8>{to_notebook(nested()) + to_notebook(chain(3))}")
    page.open(notebook)
    page.scroll("iframe", 50)
    assert page.run("return scrollY") > 0
    page.click("iframe")
    before = page.run("return scrollY")
    page.scroll("iframe", -50)
    assert page.run("return scrollY") == before, "after a click it zooms"
    for number, count in ((0, 31), (1, 3)):
        page.driver.switch_to.frame(number)
        assert page.run("return document.querySelectorAll('.face[role=button]').length") == count
        assert page.run("return [...document.querySelectorAll('.face')].some((face) => !face.tabIndex)")
        page.driver.switch_to.default_content()
    assert page.run("return document.querySelectorAll('.face').length") == 0


def test_a_model_without_layers_is_a_page(page: Page, tmp_path: Path) -> None:
    show(page, tmp_path, graph("nothing", [], []))
    page.press("+", "0", "/", "a", ENTER, ESCAPE)
    assert page.run("return document.title") == "nothing"
