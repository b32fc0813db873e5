"""A model as a page to look around in: one HTML file that needs nothing else."""

from befit.graph.viewer.notebook import to_notebook
from befit.graph.viewer.page import to_html

__all__ = ["to_html", "to_notebook"]
