"""Colours and measures of a picture, in pixels at 96 dpi.

The fills of the light theme are so light that black text and a black-and-white printer cope with all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from befit.errors import ArgumentError
from befit.graph.kinds import KINDS

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class Colours:
    """Of one sort of box: its face and its border, each ``"#rrggbb"``.

    Raises:
        ArgumentError: a colour is written in another way.
    """

    fill: str
    border: str

    def __post_init__(self) -> None:
        _check_colour("fill", self.fill)
        _check_colour("border", self.border)


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a picture, each ``"#rrggbb"``.

    Attributes:
        boxes: by sort of layer, one of ``befit.graph.kinds.KINDS``; sorts that are not there look like
            ``"other"``.
        frozen: of layers that are not trained, where that is shown.
        background: of the sheet, and of the shapes inside boxes.
        text: names, shapes and dtypes.
        quiet_text: headings and notes.
        edge: arrows.
        frame: around nested models and repeated blocks.

    Raises:
        ArgumentError: a colour is written in another way, or ``boxes`` lacks ``"other"`` or has a sort of
            layer that does not exist.

    Example:
        >>> from dataclasses import replace
        >>> replace(LIGHT, background="#fffdf5").background
        '#fffdf5'
    """

    boxes: Mapping[str, Colours]
    frozen: Colours
    background: str
    text: str
    quiet_text: str
    edge: str
    frame: Colours

    def __post_init__(self) -> None:
        for name in ("background", "text", "quiet_text", "edge"):
            _check_colour(name, getattr(self, name))
        _check_pair("frozen", self.frozen)
        _check_pair("frame", self.frame)
        if "other" not in self.boxes:
            raise ArgumentError("Theme(boxes=…) has no colours for 'other' layers; give it that key as well")
        for kind, pair in self.boxes.items():
            if kind not in KINDS:
                raise ArgumentError(f"Theme(boxes=…): {kind!r} is no sort of layer; write {', '.join(KINDS)}")
            _check_pair(f"boxes[{kind!r}]", pair)

    def box(self, kind: str) -> Colours:
        """Return the colours of a sort of layer."""
        return self.boxes.get(kind) or self.boxes["other"]


def _check_colour(name: str, colour: object) -> None:
    if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
        raise ArgumentError(f"{name}={colour!r} is no colour; write '#rrggbb', such as '#1f2430'")


def _check_pair(name: str, pair: object) -> None:
    if not isinstance(pair, Colours):
        raise ArgumentError(f"{name}={pair!r} is no pair of colours; write Colours('#e0ecfb', '#4a7fc1')")


COLOURS = {
    "input": Colours("#e9edf2", "#66758a"),
    "convolution": Colours("#e0ecfb", "#4a7fc1"),
    "dense": Colours("#e0f2e6", "#3f9160"),
    "normalization": Colours("#fdf2d2", "#b58a1f"),
    "activation": Colours("#fde6da", "#cc7243"),
    "pooling": Colours("#ebe5f8", "#8063b8"),
    "shape": Colours("#e1f1f2", "#468f96"),
    "merge": Colours("#fbe2ea", "#bf5078"),
    "recurrent": Colours("#e4efd3", "#71933b"),
    "attention": Colours("#e3e5fa", "#5b63bd"),
    "regularization": Colours("#f1efec", "#8b8378"),
    "embedding": Colours("#f3e6dc", "#9c6f4d"),
    "model": Colours("#eef0f3", "#4b5563"),
    "other": Colours("#f3f4f6", "#7a828e"),
}

LIGHT = Theme(
    boxes=COLOURS,
    frozen=Colours("#d7dee6", "#8796a6"),
    background="#ffffff",
    text="#1f2430",
    quiet_text="#5d6675",
    edge="#59626f",
    frame=Colours("#f9fafb", "#a3abb7"),
)

DARK = Theme(
    boxes={
        "input": Colours("#2b323c", "#8fa0b6"),
        "convolution": Colours("#1d3454", "#6ca4e8"),
        "dense": Colours("#1b3d2a", "#5cb880"),
        "normalization": Colours("#40340f", "#d0a638"),
        "activation": Colours("#472815", "#e58f61"),
        "pooling": Colours("#33274f", "#a488de"),
        "shape": Colours("#173a3e", "#63b3ba"),
        "merge": Colours("#471c2d", "#df7299"),
        "recurrent": Colours("#2b3a14", "#93b85a"),
        "attention": Colours("#262b57", "#8a92e6"),
        "regularization": Colours("#35322e", "#aba295"),
        "embedding": Colours("#3d2a1c", "#c49570"),
        "model": Colours("#2a2f37", "#97a2b2"),
        "other": Colours("#2a2d33", "#969eaa"),
    },
    frozen=Colours("#3c4754", "#9fb0c2"),
    background="#14171c",
    text="#eceff4",
    quiet_text="#a7b0bd",
    edge="#98a2b0",
    frame=Colours("#1a1e25", "#5a6472"),
)

THEMES = {"light": LIGHT, "dark": DARK}

DIVIDER_WIDTH = 0.75
EDGE_WIDTH = 1.25
BORDER_WIDTH = 1.0

MARGIN = 12
TITLE_SIZE = 13.0
ROW_SIZE = 11.5
NOTE_SIZE = 11.5
BOX_HEIGHT = 28.0
HEADER_HEIGHT = 25.0
LINE_HEIGHT = 17
ROW_PADDING = 4
SIDE_PADDING = 12
CELL_PADDING = 9
RADIUS = 5.0
FRAME_PADDING = 16
FRAME_HEADER = 30
FRAME_RADIUS = 9.0
BAND_HEIGHT = 23.0
BRACE_GAP = 7.0
BRACE_WIDTH = 5.0
NOTE_GAP = 12
NOTE_LINE = 70  # characters
ARROW_LENGTH = 8.0
ARROW_WIDTH = 6.5
