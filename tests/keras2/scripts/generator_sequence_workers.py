# backends: jax torch tensorflow
"""A Sequence with four workers: the order of the batches stays what it is."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence


class Numbers(Sequence):
    def __init__(self, x, y, batch_size):
        self.x, self.y = x, y
        self.batch_size = batch_size

    def __len__(self):
        return int(np.ceil(len(self.x) / float(self.batch_size)))

    def __getitem__(self, idx):
        rows = slice(idx * self.batch_size, (idx + 1) * self.batch_size)
        return self.x[rows], self.y[rows]


keras.utils.set_random_seed(3)
x = np.random.RandomState(0).normal(size=(22, 2))
y = x[:, :1] * 3
model = Sequential([Input(shape=(2,)), Dense(1)])
model.compile(optimizer="sgd", loss="mse")
seq = Numbers(x, y, 5)
history = model.fit_generator(seq, epochs=2, workers=4, max_queue_size=3, shuffle=False, verbose=0)
loss = model.evaluate_generator(seq, workers=4)
out = model.predict_generator(seq, workers=4, max_queue_size=2, verbose=0)
kernel, bias = model.get_weights()
np.testing.assert_allclose(out, x.dot(kernel) + bias, rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(loss, ((out - y) ** 2).mean(), rtol=1e-4)
RESULT = {"loss": history.history["loss"], "evaluated": loss, "out": out}
