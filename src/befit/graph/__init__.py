"""Models as graphs: read from Keras and PyTorch, printed as tables, drawn as pictures."""

from befit.graph.draw import THEMES, Colours, Theme
from befit.graph.model_graph import Edge, Layer, ModelGraph, Node, Parameter, TensorSpec
from befit.graph.plot import model_to_dot, plot_model
from befit.graph.reading import model_graph
from befit.graph.summary import Summary, print_summary, summary

__all__ = [
    "Colours",
    "Edge",
    "Layer",
    "ModelGraph",
    "Node",
    "Parameter",
    "Summary",
    "THEMES",
    "TensorSpec",
    "Theme",
    "model_graph",
    "model_to_dot",
    "plot_model",
    "print_summary",
    "summary",
]
