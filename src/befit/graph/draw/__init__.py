"""Drawing: ``picture`` turns a diagram into shapes and texts; ``png``, ``svg`` and ``pdf`` write those.

``dot`` writes the diagram itself, for Graphviz to lay out.
"""

from befit.graph.draw.dot import to_dot
from befit.graph.draw.marks import Picture
from befit.graph.draw.pdf import pdf_width, to_pdf
from befit.graph.draw.picture import draw
from befit.graph.draw.png import PngFont, to_png
from befit.graph.draw.svg import to_svg

__all__ = ["Picture", "PngFont", "draw", "pdf_width", "to_dot", "to_pdf", "to_png", "to_svg"]
