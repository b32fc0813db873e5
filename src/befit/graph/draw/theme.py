"""Colours and measures of a picture, in pixels at 96 dpi.

The fills are so light that black text and a black-and-white printer cope with all of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Colours:
    """Of one sort of box: its face and its border."""

    fill: str
    border: str


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

BACKGROUND = "#ffffff"
TEXT = "#1f2430"
QUIET_TEXT = "#5d6675"
EDGE = "#59626f"
FRAME_FILL = "#f9fafb"
FRAME_BORDER = "#a3abb7"
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
NOTE_GAP = 12
NOTE_LINE = 70  # characters
ARROW_LENGTH = 8.0
ARROW_WIDTH = 6.5
