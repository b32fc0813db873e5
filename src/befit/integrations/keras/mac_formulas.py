"""Closed formulas for the multiply-adds of Keras' layers and operations, by the name of the class.

Each takes the layer and what its call was given, with axis lengths in the place of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

Sizes = tuple[int, ...]


class Unknown(Exception):
    """Something that the number depends on is not known."""


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments and results of one call.

    Attributes:
        args: positional arguments.
        kwargs: the others.
        outputs: the results.
        sizes: returns the axis lengths of a tensor, anything else as it is.
        layer_macs: returns the multiply-adds of a layer inside the one that is called.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    outputs: Sequence[Any]
    sizes: Callable[[Any], Any]
    layer_macs: Callable[[Any, Given], int]

    def argument(self, position: int, name: str) -> Any:
        """Return what an argument is, wherever it was given; ``None`` if it was not."""
        value = self.args[position] if position < len(self.args) else self.kwargs.get(name)
        return [self.sizes(item) for item in value] if isinstance(value, list) else self.sizes(value)

    @property
    def first(self) -> Sizes:
        """The first argument, whatever it is called."""
        return known(self.sizes(self.args[0] if self.args else next(iter(self.kwargs.values()), None)))

    @property
    def out(self) -> Sizes:
        """The first result."""
        return known(self.sizes(self.outputs[0]))

    def inside(self, first: Sizes, out: Sizes) -> Given:
        """Return what a layer inside this one is given."""
        return Given([first], {}, [out], _same, self.layer_macs)


def _same(value: Any) -> Any:
    return value


def known(sizes: Any) -> Sizes:
    """Return ``sizes`` if they are axis lengths, all of them known."""
    if not isinstance(sizes, tuple) or None in sizes:
        raise Unknown
    return sizes


def product(one: Sizes, other: Sizes) -> int:
    """Return the multiply-adds of ``one @ other``."""
    one, other = known(one), known(other)
    batch: tuple[int, ...] = ()
    if len(one) > 2 or len(other) > 2:
        pairs = zip(
            reversed(one[:-2]),
            reversed(other[:-2]),
            strict=False,
        )
        common = tuple(max(pair) if min(pair) else 0 for pair in pairs)
        longer = max(one[:-2], other[:-2], key=len)
        batch = (*longer[: len(longer) - len(common)], *common)
    rows = one[-2] if len(one) > 1 else 1
    columns = other[-1] if len(other) > 1 else 1
    return math.prod(batch) * rows * one[-1] * columns


def einsum(subscripts: str, operands: Sequence[Sizes]) -> int:
    """Return the multiply-adds of an einsum of two operands: one for each combination of all its labels.

    Labels that only one operand has and the result has not are summed up first. Without a label that both
    have and the result has not, nothing is added up.
    """
    terms, arrow, result = subscripts.replace(" ", "").partition("->")
    names = terms.split(",")
    if len(names) == 1:
        return 0
    if len(names) > 2:
        raise Unknown  # it depends on the order in which they are multiplied
    sizes: dict[str, int] = {}
    labels = []
    for name, operand in zip(names, operands, strict=True):
        head, dots, tail = name.partition("...")
        more = len(known(operand)) - len(head) - len(tail)
        if more < 0 or (more and not dots):
            raise Unknown
        found = [*head, *(f".{number}" for number in range(more, 0, -1)), *tail]
        for label, length in zip(found, operand, strict=True):
            sizes[label] = max(sizes.get(label, 1), length)  # an axis of length 1 is stretched
        labels.append(found)
    both = set(labels[0]) & set(labels[1])
    if not arrow:
        result = "".join({label for label in sizes if label[0] != "."} - both) + "..."
    kept = set(result.replace("...", "")) | {label for label in sizes if label[0] == "."}
    if not both - kept:
        return 0
    return math.prod(sizes[label] for label in both | kept)


def _positions(sizes: Sizes, channels: int) -> int:
    return math.prod(sizes) // channels


def _size(weight: Any) -> int:
    return math.prod(weight.shape)


def _plain(layer: Any) -> None:
    """Refuse a layer that multiplies by more than its kernel."""
    if getattr(layer, "lora_enabled", False):
        raise Unknown


def _dense(layer: Any, given: Given) -> int:
    _plain(layer)
    return math.prod(given.first) * int(layer.units)


def _einsum_dense(layer: Any, given: Given) -> int:
    _plain(layer)
    if getattr(layer, "quantization_mode", None) is not None:
        raise Unknown  # its kernel is packed
    return einsum(layer.equation, [given.first, tuple(layer.kernel.shape)])


def _reversible_embedding(layer: Any, given: Given) -> int:
    if not given.argument(1, "reverse"):
        return 0
    return math.prod(given.first) * int(layer.input_dim)


def _convolution(layer: Any, given: Given) -> int:
    _plain(layer)
    return _positions(given.out, layer.filters) * _size(layer.kernel)


def _transposed_convolution(layer: Any, given: Given) -> int:
    return _positions(given.first, layer.kernel.shape[-1]) * _size(layer.kernel)


def _depthwise_convolution(layer: Any, given: Given) -> int:
    return _positions(given.out, math.prod(layer.kernel.shape[-2:])) * _size(layer.kernel)


def _separable_convolution(layer: Any, given: Given) -> int:
    weights = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    return _positions(given.out, layer.filters) * weights


def _cell(cell: Any, given: Given) -> int:
    steps = math.prod(given.first[:-1])
    if isinstance(cell, keras.layers.StackedRNNCells):
        return steps * sum(_weights_of_cell(inner) for inner in cell.cells)
    return steps * _weights_of_cell(cell)


def _weights_of_cell(cell: Any) -> int:
    """Return the multiply-adds of one step: each weight of the two matrices is used once."""
    if type(cell) not in (keras.layers.SimpleRNNCell, keras.layers.GRUCell, keras.layers.LSTMCell):
        raise Unknown
    return _size(cell.kernel) + _size(cell.recurrent_kernel)


def _recurrent(layer: Any, given: Given) -> int:
    return _cell(layer.cell, given)


def _convolutional_recurrent(layer: Any, given: Given) -> int:
    steps = math.prod(given.first[:2])
    place = given.out[2 if layer.return_sequences else 1 :]
    weights = _size(layer.cell.kernel) + _size(layer.cell.recurrent_kernel)
    return steps * _positions(place, layer.cell.filters) * weights


def _bidirectional(layer: Any, given: Given) -> int:
    return sum(
        given.layer_macs(inner, given.inside(given.first, _output(inner, given.first)))
        for inner in (layer.forward_layer, layer.backward_layer)
    )


def _output(layer: Any, sizes: Sizes) -> Sizes:
    shape = layer.compute_output_shape(sizes)
    return tuple(shape[0] if isinstance(shape[0], (tuple, list)) else shape)


def _time_distributed(layer: Any, given: Given) -> int:
    def together(sizes: Sizes) -> Sizes:
        return (sizes[0] * sizes[1], *sizes[2:])

    return given.layer_macs(layer.layer, given.inside(together(given.first), together(given.out)))


def _wrapped(layer: Any, given: Given) -> int:
    return given.layer_macs(layer.layer, given)


def _multi_head_attention(layer: Any, given: Given) -> int:
    projected, query, key = _projections(layer, given)
    seen = int(math.prod(key[axis] for axis in layer._attention_axes))
    depth = int(layer._num_heads * (layer._key_dim + layer._value_dim))
    return projected + math.prod(query[:-1]) * seen * depth


def _grouped_query_attention(layer: Any, given: Given) -> int:
    projected, query, key = _projections(layer, given)
    return projected + math.prod(query[:-1]) * key[1] * int(layer.num_query_heads * layer.head_dim) * 2


def _projections(layer: Any, given: Given) -> tuple[int, Sizes, Sizes]:
    """Return the multiply-adds of the matrices around an attention, and the lengths of query and key."""
    query, value = known(given.argument(0, "query")), known(given.argument(1, "value"))
    key = given.argument(2, "key")
    key = value if key is None else known(key)
    pairs = [
        *((layer._query_dense, query), (layer._key_dense, key)),
        *((layer._value_dense, value), (layer._output_dense, query)),
    ]
    if (gate := getattr(layer, "_gate_dense", None)) is not None:
        pairs.append((gate, query))
    macs = 0
    for dense, sizes in pairs:
        _plain(dense)
        macs += math.prod(sizes[:-1]) * _size(dense.kernel)
    return macs, query, key


def _attention(layer: Any, given: Given) -> int:
    tensors = given.argument(0, "inputs")
    if not isinstance(tensors, list) or len(tensors) < 2:
        raise Unknown
    query, value = known(tensors[0]), known(tensors[1])
    pairs = math.prod(query[:-1]) * value[-2]
    by_product = not isinstance(layer, keras.layers.AdditiveAttention) and layer.score_mode == "dot"
    return pairs * (value[-1] + (query[-1] if by_product else 0))


def _matmul(operation: Any, given: Given) -> int:
    return product(given.argument(0, "x1"), given.argument(1, "x2"))


def _dot(operation: Any, given: Given) -> int:
    """The layer and the operation ``dot`` have one name; the layer takes a list and has a batch axis."""
    if isinstance(operation, keras.layers.Layer):
        one, other = map(known, given.argument(0, "inputs"))
        axes = operation.axes
        axis = axes if isinstance(axes, int) else axes[0]
        return math.prod(one) * math.prod(other) // (one[0] * one[axis])
    one, other = known(given.argument(0, "x1")), known(given.argument(1, "x2"))
    return math.prod(one) * math.prod(other) // one[-1] if one and other else 0


def _vdot(operation: Any, given: Given) -> int:
    return math.prod(known(given.argument(0, "x1")))


def _tensordot(operation: Any, given: Given) -> int:
    one, other = known(given.argument(0, "x1")), known(given.argument(1, "x2"))
    axes = operation.axes
    if isinstance(axes, int):
        summed = one[len(one) - axes :]
    else:
        first = axes[0]
        summed = tuple(one[axis] for axis in ([first] if isinstance(first, int) else first))
    return math.prod(one) * math.prod(other) // math.prod(summed) if summed else 0


def _einsum(operation: Any, given: Given) -> int:
    return einsum(operation.subscripts, [given.sizes(operand) for operand in given.args])


def _convolution_operation(operation: Any, given: Given) -> int:
    kernel = known(given.argument(1, "kernel"))
    return _positions(given.out, kernel[-1]) * math.prod(kernel)


def _transposed_operation(operation: Any, given: Given) -> int:
    kernel = known(given.argument(1, "kernel"))
    return _positions(given.first, kernel[-1]) * math.prod(kernel)


def _depthwise_operation(operation: Any, given: Given) -> int:
    kernel = known(given.argument(1, "kernel"))
    return _positions(given.out, math.prod(kernel[-2:])) * math.prod(kernel)


def _separable_operation(operation: Any, given: Given) -> int:
    kernels = known(given.argument(1, "depthwise_kernel")), known(given.argument(2, "pointwise_kernel"))
    return _positions(given.out, kernels[1][-1]) * sum(map(math.prod, kernels))


def _dot_product_attention(operation: Any, given: Given) -> int:
    query, key, value = (
        known(given.argument(position, name)) for position, name in enumerate(("query", "key", "value"))
    )
    return math.prod(query[:-1]) * key[1] * (query[-1] + value[-1])


FORMULAS: Mapping[str, Callable[[Any, Given], int]] = {
    "Dense": _dense,
    "EinsumDense": _einsum_dense,
    "ReversibleEmbedding": _reversible_embedding,
    "BaseConv": _convolution,
    "BaseConvTranspose": _transposed_convolution,
    "BaseDepthwiseConv": _depthwise_convolution,
    "BaseSeparableConv": _separable_convolution,
    "SimpleRNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "ConvLSTM": _convolutional_recurrent,
    "RNN": _recurrent,
    "SimpleRNNCell": _cell,
    "GRUCell": _cell,
    "LSTMCell": _cell,
    "StackedRNNCells": _cell,
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
    "SpectralNormalization": _wrapped,
    "MultiHeadAttention": _multi_head_attention,
    "GroupedQueryAttention": _grouped_query_attention,
    "Attention": _attention,
    "Dot": _dot,
    "Matmul": _matmul,
    "Inner": _dot,
    "Vdot": _vdot,
    "Tensordot": _tensordot,
    "Einsum": _einsum,
    "Conv": _convolution_operation,
    "ConvTranspose": _transposed_operation,
    "DepthwiseConv": _depthwise_operation,
    "SeparableConv": _separable_operation,
    "DotProductAttention": _dot_product_attention,
}
