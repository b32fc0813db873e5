# backends: jax torch tensorflow
"""HDF5Matrix: validation_split takes the last rows; shuffle=False keeps the order."""
import h5py
import keras
import numpy as np
from keras import utils
from keras.layers import Dense, Input
from keras.models import Model

rng = np.random.RandomState(7)
x, y = rng.normal(size=(48, 3)), rng.normal(size=(48, 2))
with h5py.File("data.h5", "w") as h5:
    h5["inputs"], h5["targets"] = x, y

keras.utils.set_random_seed(7)
X = utils.HDF5Matrix("data.h5", "inputs", end=40)
Y = utils.HDF5Matrix("data.h5", "targets", end=40)
inputs = Input(shape=(3,))
model = Model(inputs, Dense(2)(inputs))
model.compile(optimizer="sgd", loss="mse")
first = model.get_weights()
history = model.fit(X, Y, batch_size=10, epochs=1, shuffle=False, validation_split=0.25, verbose=0)

kernel, bias = first  # the same by hand, in float64
losses = []
for start in range(0, 30, 10):
    a, b = x[start:start + 10], y[start:start + 10]
    wrong = a.dot(kernel) + bias - b
    losses.append((wrong ** 2).mean())
    kernel = kernel - 0.01 * a.T.dot(wrong) * 2 / wrong.size
    bias = bias - 0.01 * wrong.sum(axis=0) * 2 / wrong.size
np.testing.assert_allclose(history.history["loss"], [np.mean(losses)], rtol=1e-4)
np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-6)
val = ((x[30:40].dot(kernel) + bias - y[30:40]) ** 2).mean()
np.testing.assert_allclose(history.history["val_loss"], [val], rtol=1e-4)
RESULT = {"history": history.history, "weights": model.get_weights()}
