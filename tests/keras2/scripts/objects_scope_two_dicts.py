# backends: jax torch tensorflow
"""CustomObjectScope with two dicts, and load_model of an .h5 file inside it."""
import keras
import numpy as np
from keras import backend as K
from keras.layers import Dense, Input, Layer
from keras.models import Sequential, load_model
from keras.utils.generic_utils import CustomObjectScope


class Scale(Layer):
    def __init__(self, factor=2.0, **kwargs):
        super(Scale, self).__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        config = {"factor": self.factor}
        base_config = super(Scale, self).get_config()
        return dict(list(base_config.items()) + list(config.items()))


def clipped(x):
    return keras.ops.minimum(keras.activations.relu(x), 1.5)


keras.utils.set_random_seed(20)
model = Sequential([Input(shape=(3,)), Dense(4, activation=clipped), Scale(3.0)])
x = np.linspace(-2, 2, 15).reshape(5, 3)
expected = model.predict(x, verbose=0)
model.save("net.h5")
K.clear_session()
with CustomObjectScope({"Scale": Scale}, {"clipped": clipped}):
    loaded = load_model("net.h5")
actual = loaded.predict(x, verbose=0)
np.testing.assert_allclose(actual, expected, rtol=1e-5)
kernel, bias = loaded.get_weights()
np.testing.assert_allclose(actual, 3 * np.clip(x.dot(kernel) + bias, 0, 1.5), rtol=1e-4, atol=1e-5)
RESULT = {"actual": actual, "factor": loaded.layers[-1].factor}
