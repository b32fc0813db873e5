"""Layered layout: sizes of boxes and the edges between them → where everything goes.

The steps are those of Sugiyama, each in a file of its own: ``ranks`` gives every box a row, ``rows`` cuts
edges that span several rows into pieces, ``ordering`` sorts each row so that few edges cross, ``coordinates``
finds the positions along the rows, ``routing`` leads the edges between the rows. ``placing`` runs them.
"""

from befit.graph.layout.placing import RANKDIRS, lay_out, list_boxes
from befit.graph.layout.values import Layout, Point, Rectangle, Size

__all__ = ["RANKDIRS", "Layout", "Point", "Rectangle", "Size", "lay_out", "list_boxes"]
