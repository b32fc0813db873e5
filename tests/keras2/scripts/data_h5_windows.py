# backends: jax
"""HDF5Matrix windows: the first rows of a file train, the others validate."""
import h5py
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.io_utils import HDF5Matrix

keras.utils.set_random_seed(47)
features = np.random.RandomState(7).uniform(size=(40, 3))
with h5py.File("all.h5", "w") as f:
    f["features"] = features
    f["target"] = features.sum(axis=1, keepdims=True)


def centre(block):
    return block - 0.5


X_train = HDF5Matrix("all.h5", "features", start=0, end=30, normalizer=centre)
y_train = HDF5Matrix("all.h5", "target", start=0, end=30)
X_test = HDF5Matrix("all.h5", "features", 30, 40, centre)
y_test = HDF5Matrix("all.h5", "target", 30, 40)
assert X_train.shape == (30, 3) and len(X_test) == 10
model = Sequential([Input(shape=(3,)), Dense(1)])
model.compile("sgd", "mse")
history = model.fit(X_train, y_train, batch_size=10, epochs=2, shuffle=False, verbose=0,
                    validation_data=(X_test, y_test))
kernel, bias = model.get_weights()
out = (features[30:] - 0.5).dot(kernel) + bias
expected = ((out - features[30:].sum(axis=1, keepdims=True)) ** 2).mean()
np.testing.assert_allclose(history.history["val_loss"][-1], expected, rtol=1e-4)
score = model.evaluate(X_test, y_test, batch_size=4, verbose=0)
np.testing.assert_allclose(score, expected, rtol=1e-4)
RESULT = {"history": history.history, "score": score, "predicted": model.predict(X_test, verbose=0)}
