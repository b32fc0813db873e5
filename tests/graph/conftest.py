"""Models of every kind, in Keras and in PyTorch, with the shape of an example input."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras, with its automatic names counting from the beginning."""
    import keras

    keras.backend.clear_session()
    return keras


@pytest.fixture(scope="module")
def sequential(keras: Any) -> Any:
    """The plain stack of the worked example."""
    return keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(512, activation="relu", name="dense_1"),
            keras.layers.Dropout(0.2, name="dropout_1"),
            keras.layers.Dense(10, activation="softmax", name="dense_2"),
        ],
        name="stack",
    )


@pytest.fixture(scope="module")
def two_inputs(keras: Any) -> Any:
    """Two inputs, shared layers and a name that is too long for its column."""
    layers = keras.layers
    first, second = (keras.Input((28, 28, 1), name=name) for name in ("input_1", "input_2"))
    convolution = layers.Conv2D(32, 3, name="conv2d_1")
    normalization = layers.BatchNormalization(name="batch_normalization_1")
    pooled = layers.GlobalAveragePooling2D(name="gap")(normalization(convolution(first)))
    pooled_b = layers.GlobalAveragePooling2D(name="gap_b")(normalization(convolution(second)))
    flat = layers.Flatten(name="flatten_with_a_really_long_name")(first)
    joined = layers.Concatenate(name="concatenate_1")([pooled, pooled_b, flat])
    return keras.Model([first, second], layers.Dense(1, name="dense_1")(joined), name="two_inputs")


@pytest.fixture(scope="module")
def siamese(keras: Any) -> Any:
    """A nested model that is called twice."""
    layers = keras.layers
    pixels = keras.Input((8,), name="pixels")
    base = keras.Model(
        pixels, layers.Dense(4, name="dense_b")(layers.Dense(6, name="dense_a")(pixels)), name="base"
    )
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    difference = layers.Subtract(name="difference")([base(left), base(right)])
    return keras.Model([left, right], layers.Dense(1, name="score")(difference), name="siamese")


@pytest.fixture(scope="module")
def many_outputs(keras: Any) -> Any:
    """A dict of inputs, a layer with several outputs, operations that are no layers, several outputs."""
    layers, ops = keras.layers, keras.ops
    inputs = {
        "tokens": keras.Input((5,), dtype="int32", name="tokens"),
        "bias": keras.Input((6,), name="bias"),
    }
    embedded = layers.Embedding(11, 6, name="embedding")(inputs["tokens"])
    sequence, _, cell = layers.LSTM(6, return_sequences=True, return_state=True, name="lstm")(embedded)
    mean = ops.mean(sequence, axis=1) + inputs["bias"]
    return keras.Model(inputs, [layers.Dense(2, name="scores")(mean), cell], name="many_outputs")


@pytest.fixture(scope="module")
def wrappers(keras: Any) -> Any:
    """Layers inside layers."""
    layers = keras.layers
    steps = keras.Input((7, 3), name="steps")
    each = layers.TimeDistributed(layers.Dense(4, name="inner"), name="each")(steps)
    both = layers.Bidirectional(layers.GRU(5, name="gru"), name="both")(each)
    return keras.Model(steps, both, name="wrappers")


@pytest.fixture
def subclassed(keras: Any) -> Any:
    """A subclassed model with a nested one and a layer that it never calls; not called yet."""

    class Block(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="block")
            self.wide = keras.layers.Dense(6, name="wide")
            self.stack = keras.Sequential([keras.layers.Dense(4, name="narrow")], name="stack")

        def call(self, x: Any) -> Any:
            return self.stack(keras.ops.relu(self.wide(x)))

    class Residual(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="residual")
            self.block = Block()
            self.unused = keras.layers.Dense(9, name="unused")
            self.unused.build((None, 4))
            self.head = keras.layers.Dense(2, name="head")

        def call(self, x: Any) -> Any:
            return self.head(self.block(x) + x)

    return Residual()
