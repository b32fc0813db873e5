# backends: jax torch tensorflow
"""HDF5Matrix: a normalizer that changes values and the shape of a row."""
import h5py
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import HDF5Matrix

rng = np.random.RandomState(2)
images = rng.randint(0, 256, size=(40, 3, 3)).astype("uint8")
labels = rng.randint(0, 3, size=40)
with h5py.File("images.hdf5", "w") as f:
    f["images"] = images
    f["labels"] = labels

seen = []


def normalize_image(x):
    seen.append(x.ndim)
    x = x.astype("float32") / 255.0
    return x.reshape(x.shape[0], 9) - 0.5


keras.utils.set_random_seed(2)
x_train = HDF5Matrix("images.hdf5", "images", 0, 30, normalizer=normalize_image)
y_train = HDF5Matrix("images.hdf5", "labels", 0, 30)
x_test = HDF5Matrix("images.hdf5", "images", start=30, normalizer=normalize_image)
assert x_train.shape == (30, 9)
assert x_train.dtype == np.float32
expected = images.reshape(40, 9).astype("float32") / 255.0 - 0.5
np.testing.assert_allclose(x_train[3:7], expected[3:7])

model = Sequential([Input(shape=(9,)), Dense(3, activation="softmax")])
model.compile("sgd", "sparse_categorical_crossentropy")
hist = model.fit(x_train, y_train, batch_size=8, epochs=2, shuffle=False, verbose=0)
out = model.predict(x_test, verbose=0)
np.testing.assert_allclose(out, model.predict(expected[30:], verbose=0), rtol=1e-5)
RESULT = {"loss": hist.history["loss"], "out": out, "dims": sorted(set(seen)), "slice": x_train[28:]}
