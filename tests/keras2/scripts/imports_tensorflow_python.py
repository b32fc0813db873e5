# backends: tensorflow
# needs: tensorflow
"""Names from tensorflow.python.keras, as code completion offered them; the model from tensorflow.keras."""

import h5py
import numpy as np
from tensorflow.keras.layers import Dense
from tensorflow.keras.models import Sequential
from tensorflow.python.keras.utils import Sequence, to_categorical
from tensorflow.python.keras.utils.io_utils import HDF5Matrix

with h5py.File("tfp.h5", "w") as f:
    f["x"] = np.arange(12.0).reshape(6, 2) / 12


class FromFile(Sequence):
    def __init__(self):
        self.x = HDF5Matrix("tfp.h5", "x")

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.x[2 * i : 2 * i + 2], to_categorical([0, 1], 2)


model = Sequential([Dense(2, activation="softmax", input_shape=(2,), kernel_initializer="zeros")])
model.compile("sgd", "categorical_crossentropy")
history = model.fit_generator(FromFile(), epochs=2, shuffle=False, verbose=0)
RESULT = {"loss": history.history["loss"]}
