"""From a model of any framework to its graph."""

from __future__ import annotations

from typing import Any

from befit._internal.adapters import framework_of, integration
from befit.errors import UnsupportedObjectError
from befit.graph.model_graph import ModelGraph

READERS = ("keras", "torch")


def model_graph(model: Any, inputs: Any = None) -> ModelGraph:
    """Read a model as a graph of layer calls and the tensors between them.

    Keras knows the graph of a functional or built Sequential model. A subclassed one is called on symbolic
    inputs, a PyTorch module on an example input; both are left as they were found, except that a Keras model
    which is not built yet is built.

    Args:
        model: a ``keras.Model``, a ``torch.nn.Module``, or a ``ModelGraph``, which is returned as it is.
        inputs: an example input: a tensor, or a shape with the batch axis such as ``(32, 10)`` for float32
            zeros; a tuple of them for several arguments, or a dict of them. PyTorch modules need it for
            shapes and connections, Keras models only if they are not built yet.

    Returns:
        A frozen value without framework types. Shapes have ``None`` for axes of any length, such as the
        batch axis. Where no input is known, ``is_traced`` is false and only layers and parameters are there.

    Raises:
        UnsupportedObjectError: ``model`` is no model of these frameworks.
        GraphError: the model failed on ``inputs``.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="scores")])
        >>> graph = model_graph(model)
        >>> [(graph.layer_of(node).type, node.outputs[0].shape) for node in graph.nodes]
        [('InputLayer', (None, 3)), ('Dense', (None, 2))]
        >>> sum(parameter.count for parameter in graph.parameters.values())
        8
    """
    if isinstance(model, ModelGraph):
        return model
    framework = framework_of(model)
    if framework not in READERS:
        raise UnsupportedObjectError(
            f"{type(model).__module__}.{type(model).__qualname__} is no model that befit can read; "
            "give a keras.Model or a torch.nn.Module"
        )
    graph: ModelGraph = integration(framework, "graph").read_graph(model, inputs)
    return graph
