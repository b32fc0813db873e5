# backends: jax torch tensorflow
"""HDF5Matrix: three windows of one file for training, validation and test."""
import h5py
import keras
import numpy as np
from keras.callbacks import EarlyStopping
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import io_utils

path = "train.h5"
n = 90
x = np.random.RandomState(5).uniform(size=(n, 4))
y = x.dot(np.array([[1.0], [2.0], [3.0], [4.0]]))
with h5py.File(path, "w") as hf:
    hf.create_dataset("x", data=x)
    hf.create_dataset("y", data=y)

keras.utils.set_random_seed(5)
split1, split2 = int(n * 0.6), int(n * 0.8)
x_train = io_utils.HDF5Matrix(path, "x", start=0, end=split1)
y_train = io_utils.HDF5Matrix(path, "y", start=0, end=split1)
x_val = io_utils.HDF5Matrix(path, "x", start=split1, end=split2)
y_val = io_utils.HDF5Matrix(path, "y", start=split1, end=split2)
x_test = io_utils.HDF5Matrix(path, "x", start=split2)
y_test = io_utils.HDF5Matrix(path, "y", start=split2)
print(x_train.shape, x_val.shape, x_test.shape)

model = Sequential([Input(shape=(4,)), Dense(1)])
model.compile(loss="mean_squared_error", optimizer="sgd", metrics=["mae"])
history = model.fit(x_train, y_train,
                    validation_data=(x_val, y_val),
                    batch_size=16, epochs=5, shuffle="batch", verbose=0,
                    callbacks=[EarlyStopping(monitor="val_loss", patience=2)])
score = model.evaluate(x_test, y_test, batch_size=7, verbose=0)
kernel, bias = model.get_weights()
wrong = x[split1:split2].dot(kernel) + bias - y[split1:split2]
np.testing.assert_allclose(history.history["val_loss"][-1], (wrong ** 2).mean(), rtol=1e-4)
np.testing.assert_allclose(score[1], np.abs(x[split2:].dot(kernel) + bias - y[split2:]).mean(), rtol=1e-4)
RESULT = {"history": history.history, "score": score, "lengths": [len(x_train), len(x_val), len(x_test)]}
