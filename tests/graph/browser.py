"""A real Chromium, driven through chromedriver: what the viewer's tests look through.

Debian's packages ``chromium`` and ``chromium-driver`` bring both; nothing is downloaded here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
WHY_NOT = "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)

# Boxes that overlap or stick out of their frame; edges that lead through a box, do not reach their boxes or
# run on top of each other; all by what is on the screen.
FAULTS = """
  const faults = [], data = JSON.parse(document.getElementById('data').textContent);
  const boxes = document.querySelectorAll('.box'), levels = document.querySelectorAll('.level');
  const places = [...boxes].map((box) => box.querySelector('.border').getBoundingClientRect());
  const isShown = (number) => places[number].width > 0;
  const name = (number) => data.boxes[number].name;
  const distance = ({ left, right, top, bottom }, [x, y]) =>
    Math.max(left - x, x - right, top - y, y - bottom); // below 0 inside
  data.levels.forEach((level, n) => {
    const inside = level.items.filter(isShown), frame = places[level.parent];
    inside.forEach((number, i) => {
      const a = places[number];
      for (const other of inside.slice(0, i)) {
        const b = places[other];
        const overlap = Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5
          && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.5;
        if (overlap) faults.push(`${name(number)} overlaps ${name(other)}`);
      }
      const corners = [[a.left, a.top], [a.right, a.bottom]];
      const isOutside = frame && corners.some((corner) => distance(frame, corner) > 0);
      if (isOutside) faults.push(`${name(number)} sticks out`);
    });
    if (!inside.length) return;
    const covered = new Map();
    [...levels[n].firstElementChild.children].forEach((edge, i) => {
      const source = level.links[2 * i], target = level.links[2 * i + 1];
      const matrix = edge.getScreenCTM(), length = edge.getTotalLength(), points = [];
      for (let way = 0; way <= length; way += 2) {
        const { x, y } = edge.getPointAtLength(way).matrixTransform(matrix);
        points.push([x, y]);
      }
      const reach = 12 * matrix.a; // the arrowhead, and a step
      const ends = [[source, points[0]], [target, points[points.length - 1]]];
      for (const [number, end] of ends) {
        if (Math.abs(distance(places[number], end)) > reach) faults.push(`an edge misses ${name(number)}`);
      }
      const hit = inside.find((number) => points.some((point) => distance(places[number], point) < -1));
      if (hit !== undefined) faults.push(`an edge leads through ${name(hit)}`);
      let shared = 0;
      for (const [x, y] of points) {
        const key = `${Math.round(x)},${Math.round(y)}`, other = covered.get(key);
        if (other && other[0] !== source && other[1] !== target) shared += 1;
        covered.set(key, [source, target]);
      }
      if (shared > 20) faults.push(`edges from ${name(source)} to ${name(target)} and another run together`);
    });
  });
  return faults;
"""

# Where everything is and how large, whatever is near enough to show its texts.
PLACES = """
  const parts = document.querySelectorAll('#view :is(.box, .inside, .edge, .border, .title)');
  const names = ['transform', 'd', 'width', 'height', 'x', 'y'];
  return [...parts].map((part) => names.map((name) => part.getAttribute(name)));
"""


class Page:
    """One page in the browser, and what tests do with it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, scheme: str = "light") -> None:
        """Open a file, on a system with light or dark colours on which nothing is to move."""
        self.prefer(scheme)
        self.driver.get(path.as_uri())
        self.settle()

    def prefer(self, scheme: str, motion: str = "reduce") -> None:
        """Let the system prefer a scheme of colours, and to ``"reduce"`` motion or not."""
        values = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        features = [{"name": name, "value": value} for name, value in values.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def run(self, script: str, *arguments: object) -> Any:
        """Return what a piece of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def settle(self) -> None:
        """Wait until what has been asked for is painted."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        )

    def rest(self) -> None:
        """Wait until the picture has not moved for ten frames."""
        self.driver.execute_async_script(
            "const done = arguments[0], view = document.getElementById('view'); let before = '', still = 0;"
            "(function wait() {"
            "  const now = view.getAttribute('transform');"
            "  still = now === before ? still + 1 : 0;"
            "  before = now;"
            "  if (still < 10) requestAnimationFrame(wait); else done();"
            "})();"
        )

    def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()
        self.settle()

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element that is in sight."""
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self._mouse("mousePressed", self._middle(selector), **held)
        self._mouse("mouseReleased", self._middle(selector), **held)

    def scroll(self, selector: str, down: int) -> None:
        """Turn the wheel with the pointer in the middle of an element."""
        self._mouse("mouseWheel", self._middle(selector), deltaX=0, deltaY=down)

    def drag(self, selector: str, right: int, down: int) -> None:
        """Drag an element with the mouse."""
        x, y = self._middle(selector)
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        self._mouse("mousePressed", (x, y), **held)
        for part in (0.25, 0.5, 1):
            self._mouse("mouseMoved", (x + right * part, y + down * part), **held)
        self._mouse("mouseReleased", (x + right, y + down), **held)

    def pinch(self, selector: str, start: float, end: float) -> None:
        """Move two fingers apart, from one distance to another, around the middle of an element."""
        x, y = self._middle(selector)
        for kind, distance in (
            ("touchStart", start),
            ("touchMove", (start + end) / 2),
            ("touchMove", end),
            ("touchEnd", 0),
        ):
            fingers = [{"x": x + side * distance / 2, "y": y, "id": side + 1} for side in (-1, 1)]
            points = {"type": kind, "touchPoints": fingers if distance else []}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", points)
        self.settle()

    def _middle(self, selector: str) -> tuple[float, float]:
        box = self.box(selector)
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def _mouse(self, kind: str, at: tuple[float, float], **what: object) -> None:
        event = {"type": kind, "x": at[0], "y": at[1], **what}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        self.settle()

    def box(self, selector: str) -> dict[str, float]:
        """Return where an element is on the screen."""
        found = self.run(
            "return document.querySelector(arguments[0])?.getBoundingClientRect().toJSON()", selector
        )
        assert found is not None, f"no {selector}"
        return found  # type: ignore[no-any-return]

    def faults(self) -> list[str]:
        """Return what overlaps, what sticks out of its frame, and edges that lead through boxes."""
        return list(self.run(FAULTS))

    def places(self) -> list[list[str]]:
        """Return where everything in the picture is, and how large."""
        return list(self.run(PLACES))

    def messages(self) -> list[str]:
        """Return what the console of the page said since the last question."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return every address that was asked for since the last question."""
        entries = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [event["request"]["url"] for event in sent]


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start a browser with an empty profile in the folder ``profile``, and end it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        yield Page(driver)
    finally:
        driver.quit()
