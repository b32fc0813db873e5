# backends: jax
"""All arguments of fit_generator by their positions: steps, epochs, verbose, callbacks, validation."""
import keras
import numpy as np
from keras.callbacks import LambdaCallback
from keras.layers import Dense, Input
from keras.models import Model
import keras.utils.np_utils as np_utils

keras.utils.set_random_seed(2)
labels = np_utils.to_categorical(np.arange(12) % 2)
data = np.linspace(-1, 1, 48).reshape(12, 4)


def train():
    while True:
        for start in range(0, 12, 4):
            yield data[start:start + 4], labels[start:start + 4]


def validate():
    while True:
        yield data[:6], labels[:6]
        yield data[6:], labels[6:]


inputs = Input(shape=(4,))
model = Model(inputs, Dense(2, activation="softmax")(inputs))
model.compile("sgd", "categorical_crossentropy")
seen = []
callback = LambdaCallback(on_batch_end=lambda batch, logs: seen.append(batch))
h = model.fit_generator(train(), 3, 2, 0, [callback], validate(), 2)
assert seen == [0, 1, 2, 0, 1, 2], seen
score = model.evaluate_generator(validate(), 2)
np.testing.assert_allclose(score, model.evaluate(data, labels, verbose=0), rtol=1e-4)
out = model.predict_generator(validate(), 3)
assert out.shape == (18, 2)
RESULT = {"history": h.history, "seen": seen, "score": score, "out": out}
