# backends: jax torch tensorflow
"""A Sequence that never calls super().__init__(), and has a base class of its own."""
import warnings

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence


class Base(Sequence):
    def __len__(self):
        return (len(self.rows) + self.batch_size - 1) // self.batch_size


class DataSequence(Base):
    def __init__(self, rows, batch_size):
        self.rows = rows
        self.batch_size = batch_size

    def __getitem__(self, idx):
        batch = self.rows[idx * self.batch_size:(idx + 1) * self.batch_size]
        return batch[:, :-1], batch[:, -1:]


keras.utils.set_random_seed(31)
rows = np.random.RandomState(31).normal(size=(26, 4))
seq = DataSequence(rows, 4)
model = Sequential([Input(shape=(3,)), Dense(5, activation="tanh"), Dense(1)])
model.compile(optimizer="sgd", loss="mse")
with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)
    hist = model.fit_generator(seq, steps_per_epoch=len(seq), epochs=2, shuffle=False, verbose=0)
for index, (x, y) in enumerate(seq):
    np.testing.assert_array_equal(x, rows[index * 4:index * 4 + 4, :-1])
assert index == len(seq) - 1 == 6
RESULT = {"loss": hist.history["loss"], "weights": model.get_weights(), "last": [x.shape, y.shape]}
