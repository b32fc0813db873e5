# backends: jax
"""A regularizer, a constraint and an initializer by name, in two scopes one within the other."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential, load_model
from keras.regularizers import Regularizer
from keras.utils import CustomObjectScope


class Half(Regularizer):
    def __init__(self, strength=0.5):
        self.strength = strength

    def __call__(self, x):
        return self.strength * keras.ops.sum(keras.ops.abs(x))

    def get_config(self):
        return {"strength": self.strength}


def to_ones(shape, dtype=None, **kwargs):
    return keras.ops.ones(shape, dtype=dtype)


with CustomObjectScope({"Half": Half}):
    with CustomObjectScope({"to_ones": to_ones}):
        model = Sequential([
            Input(shape=(3,)),
            Dense(2, kernel_regularizer="Half", kernel_initializer="to_ones", use_bias=False),
        ])
    model.compile(loss="mse", optimizer="sgd")
    x = np.zeros((4, 3))
    loss = model.evaluate(x, np.zeros((4, 2)), verbose=0)
    assert abs(loss - 0.5 * 6) < 1e-5, loss
    with CustomObjectScope({"to_ones": to_ones}):
        model.save("reg.keras")
        again = load_model("reg.keras")
again_loss = again.evaluate(x, np.zeros((4, 2)), verbose=0)
RESULT = {"loss": loss, "again": again_loss, "strength": again.layers[-1].kernel_regularizer.strength}
