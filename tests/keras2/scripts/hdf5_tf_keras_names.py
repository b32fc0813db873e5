# backends: jax tensorflow
"""tensorflow.keras: HDF5Matrix, fit without shuffling, evaluate with sample weights from the file."""
import h5py
import numpy as np
import tensorflow as tf
from tensorflow.keras.layers import Dense, Input
from tensorflow.keras.models import Sequential
from tensorflow.keras.utils import HDF5Matrix

tf.keras.utils.set_random_seed(19)
rng = np.random.RandomState(19)
x, y, w = rng.normal(size=(33, 4)), rng.normal(size=(33, 1)), rng.uniform(size=33)
with h5py.File("weighted.h5", "w") as f:
    f.create_dataset("x", data=x)
    f.create_dataset("y", data=y)
    f.create_dataset("w", data=w)
x_mat = HDF5Matrix("weighted.h5", "x")
y_mat = tf.keras.utils.HDF5Matrix("weighted.h5", "y")
w_mat = HDF5Matrix("weighted.h5", "w")

model = Sequential([Input(shape=(4,)), Dense(8, activation="relu"), Dense(1)])
model.compile(optimizer="sgd", loss="mse")
history = model.fit(x_mat, y_mat, sample_weight=w_mat, epochs=2, batch_size=10, shuffle=False, verbose=0)
loss = model.evaluate(x_mat, y_mat, sample_weight=w[:], batch_size=33, verbose=0)
out = model.predict(x_mat, verbose=0)
np.testing.assert_allclose(loss, (w * ((out - y) ** 2)[:, 0]).mean(), rtol=1e-4)
RESULT = {"loss": history.history["loss"], "evaluated": loss, "out": out, "shape": x_mat.shape}
