# backends: jax torch tensorflow
"""fit(seq, workers=, max_queue_size=) as tf.keras and Keras 2.4 took it, with validation."""
import threading

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence


class Batches(Sequence):
    def __init__(self, x, y, batch_size):
        self.x, self.y, self.batch_size = x, y, batch_size
        self.lock = threading.Lock()
        self.asked = []

    def __len__(self):
        return int(np.ceil(len(self.x) / float(self.batch_size)))

    def __getitem__(self, idx):
        with self.lock:
            self.asked.append(idx)
        low, high = idx * self.batch_size, (idx + 1) * self.batch_size
        return self.x[low:high], self.y[low:high]


keras.utils.set_random_seed(47)
rng = np.random.RandomState(47)
x = rng.normal(size=(27, 3))
y = keras.utils.to_categorical(rng.randint(0, 3, size=27), 3)
train, valid = Batches(x[:20], y[:20], 6), Batches(x[20:], y[20:], 4)
model = Sequential()
model.add(Input(shape=(3,)))
model.add(Dense(3, activation="softmax"))
model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
history = model.fit(train, epochs=3, validation_data=valid, shuffle=False, verbose=0,
                    workers=4, max_queue_size=8, use_multiprocessing=False)
loss, acc = model.evaluate(valid, workers=2, max_queue_size=4, verbose=0)
out = model.predict(valid, workers=2, verbose=0)
for index in range(4):
    assert train.asked.count(index) == 3, train.asked
np.testing.assert_allclose(loss, -np.log((out * y[20:]).sum(axis=1)).mean(), rtol=1e-4)
np.testing.assert_allclose(loss, history.history["val_loss"][-1], rtol=1e-4)
RESULT = {"history": history.history, "loss": loss, "acc": acc, "out": out}
