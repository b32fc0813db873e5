# backends: jax torch tensorflow
"""Several inputs and outputs as lists, with a generator that yields lists and sample weights."""

import keras
import numpy as np
from keras.layers import Concatenate, Dense, Input
from keras.models import Model
from keras.utils import to_categorical

keras.utils.set_random_seed(5)
rng = np.random.RandomState(1)
A = rng.normal(size=(24, 3))
B = rng.normal(size=(24, 2))
LABELS = to_categorical((A[:, 0] > 0).astype("int"), 2)
TARGET = B.sum(axis=1, keepdims=True)


def generator(batch_size=6):
    while True:
        for i in range(0, len(A), batch_size):
            s = slice(i, i + batch_size)
            w = np.ones(batch_size)
            yield ([A[s], B[s]], [LABELS[s], TARGET[s]], [w, 2 * w])


a, b = Input(shape=(3,), name="a"), Input(shape=(2,), name="b")
joined = Dense(4, activation="tanh")(Concatenate()([a, b]))
outs = [Dense(2, activation="softmax", name="label")(joined), Dense(1, name="target")(joined)]
model = Model(inputs=[a, b], outputs=outs)
model.compile("sgd", loss=["categorical_crossentropy", "mse"], loss_weights=[1.0, 0.5])
hist = model.fit_generator(generator(), steps_per_epoch=4, epochs=2, verbose=0)
values = model.evaluate_generator(generator(), steps=4)
labels, target = model.predict_generator(generator(), steps=4)
assert labels.shape == (24, 2) and target.shape == (24, 1)
entropy = -(LABELS * np.log(labels)).sum(axis=1).mean()
np.testing.assert_allclose(values[0], entropy + 0.5 * 2 * ((target - TARGET) ** 2).mean(), rtol=1e-3)
RESULT = {"loss": hist.history["loss"], "total": values[0], "labels": labels, "target": target}
