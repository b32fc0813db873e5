"""How wide a text is: in Helvetica, the font that SVG and PDF files name, without any font at hand."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import TypeAlias

TextWidth: TypeAlias = Callable[[str, float], float]
"""``(text, font size)`` → width, in the unit of the font size."""

# Widths in thousandths of the font size, from Adobe's metrics of the 14 standard PDF fonts (Helvetica); Arial
# and Liberation Sans have the same.
_WIDTHS = {
    191: "'",
    222: "ijl",
    260: "|",
    278: " !,./:;[\\]ftI",
    333: "()-`r",
    334: "{}",
    355: '"',
    389: "*",
    469: "^",
    500: "ckvsxyzJ",
    556: "#$0123456789?L_abdeghnopqu",
    584: "+<=>~\N{MULTIPLICATION SIGN}\N{PLUS-MINUS SIGN}",
    611: "FTZ",
    667: "&ABEKPSVXY",
    722: "CDHNRUw",
    778: "GOQ",
    833: "Mm",
    889: "%",
    944: "W",
    1000: "—…",
    1015: "@",
}
_WIDTH_OF = {character: width for width, characters in _WIDTHS.items() for character in characters}
_UNKNOWN = 600
_WIDE = 1000


def helvetica_width(text: str, size: float) -> float:
    """Return the width of ``text`` in Helvetica; characters that it lacks are estimated.

    >>> helvetica_width("abc", 10)
    16.12
    """
    return sum(_character_width(character) for character in text) * size / 1000


def _character_width(character: str) -> int:
    width = _WIDTH_OF.get(character)
    if width is not None:
        return width
    if unicodedata.combining(character):
        return 0
    if unicodedata.east_asian_width(character) in "WF":
        return _WIDE
    letter = unicodedata.normalize("NFD", character)[0]  # "é" is as wide as "e"
    return _WIDTH_OF.get(letter, _UNKNOWN)
