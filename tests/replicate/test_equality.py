"""Every kind of model: replicas and one device give the same losses, metrics, predictions and weights.

Losses are smooth: where a gradient jumps between signs, Adam makes whole steps out of rounding.

25 rows in batches of 6: on two devices 3 + 3 rows, on four 2 + 2 + 1 + 1, and a last batch of one row.
"""

import keras
import numpy as np
import pytest
from keras import layers

from befit import multi_gpu_model

pytestmark = pytest.mark.backends

ROWS = 25
random = np.random.default_rng(3)


def normal(*shape):
    return random.normal(size=(ROWS, *shape)).astype("float32")


def dense(units, seed, **settings):
    return layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), **settings)


def conv():
    image = keras.Input((6, 6, 2))
    hidden = layers.Conv2D(
        3, 3, activation="relu", kernel_initializer=keras.initializers.GlorotUniform(seed=1)
    )(image)
    return keras.Model(image, dense(4, 2, activation="softmax")(layers.Flatten()(hidden)))


def shared_layer_with_tuples():
    left, right = keras.Input((4,)), keras.Input((4,))
    shared = dense(5, 1, activation="tanh", activity_regularizer="l2")
    both = layers.Concatenate()([shared(left), shared(right)])
    return keras.Model((left, right), (dense(2, 2, name="near")(both), dense(1, 3, name="far")(both)))


def dictionaries():
    inputs = {"age": keras.Input((3,), name="age"), "size": keras.Input((2,), name="size")}
    both = layers.Concatenate()([inputs["age"], inputs["size"]])
    return keras.Model(
        inputs, {"price": dense(1, 1, name="price")(both), "kind": dense(2, 2, name="kind")(both)}
    )


def masked_sequence():
    """The output carries a mask, which the loss heeds."""
    tokens = keras.Input((3,), dtype="int32")
    embedded = layers.Embedding(
        7, 4, mask_zero=True, embeddings_initializer=keras.initializers.RandomUniform(seed=1)
    )(tokens)
    return keras.Model(tokens, dense(2, 4)(embedded))


class Subclassed(keras.Model):
    """Not built before its first batch; adds a loss of its own."""

    def __init__(self):
        super().__init__()
        self.hidden = dense(4, 1, activation="relu", kernel_regularizer="l2")
        self.out = dense(2, 2)

    def call(self, inputs, training=False):
        hidden = self.hidden(inputs)
        if training:
            self.add_loss(0.1 * keras.ops.mean(hidden))
        return self.out(hidden)


ZOO = {
    "conv": (conv, normal(6, 6, 2), random.integers(4, size=ROWS), "sparse_categorical_crossentropy"),
    "tuples": (shared_layer_with_tuples, (normal(4), normal(4)), (normal(2), normal(1)), ["mse", "log_cosh"]),
    "dictionaries": (
        dictionaries,
        {"age": normal(3), "size": normal(2)},
        {"price": normal(1), "kind": normal(2)},
        {"price": "mse", "kind": "log_cosh"},
    ),
    "masked": (masked_sequence, random.integers(7, size=(ROWS, 3)).astype("int32"), normal(3, 2), "mse"),
    "subclassed": (Subclassed, normal(3), normal(2), "mse", np.linspace(0.5, 2.0, ROWS).astype("float32")),
}  # fmt: skip


def train(model, x, y, loss, sample_weight=None):
    """Return everything that training and using ``model`` gives, by name."""
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    fitted = model.fit(x, y, sample_weight=sample_weight, batch_size=6, epochs=2, shuffle=False, verbose=0)
    predictions = keras.tree.flatten(model.predict(x, batch_size=6, verbose=0))
    results = {f"history {name}": values for name, values in fitted.history.items()}
    results |= {f"prediction {index}": values for index, values in enumerate(predictions)}
    return results | {f"weight {index}": values for index, values in enumerate(model.get_weights())}


@pytest.mark.parametrize(
    ("name", "count"), [("conv", 2), ("tuples", 4), ("dictionaries", 2), ("masked", 4), ("subclassed", 4)]
)
def test_replicas_give_the_numbers_of_one_device(name, count):
    build, *job = ZOO[name]
    expected = train(build(), *job)
    actual = train(multi_gpu_model(build(), gpus=count), *job)
    assert actual.keys() == expected.keys()
    for result, values in expected.items():
        np.testing.assert_allclose(actual[result], values, rtol=1e-5, atol=1e-5, err_msg=result)
