"""A model as a value: layers, the calls of them, and the tensors that flow between those calls.

Nothing here knows a framework. A reader in ``befit.integrations`` makes a ``ModelGraph``; summaries and
pictures are made from it, and only from it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[int | None, ...]
"""Axis lengths; ``None`` stands for an axis of any length, such as the batch axis."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The shape and dtype of one tensor; ``shape`` is ``None`` where it is not known."""

    shape: Shape | None
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One weight array of a model, which several layers may share."""

    key: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool

    @property
    def count(self) -> int:
        """The number of values in it."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The memory of its values, by the number of bits that its dtype names; a ``bool`` takes a byte."""
        return (self.count * _bits(self.dtype) + 7) // 8


@functools.cache
def _bits(dtype: str) -> int:
    number = re.search(r"\d+", dtype)
    return int(number[0]) if number else 8


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer object, however often it is called.

    Attributes:
        key: unique in the whole graph.
        name: as the user knows it.
        type: the name of its class, or of the function for an operation without a class.
        path: names from the model down to this layer; in PyTorch its attribute path (``"encoder.0.fc"``).
        parameters: keys into ``ModelGraph.parameters`` of every weight in it, inner layers included.
        is_input: the layer only marks where data enters.
        wrapped: name and type of the layer inside a wrapper such as ``TimeDistributed``.
        inner: the graph inside, for a nested model.
        built: the weights exist.
        config: scalar settings worth showing, such as ``{"units": 64}``.
    """

    key: str
    name: str
    type: str
    path: str
    parameters: tuple[int, ...] = ()
    is_input: bool = False
    wrapped: tuple[str, str] | None = None
    inner: ModelGraph | None = None
    built: bool = True
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Node:
    """One call of one layer.

    Attributes:
        index: its place in ``ModelGraph.nodes``.
        layer: the key of the layer that was called.
        call: how often this layer had been called before, as its framework counts.
        inputs: what went in.
        outputs: what came out.
        macs: multiply-adds of its matrix products, convolutions, attention and recurrent steps; all else
            counts nothing. In PyTorch for the example input as it was given, in Keras for one sample where
            the batch axis has any length. ``None`` if it is not known.
    """

    index: int
    layer: str
    call: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    macs: int | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """One tensor on its way: output ``output`` of node ``source`` is input ``input`` of node ``target``."""

    source: int
    output: int
    target: int
    input: int


@dataclass(frozen=True, slots=True)
class ModelGraph:
    """A whole model.

    Attributes:
        name: the model's own name.
        type: the name of its class.
        framework: ``"keras"`` or ``"torch"``.
        layers: by key, in the order in which a summary lists them.
        nodes: the calls, in an order in which they could run.
        edges: the tensors between them.
        parameters: by key; each weight once, however many layers share it.
        is_sequential: the model is a plain stack by construction (``Sequential``).
        is_traced: ``edges`` is complete; where it is not, the model's code could not be followed.
        untraced_because: the reason, in words, where ``is_traced`` is false.
        is_built: the weights exist.
    """

    name: str
    type: str
    framework: str
    layers: Mapping[str, Layer]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    parameters: Mapping[int, Parameter]
    is_sequential: bool = False
    is_traced: bool = True
    untraced_because: str = ""
    is_built: bool = True

    @property
    def macs(self) -> int | None:
        """Multiply-adds of all calls; ``None`` if those of one of them are not known."""
        known = [node.macs for node in self.nodes if node.macs is not None]
        return sum(known) if self.is_traced and len(known) == len(self.nodes) else None

    def layer_of(self, node: Node) -> Layer:
        """Return the layer that ``node`` is a call of."""
        return self.layers[node.layer]

    def _repr_html_(self) -> str:
        from befit.graph.viewer import to_notebook  # it imports this module

        return to_notebook(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return what notebooks show, without the long ``repr`` that they would keep beside it."""
        return {
            "text/plain": f"<ModelGraph of {self.name}: {len(self.layers)} layers>",
            "text/html": self._repr_html_(),
        }
