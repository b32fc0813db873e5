# backends: tensorflow
"""tensorflow.python.keras.utils.io_utils: HDF5Matrix with shuffle='batch' from TensorFlow's inner package."""
import h5py
import numpy as np
import tensorflow as tf
from tensorflow.python.keras.utils.io_utils import HDF5Matrix

tf.keras.utils.set_random_seed(23)
x = np.random.RandomState(23).normal(size=(50, 2)).astype("float32")
with h5py.File("inner.h5", "w") as f:
    f["x"] = x
    f["y"] = x[:, :1] - x[:, 1:]

model = tf.keras.models.Sequential([tf.keras.layers.Input(shape=(2,)), tf.keras.layers.Dense(1)])
model.compile(optimizer=tf.keras.optimizers.SGD(learning_rate=0.1), loss="mse")
x_train, y_train = HDF5Matrix("inner.h5", "x", 0, 40), HDF5Matrix("inner.h5", "y", 0, 40)
before = model.evaluate(x_train, y_train, verbose=0)
history = model.fit(x_train, y_train, batch_size=8, epochs=20, shuffle="batch", verbose=0)
x_test, y_test = HDF5Matrix("inner.h5", "x", 40), HDF5Matrix("inner.h5", "y", 40)
after = model.evaluate(x_test, y_test, verbose=0)
assert after < 1e-3 * before
RESULT = {"before": before, "loss": history.history["loss"], "weights": model.get_weights()}
