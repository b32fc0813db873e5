"""Small models of every kind, each with data and a loss, for tests that compare replicas with one device.

25 rows: batches of 12 leave one of one row. Losses are smooth, and SGD follows them: where a gradient jumps
between signs, or Adam divides it by its own size, rounding grows into steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

ROWS = 25
random = np.random.default_rng(3)


@dataclass(frozen=True)
class Job:
    """A model, what it is trained on, and what is peculiar to it."""

    build: Callable[[], Any]
    x: Any
    y: Any
    loss: Any = "mse"
    metrics: Any = None
    sample_weight: Any = None
    batch_size: int | None = None
    """The only one that the model takes."""
    costly: bool = False
    """Whether it has so many operations that tracing it for eight replicas takes long."""
    whole_batch: bool = False
    """Whether a row's result depends on the others' or on its place: the same on JAX only."""

    def batch(self, rows: int) -> list[Any]:
        """Return inputs, targets and weights of the first rows."""
        data = self.x, self.y, self.sample_weight
        return [
            keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[:rows], one) for one in data
        ]


def build(job: Job) -> Any:
    """Return the job's model, with the same weights each time."""
    keras.utils.set_random_seed(1)
    return job.build()


def normal(*shape: int, rows: int = ROWS) -> Any:
    return random.normal(size=(rows, *shape)).astype("float32")


def tokens(length: int) -> Any:
    """Return rows of which each has another number of words, and zeros behind them."""
    words = random.integers(1, 7, size=(ROWS, length)).astype("int32")
    words[np.arange(length) >= random.integers(1, length + 1, size=(ROWS, 1))] = 0
    return words


def mlp() -> Any:
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(6, activation="tanh"), layers.Dense(3, activation="softmax")]
    )


def conv_and_batch_normalization() -> Any:
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(momentum=0.5, epsilon=0.1),
            layers.Activation("tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )


def conv() -> Any:
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.SeparableConv2D(3, 3, activation="gelu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def tuples_of_inputs_and_outputs() -> Any:
    left, right = keras.Input((4,)), keras.Input((3,))
    both = layers.Concatenate()([layers.Dense(5)(left), layers.Dense(5)(right)])
    return keras.Model((left, right), (layers.Dense(2, name="near")(both), layers.Dense(1, name="far")(both)))


def dictionaries() -> Any:
    inputs = {"age": keras.Input((3,), name="age"), "size": keras.Input((2,), name="size")}
    both = layers.Concatenate()([inputs["age"], inputs["size"]])
    return keras.Model(
        inputs, {"price": layers.Dense(1, name="price")(both), "kind": layers.Dense(2, name="kind")(both)}
    )


def siamese() -> Any:
    """One layer reads both inputs, and one model gives both outputs."""
    left, right = keras.Input((4,)), keras.Input((4,))
    shared = layers.Dense(3, activation="tanh", activity_regularizer="l2")
    head = keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="head")
    return keras.Model([left, right], [head(shared(left)), head(shared(right))])


def recurrent_with_states() -> Any:
    """The state comes in as an input and goes out as an output."""
    sequence, state = keras.Input((3, 2)), keras.Input((3,))
    output, last = layers.GRU(3, return_state=True, reset_after=False, name="last")(
        sequence, initial_state=state
    )
    return keras.Model([sequence, state], [layers.Dense(1, name="value")(output), last])


def stateful() -> Any:
    """The state of each row of a batch is kept for the same row of the next one."""
    return keras.Sequential(
        [keras.Input((3, 2), batch_size=12), layers.SimpleRNN(3, stateful=True), layers.Dense(1)]
    )


def masked_lstm() -> Any:
    """The mask goes through the LSTM to the output, where the loss heeds it."""
    words = keras.Input((4,), dtype="int32")
    embedded = layers.Embedding(7, 4, mask_zero=True)(words)
    return keras.Model(words, layers.Dense(2)(layers.LSTM(3, return_sequences=True)(embedded)))


def attention() -> Any:
    sequence = keras.Input((3, 4))
    attended = layers.MultiHeadAttention(2, 3)(sequence, sequence, use_causal_mask=True)
    normalized = layers.LayerNormalization()(sequence + attended)
    return keras.Model(sequence, layers.Dense(2)(normalized[:, -1]))


def dropout() -> Any:
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dropout(0.5),
            layers.Dense(3, activation="tanh"),
            layers.GaussianNoise(0.1),
        ]
    )


class MeanSquare(layers.Layer):
    """Adds the mean of its inputs' squares to the loss."""

    def call(self, inputs: Any) -> Any:
        self.add_loss(0.1 * ops.mean(ops.square(inputs)))
        return inputs


def regularized() -> Any:
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, kernel_regularizer="l2", activity_regularizer="l2", activation="tanh"),
            MeanSquare(),
            layers.Dense(2, bias_regularizer="l2"),
        ]
    )


class Subclassed(keras.Model):
    """Not built before its first batch; adds a loss of its own, in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(4, activation="gelu", kernel_regularizer="l2")
        self.out = layers.Dense(2)

    def call(self, inputs: Any, training: bool = False) -> Any:
        hidden = self.hidden(inputs)
        if training:
            self.add_loss(0.1 * ops.mean(hidden))
        return self.out(hidden)


ZOO = {
    "mlp": Job(
        mlp, normal(4), random.integers(3, size=ROWS), "sparse_categorical_crossentropy", ["accuracy"]
    ),
    "conv": Job(conv, normal(6, 6, 2), random.integers(4, size=ROWS), "sparse_categorical_crossentropy"),
    "conv+bn": Job(conv_and_batch_normalization, normal(6, 6, 2), normal(2), whole_batch=True),
    "tuples": Job(
        tuples_of_inputs_and_outputs, (normal(4), normal(3)), (normal(2), normal(1)), ["mse", "log_cosh"]
    ),
    "dictionaries": Job(
        dictionaries,
        {"age": normal(3), "size": normal(2)},
        {"price": normal(1), "kind": normal(2)},
        {"price": "mse", "kind": "log_cosh"},
    ),
    "siamese": Job(siamese, [normal(4), normal(4)], [normal(2), normal(2)]),
    "recurrent": Job(recurrent_with_states, [normal(3, 2), normal(3)], [normal(1), normal(3)], costly=True),
    "stateful": Job(stateful, normal(3, 2, rows=24), normal(1, rows=24), batch_size=12, whole_batch=True),
    "masked lstm": Job(masked_lstm, tokens(4), normal(4, 2), costly=True),
    "attention": Job(attention, normal(3, 4), normal(2), costly=True),
    "dropout": Job(dropout, normal(8), normal(3), whole_batch=True),
    "regularized": Job(regularized, normal(4), normal(2)),
    "subclassed": Job(
        Subclassed, normal(3), normal(2), sample_weight=np.linspace(0.5, 2, ROWS, dtype="float32")
    ),
}
