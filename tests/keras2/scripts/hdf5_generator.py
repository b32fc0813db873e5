# backends: jax torch tensorflow
"""HDF5Matrix: a generator that cuts batches out of matrices, for fit_generator."""
import h5py
import keras
import numpy as np
from keras.layers import Dense, Flatten, Input
from keras.models import Sequential
from keras.utils import HDF5Matrix, np_utils

keras.utils.set_random_seed(17)
rng = np.random.RandomState(17)
with h5py.File("series.h5", "w") as f:
    f["x"] = rng.normal(size=(40, 5, 2)).astype("float32")
    f["y"] = rng.randint(0, 3, size=40)

X = HDF5Matrix("series.h5", "x", normalizer=lambda rows: rows * 2)
Y = HDF5Matrix("series.h5", "y", normalizer=lambda rows: np_utils.to_categorical(rows, 3))
assert Y.shape == (40, 3)


def generate(x, y, batch_size, start, end):
    while 1:
        for i in range(start, end, batch_size):
            stop = min(i + batch_size, end)
            yield x[i:stop], y[i:stop]


model = Sequential([Input(shape=X.shape[1:]), Flatten(), Dense(3, activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="sgd", metrics=["accuracy"])
history = model.fit_generator(generate(X, Y, 8, 0, 30), steps_per_epoch=4, epochs=2,
                              validation_data=generate(X, Y, 4, 30, 40), validation_steps=3,
                              max_queue_size=2, verbose=0)
out = model.predict_generator(generate(X, Y, 4, 30, 40), steps=3)
np.testing.assert_allclose(out, model.predict(X[30:40], verbose=0), rtol=1e-4, atol=1e-6)
RESULT = {"history": history.history, "out": out}
