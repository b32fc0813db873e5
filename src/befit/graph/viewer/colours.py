"""The colours of the sorts of layers, as a style sheet: those of every other picture."""

from __future__ import annotations

from befit.graph.draw.theme import DARK, LIGHT
from befit.graph.kinds import KINDS


def kinds_css() -> str:
    """Return one rule for each sort of layer, and one for those that are not trained."""
    pairs = {kind: (LIGHT.box(kind), DARK.box(kind)) for kind in KINDS} | {
        "frozen": (LIGHT.frozen, DARK.frozen)
    }
    return "".join(
        f".k-{kind} {{ --fill: light-dark({light.fill}, {dark.fill}); "
        f"--line: light-dark({light.border}, {dark.border}); }}\n"
        for kind, (light, dark) in pairs.items()
    )
