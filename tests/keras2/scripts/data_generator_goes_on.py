# backends: jax torch tensorflow
"""One generator over several calls of fit_generator: each batch is used once, in order."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential


def counting():
    number = 0
    while True:
        yield np.ones((3, 1)), np.full((3, 1), float(number))
        number += 1


class Targets(keras.callbacks.Callback):
    """With weights of zero and no learning the loss is the number of the batch."""

    def __init__(self):
        super(Targets, self).__init__()
        self.means = []

    def on_epoch_end(self, epoch, logs={}):
        self.means.append(float(logs.get("loss")))


model = Sequential([Input(shape=(1,)), Dense(1, kernel_initializer="zeros")])
model.compile(loss="mae", optimizer=keras.optimizers.SGD(learning_rate=0.0))
generator = counting()
targets = Targets()
model.fit_generator(generator, steps_per_epoch=3, epochs=2, callbacks=[targets], verbose=0, max_queue_size=10)
model.fit_generator(generator, steps_per_epoch=2, epochs=1, callbacks=[targets], verbose=0)
loss = model.evaluate_generator(generator, steps=2)
for epoch in range(2):
    model.fit_generator(generator, 1, 1, 0, [targets])
np.testing.assert_allclose(targets.means, [1, 4, 6.5, 10, 11], rtol=1e-5)
np.testing.assert_allclose(loss, 8.5, rtol=1e-5)
following = next(generator)[1][0, 0]
assert following == 12, following
RESULT = {"means": targets.means, "loss": loss, "following": following}
