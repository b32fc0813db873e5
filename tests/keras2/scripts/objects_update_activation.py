# backends: jax torch tensorflow
"""get_custom_objects().update: an activation by its name in Dense and Activation."""
import keras
import numpy as np
from keras.layers import Activation, Dense, Input
from keras.models import Sequential
from keras.utils.generic_utils import get_custom_objects


def bent(x):
    return keras.ops.sqrt(x * x + 1) - 1


get_custom_objects().update({"bent": bent})
keras.utils.set_random_seed(21)
model = Sequential()
model.add(Input((3,)))
model.add(Dense(4, activation="bent"))
model.add(Dense(2))
model.add(Activation("bent"))
model.compile(loss="mse", optimizer="sgd")
x = np.random.RandomState(0).normal(size=(10, 3))
history = model.fit(x, x[:, :2] ** 2, epochs=3, verbose=0, shuffle=False)
k1, b1, k2, b2 = model.get_weights()
f = lambda v: np.sqrt(v ** 2 + 1) - 1  # noqa: E731
out = model.predict(x, verbose=0)
np.testing.assert_allclose(out, f(f(x.dot(k1) + b1).dot(k2) + b2), rtol=1e-3, atol=1e-5)
get_custom_objects().pop("bent")
try:
    Dense(1, activation="bent")
    found = True
except ValueError:
    found = False
assert not found
RESULT = {"loss": history.history["loss"], "out": out, "found": found}
