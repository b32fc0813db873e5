"""Multiply-adds of Keras calls against closed formulas, for one sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from befit.graph.reading import model_graph
from befit.graph.summary import summary

pytestmark = pytest.mark.backends

Make = Callable[[Any], Any]

# A layer, the shapes of its inputs, and what they cost.
LAYERS: dict[str, tuple[Make, tuple[tuple[int, ...], ...], int]] = {
    "dense": (lambda la: la.Dense(4), ((8,),), 8 * 4),
    "dense over a sequence": (lambda la: la.Dense(4), ((100, 8),), 100 * 8 * 4),
    "dense over an image": (lambda la: la.Dense(4, use_bias=False), ((5, 6, 8),), 5 * 6 * 8 * 4),
    "einsum dense": (
        lambda la: la.EinsumDense("abc,cde->abde", output_shape=(None, 2, 4)),
        ((5, 8),),
        5 * 8 * 2 * 4,
    ),
    "einsum dense, any axes": (
        lambda la: la.EinsumDense("...x,xy->...y", output_shape=4),
        ((5, 8),),
        5 * 8 * 4,
    ),
    "convolution 1d": (lambda la: la.Conv1D(6, 3), ((10, 4),), 8 * 6 * 3 * 4),
    "causal convolution": (
        lambda la: la.Conv1D(6, 3, padding="causal", dilation_rate=2),
        ((10, 4),),
        10 * 6 * 12,
    ),
    "convolution 2d": (lambda la: la.Conv2D(16, 3, padding="same"), ((32, 32, 3),), 442_368),
    "strided and grouped": (
        lambda la: la.Conv2D(16, (3, 5), strides=2, groups=2, padding="same"),
        ((33, 32, 4),),
        17 * 16 * 16 * 15 * 2,
    ),
    "dilated": (lambda la: la.Conv2D(5, 3, dilation_rate=2), ((9, 9, 2),), 5 * 5 * 5 * 9 * 2),
    "convolution 3d": (lambda la: la.Conv3D(4, 3, strides=2), ((9, 9, 9, 2),), 64 * 4 * 27 * 2),
    "transposed": (lambda la: la.Conv2DTranspose(8, 4, 2, padding="same"), ((16, 16, 16),), 524_288),
    "transposed 1d": (lambda la: la.Conv1DTranspose(6, 5, 3), ((7, 4),), 7 * 4 * 6 * 5),
    "depthwise": (
        lambda la: la.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        ((8, 8, 4),),
        64 * 4 * 2 * 9,
    ),
    "depthwise 1d": (lambda la: la.DepthwiseConv1D(3, strides=2), ((9, 4),), 4 * 4 * 3),
    "separable": (
        lambda la: la.SeparableConv2D(12, 3, padding="same", depth_multiplier=2),
        ((6, 6, 8),),
        36 * (8 * 2 * 9 + 16 * 12),
    ),
    "separable 1d": (lambda la: la.SeparableConv1D(12, 3, strides=2), ((9, 8),), 4 * (8 * 3 + 8 * 12)),
    "simple rnn": (lambda la: la.SimpleRNN(16), ((5, 8),), 5 * (8 * 16 + 16 * 16)),
    "lstm": (lambda la: la.LSTM(16, return_sequences=True), ((5, 8),), 5 * (8 * 64 + 16 * 64)),
    "gru": (lambda la: la.GRU(16, reset_after=False), ((5, 8),), 5 * (8 * 48 + 16 * 48)),
    "both ways": (lambda la: la.Bidirectional(la.GRU(16)), ((5, 8),), 2 * 5 * (8 * 48 + 16 * 48)),
    "stacked cells": (
        lambda la: la.RNN([la.LSTMCell(6), la.GRUCell(3)]),
        ((5, 8),),
        5 * (8 * 24 + 6 * 24 + 6 * 9 + 3 * 9),
    ),
    "convolutional lstm": (
        lambda la: la.ConvLSTM2D(4, 3, padding="same", return_sequences=True),
        ((5, 8, 8, 2),),
        5 * 64 * (2 * 9 * 16 + 4 * 9 * 16),
    ),
    "convolutional lstm, both ways": (
        lambda la: la.Bidirectional(la.ConvLSTM2D(4, 3)),
        ((5, 8, 8, 2),),
        2 * 5 * 36 * (2 * 9 * 16 + 4 * 9 * 16),
    ),
    "each step dense": (lambda la: la.TimeDistributed(la.Dense(4)), ((7, 8),), 7 * 8 * 4),
    "each step a convolution": (
        lambda la: la.TimeDistributed(la.Conv2D(3, 3)),
        ((7, 8, 8, 2),),
        7 * 36 * 3 * 18,
    ),
    "each step an lstm": (lambda la: la.TimeDistributed(la.LSTM(4)), ((3, 5, 8),), 3 * 5 * (8 * 16 + 4 * 16)),
    "spectral": (lambda la: la.SpectralNormalization(la.Dense(4)), ((8,),), 8 * 4),
    "attention layer": (lambda la: la.Attention(), ((5, 8), (6, 8)), 5 * 6 * 8 * 2),
    "additive attention": (lambda la: la.AdditiveAttention(), ((5, 8), (6, 8)), 5 * 6 * 8),
    "dot": (lambda la: la.Dot(axes=-1), ((5, 8), (6, 8)), 5 * 6 * 8),
    "dot, one axis each": (lambda la: la.Dot(axes=(2, 1)), ((5, 8), (8, 6)), 5 * 8 * 6),
    "embedding": (lambda la: la.Embedding(100, 16), ((7,),), 0),
    "normalizations": (lambda la: la.BatchNormalization(), ((7, 7, 3),), 0),
    "pooling": (lambda la: la.MaxPooling2D(2), ((8, 8, 3),), 0),
    "activation": (lambda la: la.Activation("gelu"), ((8,),), 0),
    "addition": (lambda la: la.Add(), ((8,), (8,)), 0),
}

# A function of Keras and of symbolic tensors.
OPERATIONS: dict[str, tuple[Callable[..., Any], tuple[tuple[int, ...], ...], int]] = {
    "matmul": (lambda k, x, y: k.ops.matmul(x, y), ((5, 8), (8, 6)), 5 * 8 * 6),
    "operator": (lambda k, x: x @ k.ops.transpose(x, (0, 2, 1)), ((10, 8),), 10 * 8 * 10),
    "einsum": (
        lambda k, q, s: k.ops.einsum("bthd,bshd->bhts", q, s),
        ((5, 3, 4), (6, 3, 4)),
        3 * 5 * 6 * 4,
    ),
    "einsum that adds nothing up": (lambda k, x, y: k.ops.einsum("bi,bj->bij", x, y), ((5,), (6,)), 0),
    "attention operation": (
        lambda k, q, s: k.ops.dot_product_attention(q, s, s),
        ((5, 3, 8), (6, 3, 8)),
        3 * 5 * 6 * 8 * 2,
    ),
    "attention by keywords": (
        lambda k, x: k.layers.MultiHeadAttention(4, 4)(query=x, value=x, key=x),
        ((5, 16),),
        11_840 // 2,
    ),
    "attention across": (
        lambda k, q, v: k.layers.MultiHeadAttention(2, 3, value_dim=5, output_shape=7)(q, v),
        ((5, 16), (6, 8)),
        5 * 16 * 6 + 6 * 8 * 6 + 6 * 8 * 10 + 2 * 5 * 6 * (3 + 5) + 5 * 10 * 7,
    ),
    "attention along one axis of two": (
        lambda k, x: k.layers.MultiHeadAttention(2, 3, attention_axes=(2,))(x, x),
        ((4, 5, 8),),
        4 * (4 * 5 * 8 * 6 + 2 * 5 * 5 * (3 + 3)),
    ),
    "grouped queries": (
        lambda k, q, v: k.layers.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=2)(
            q, v
        ),
        ((5, 16), (6, 16)),
        5 * 16 * 12 + 2 * 6 * 16 * 6 + 4 * 5 * 6 * 3 * 2 + 5 * 12 * 16,
    ),
    "attention with a gate": (
        lambda k, x: k.layers.MultiHeadAttention(4, 4, use_gate=True)(x, x),
        ((5, 16),),
        5 * 5 * 16 * 16 + 4 * 5 * 5 * 4 * 2,
    ),
    "grouped queries with a gate": (
        lambda k, x: k.layers.GroupQueryAttention(4, 4, 2, use_gate=True)(x, x),
        ((5, 16),),
        5 * (3 * 16 * 16 + 2 * 16 * 8) + 4 * 5 * 5 * 4 * 2,
    ),
    "one cell": (lambda k, x, h: k.layers.GRUCell(6)(x, [h])[0], ((8,), (6,)), 8 * 18 + 6 * 18),
    "tied output": (
        lambda k, x: (lambda e: e(e(x), reverse=True))(k.layers.ReversibleEmbedding(100, 16)),
        ((7,),),
        7 * 16 * 100,
    ),
    "more samples than before": (
        lambda k, x: k.layers.Dense(3)(k.ops.reshape(x, (-1, 8))),
        ((5, 8),),
        5 * 8 * 3,
    ),
    "samples put together again": (
        lambda k, x: k.layers.Dense(3)(k.ops.reshape(k.layers.Dense(8)(k.ops.reshape(x, (-1, 8))), (-1, 40))),
        ((5, 8),),
        5 * 8 * 8 + 40 * 3,
    ),
    "first step": (lambda k, x: k.layers.Dense(3)(x[:, 0]), ((5, 8),), 8 * 3),
    "one layer twice": (lambda k, x: (lambda d: d(d(x)))(k.layers.Dense(8)), ((8,),), 2 * 8 * 8),
    "convolution operation": (
        lambda k, x: k.ops.conv(x, k.Variable(k.ops.zeros((3, 4, 6)))),
        ((10, 4),),
        8 * 6 * 12,
    ),
    "tensordot": (
        lambda k, x: k.ops.tensordot(x, k.ops.zeros((5, 8, 3)), axes=[[1, 2], [0, 1]]),
        ((5, 8),),
        5 * 8 * 3,
    ),
}


def functional(keras: Any, shapes: tuple[tuple[int | None, ...], ...], apply: Callable[..., Any]) -> Any:
    inputs = [keras.Input(shape) for shape in shapes]
    return keras.Model(inputs, apply(*inputs))


@pytest.mark.parametrize("name", list(LAYERS))
def test_layers(keras: Any, name: str) -> None:
    make, shapes, macs = LAYERS[name]
    layer = make(keras.layers)
    model = functional(keras, shapes, lambda *x: layer(x[0] if len(x) == 1 else list(x)))
    assert model_graph(model).macs == macs


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations_and_keyword_tensors(keras: Any, name: str) -> None:
    apply, shapes, macs = OPERATIONS[name]
    assert model_graph(functional(keras, shapes, lambda *x: apply(keras, *x))).macs == macs


# Keras' loop over steps takes the first one twice in PyTorch; torch's counter sees no attention on a CPU.
NOT_COMPARABLE = (
    *("simple rnn", "gru", "stacked cells", "convolutional lstm", "convolutional lstm, both ways"),
    *("attention operation", "attention by keywords", "grouped queries"),
    *("attention with a gate", "grouped queries with a gate"),
)


@pytest.mark.parametrize("name", [name for name in (*LAYERS, *OPERATIONS) if name not in NOT_COMPARABLE])
def test_as_torchs_own_counter_says(keras: Any, name: str) -> None:
    """What runs in PyTorch below Keras multiplies and adds as often."""
    if keras.backend.backend() != "torch":
        pytest.skip("needs the torch backend")
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    if name in LAYERS:
        layer = LAYERS[name][0](keras.layers)
        shapes, macs = LAYERS[name][1:]
        model = functional(keras, shapes, lambda *x: layer(x[0] if len(x) == 1 else list(x)))
    else:
        apply, shapes, macs = OPERATIONS[name]
        model = functional(keras, shapes, lambda *x: apply(keras, *x))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model([torch.zeros((1, *shape)) for shape in shapes])
    assert counter.get_total_flops() == 2 * macs


def test_fixed_batch_is_counted_whole(keras: Any) -> None:
    x = keras.Input(batch_shape=(4, 8))
    assert model_graph(keras.Model(x, keras.layers.Dense(3)(x))).macs == 4 * 8 * 3


def test_channels_first(keras: Any) -> None:
    layer = keras.layers.Conv2D(5, 3, data_format="channels_first")
    assert model_graph(functional(keras, ((2, 9, 8),), layer)).macs == 7 * 6 * 5 * 18


def test_nested_model_costs_what_its_calls_cost(keras: Any, siamese: Any) -> None:
    value = summary(siamese, expand_nested=True)
    macs = {row.name: row.macs for row in value.rows}
    base = 8 * 6 + 6 * 4
    assert (macs["base"], macs["dense_a"], macs["dense_b"]) == (2 * base, 8 * 6, 6 * 4)
    assert value.total_macs == 2 * base + 4
    steps = functional(keras, ((7, 8),), keras.layers.TimeDistributed(siamese.get_layer("base")))
    assert model_graph(steps).macs == 7 * base


def test_nested_model_is_counted_for_what_it_is_called_on(keras: Any) -> None:
    """It takes any length; the call tells which."""
    steps = keras.Input((None, 8))
    inner = keras.Model(steps, keras.layers.Dense(4)(steps))
    assert model_graph(inner).macs is None
    assert model_graph(functional(keras, ((10, 8),), inner)).macs == 10 * 8 * 4
    each = keras.layers.TimeDistributed(inner)
    assert model_graph(functional(keras, ((3, 10, 8),), each)).macs == 3 * 10 * 8 * 4


def test_subclassed_model_is_followed(subclassed: Any) -> None:
    assert model_graph(subclassed, (3, 4)).macs == 4 * 6 + 6 * 4 + 4 * 2


@pytest.mark.parametrize("what", ["own layer", "lambda", "own subclass", "open length", "batch turned away"])
def test_what_is_not_known_is_not_made_up(keras: Any, what: str) -> None:
    class Own(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1)))

    class Loud(keras.layers.Dense):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return super().call(super().call(x))

    apply, shape = {
        "own layer": (Own(), (5, 8)),
        "lambda": (keras.layers.Lambda(lambda x: x), (5, 8)),
        "own subclass": (Loud(8), (5, 8)),
        "open length": (keras.layers.Dense(3), (None, 8)),
        "batch turned away": (
            lambda x: keras.layers.Dense(3)(keras.ops.concatenate([x, x], axis=0)),
            (8,),
        ),
    }[what]
    model = functional(keras, (shape,), apply)
    value = summary(model, columns=("macs",))
    assert model_graph(model).macs is None
    assert not value.macs_complete
    assert any(row.macs is None for row in value.rows)
    assert "?" in str(value)


def test_subclass_that_only_sets_arguments_is_known(keras: Any) -> None:
    class Small(keras.layers.Dense):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(3, activation="relu")

    assert model_graph(functional(keras, ((8,),), Small())).macs == 24


def test_lora_is_not_counted_as_if_it_were_not_there(keras: Any) -> None:
    layer = keras.layers.Dense(4)
    model = functional(keras, ((8,),), layer)
    layer.enable_lora(2)
    assert model_graph(model).macs is None
