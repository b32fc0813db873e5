"""Drawing: ``picture`` turns a diagram into shapes and texts; ``png``, ``svg`` and ``pdf`` write those.

``dot`` writes the diagram itself, for Graphviz to lay out.
"""

from befit.graph.draw.dot import to_dot
from befit.graph.draw.graphviz import run_dot
from befit.graph.draw.marks import Picture
from befit.graph.draw.pdf import pdf_width, to_pdf
from befit.graph.draw.picture import draw
from befit.graph.draw.png import PngFont, to_png
from befit.graph.draw.svg import to_svg
from befit.graph.draw.theme import THEMES, Colours, Theme

__all__ = [
    "THEMES",
    "Colours",
    "Picture",
    "PngFont",
    "Theme",
    "draw",
    "pdf_width",
    "run_dot",
    "to_dot",
    "to_pdf",
    "to_png",
    "to_svg",
]
