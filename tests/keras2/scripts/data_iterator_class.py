# backends: jax torch tensorflow
"""A thread-safe iterator class with __next__ and Python 2's next, given to fit_generator and to fit."""
import threading

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import to_categorical


class ThreadsafeIter(object):
    """Takes an iterator/generator and makes it thread-safe by serializing calls to `next`."""

    def __init__(self, it):
        self.it = it
        self.lock = threading.Lock()
        self.count = 0

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            self.count += 1
            return next(self.it)

    next = __next__


def threadsafe_generator(f):
    def g(*a, **kw):
        return ThreadsafeIter(f(*a, **kw))
    return g


@threadsafe_generator
def batches(size):
    number = 0
    while True:
        x = np.random.RandomState(number).normal(size=(size, 3))
        number += 1
        yield x, to_categorical((x[:, 0] > 0).astype(int), 2)


keras.utils.set_random_seed(40)
model = Sequential([Input(shape=(3,)), Dense(2, activation="softmax")])
model.compile(loss="categorical_crossentropy", optimizer="sgd")
train = batches(6)
first = model.fit_generator(train, steps_per_epoch=4, epochs=2, workers=2, verbose=0)
assert train.count == 8, train.count
second = model.fit(train, steps_per_epoch=3, epochs=1, verbose=0)
assert train.count == 11, train.count
probabilities = model.predict_generator(batches(2), steps=2)
np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
RESULT = {"first": first.history["loss"], "second": second.history["loss"], "probabilities": probabilities}
