# backends: jax
"""A class of one's own with __next__, for fit, evaluate and predict of tf.keras 2.1."""
import keras
import numpy as np
from keras import layers, models, utils


class Waves:
    def __init__(self, batch_size, phase=0.0):
        self.batch_size, self.phase = batch_size, phase
        self.t = 0

    def __iter__(self):
        return self

    def __next__(self):
        t = np.arange(self.t, self.t + self.batch_size)
        self.t += self.batch_size
        return np.stack([np.sin(t + self.phase), np.cos(t)], axis=1), np.sin(t + self.phase) * 2

    next = __next__


utils.set_random_seed(41)
model = models.Sequential([layers.Input(shape=(2,)), layers.Dense(1, kernel_initializer="zeros")])
model.compile("sgd", "mse")
waves = Waves(5)
history = model.fit(waves, steps_per_epoch=6, epochs=3, verbose=0, validation_data=Waves(4, 1.0), validation_steps=2)
assert waves.t == 5 * 6 * 3, waves.t
score = model.evaluate(Waves(5), steps=2, verbose=0)
out = model.predict(Waves(5), steps=2, verbose=0)
x = np.concatenate([next(w)[0] for w in [Waves(5)] for _ in range(2)])
kernel, bias = model.get_weights()
np.testing.assert_allclose(out, x.dot(kernel) + bias, rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(score, ((out[:, 0] - 2 * x[:, 0]) ** 2).mean(), rtol=1e-4)
RESULT = {"history": history.history, "score": score, "out": out}
