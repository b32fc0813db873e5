# backends: jax torch tensorflow
"""steps_per_epoch above and below the len() of a Sequence."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence


class Few(Sequence):
    def __init__(self):
        self.asked = []

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.asked.append(index)
        return np.full((2, 1), index + 1.0), np.full((2, 1), 3.0 * (index + 1))


keras.utils.set_random_seed(45)
model = Sequential([Input(shape=(1,)), Dense(1, use_bias=False, kernel_initializer="zeros")])
model.compile(loss="mse", optimizer=keras.optimizers.SGD(learning_rate=0.02))
data = Few()
above = model.fit_generator(data, steps_per_epoch=7, epochs=1, shuffle=False, workers=1, verbose=0)
assert data.asked[:7] == [0, 1, 2, 0, 1, 2, 0], data.asked
w = 0.0
for index in [0, 1, 2, 0, 1, 2, 0]:
    x = index + 1.0
    w -= 0.02 * 2 * x * (w * x - 3 * x)
np.testing.assert_allclose(model.get_weights()[0], [[w]], rtol=1e-4)
below = model.fit_generator(Few(), steps_per_epoch=2, epochs=1, shuffle=False, verbose=0)
for index in [0, 1]:
    x = index + 1.0
    w -= 0.02 * 2 * x * (w * x - 3 * x)
np.testing.assert_allclose(model.get_weights()[0], [[w]], rtol=1e-4)
RESULT = {"above": above.history["loss"], "below": below.history["loss"], "kernel": model.get_weights()[0]}
