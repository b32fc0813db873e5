# backends: jax torch tensorflow
"""fit_generator with generator=, checked against gradient descent in NumPy."""

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import np_utils

keras.utils.set_random_seed(0)
rng = np.random.RandomState(7)
X = rng.normal(size=(40, 3)).astype("float32")
Y = X.dot(np.array([[1.0], [-2.0], [0.5]], "float32")) + 0.25


def generate(batch_size):
    i = 0
    while 1:
        yield X[i : i + batch_size], Y[i : i + batch_size]
        i = (i + batch_size) % len(X)


model = Sequential()
model.add(Input(shape=(3,)))
model.add(Dense(1, kernel_initializer="zeros"))
model.compile(loss="mse", optimizer=keras.optimizers.SGD(learning_rate=0.1))
history = model.fit_generator(generator=generate(8), steps_per_epoch=5, epochs=3, verbose=0)

w, b = np.zeros((3, 1)), 0.0
losses = []
for epoch in range(3):
    seen = []
    for i in range(0, 40, 8):
        error = X[i : i + 8].dot(w) + b - Y[i : i + 8]
        seen.append((error**2).mean())
        w, b = w - 0.1 * 2 * X[i : i + 8].T.dot(error) / 8, b - 0.1 * 2 * error.mean()
    losses.append(np.mean(seen))
np.testing.assert_allclose(model.get_weights()[0], w, atol=1e-5)
np.testing.assert_allclose(history.history["loss"], losses, rtol=1e-4)
print("loss:", history.history["loss"][-1])
RESULT = {"loss": history.history["loss"], "weights": model.get_weights(), "unit": np_utils.normalize(w.T)}
