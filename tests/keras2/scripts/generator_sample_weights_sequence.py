# backends: jax
"""A Sequence of (x, y, sample_weight), whose weights leave one half of the rows out."""

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import *  # noqa: F403


class Weighted(Sequence):  # noqa: F405
    def __init__(self):
        self.calls = []

    def __len__(self):
        return 2

    def __getitem__(self, index):
        self.calls.append(index)
        x = np.array([[1.0], [2.0], [3.0], [4.0]]) + index
        y = np.where(np.arange(4) < 2, 2 * x[:, 0], 1000.0)
        return x, y, np.array([1.0, 1.0, 0.0, 0.0])

    def on_epoch_end(self):
        self.calls.append("end")


keras.utils.set_random_seed(0)
model = Sequential([Input(shape=(1,)), Dense(1, use_bias=False, kernel_initializer="zeros")])
model.compile(loss="mse", optimizer=keras.optimizers.SGD(learning_rate=0.02))
data = Weighted()
history = model.fit_generator(data, 2, 20, verbose=0, shuffle=False, workers=0)
kernel = model.get_weights()[0]
assert abs(kernel[0, 0] - 2) < 0.05, kernel
assert data.calls[:3] == [0, 1, "end"], data.calls[:3]
assert data.calls.count("end") == 20
RESULT = {"kernel": kernel, "loss": history.history["loss"], "one_hot": to_categorical([1, 0])}  # noqa: F405
