# backends: jax
"""A Sequence for evaluate_generator and evaluate, with metrics and sample weights."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.data_utils import Sequence


class Weighted(Sequence):
    def __init__(self, x, y, w, n):
        self.x, self.y, self.w, self.n = x, y, w, n

    def __len__(self):
        return len(self.x) // self.n

    def __getitem__(self, i):
        s = slice(self.n * i, self.n * (i + 1))
        return self.x[s], self.y[s], self.w[s]


class Plain(Weighted):
    def __getitem__(self, i):
        return super(Plain, self).__getitem__(i)[:2]


keras.utils.set_random_seed(41)
rng = np.random.RandomState(41)
x, y, w = rng.normal(size=(24, 3)), rng.normal(size=(24, 1)), rng.uniform(size=24)
model = Sequential([Input(shape=(3,)), Dense(1)])
model.compile(loss="mse", optimizer="sgd", metrics=["mae"])
weighted = model.evaluate_generator(Weighted(x, y, w, 6), workers=2, use_multiprocessing=False)
plain = model.evaluate_generator(generator=Plain(x, y, w, 6), steps=4, max_queue_size=3)
half = model.evaluate_generator(Plain(x, y, w, 6), steps=2)
direct = model.evaluate(Plain(x, y, w, 8), verbose=0, workers=3)

kernel, bias = model.get_weights()
wrong = (x.dot(kernel) + bias - y)[:, 0]
np.testing.assert_allclose(weighted[0], (w * wrong ** 2).mean(), rtol=1e-4)
np.testing.assert_allclose(plain, [(wrong ** 2).mean(), np.abs(wrong).mean()], rtol=1e-4)
np.testing.assert_allclose(half, [(wrong[:12] ** 2).mean(), np.abs(wrong[:12]).mean()], rtol=1e-4)
np.testing.assert_allclose(direct, plain, rtol=1e-4)
RESULT = {"weighted": weighted, "plain": plain, "half": half, "direct": direct}
