# backends: jax torch tensorflow
"""class_weight beside a generator and beside a Sequence: the loss is that of weighted rows."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence, np_utils

keras.utils.set_random_seed(43)
x = np.random.RandomState(5).normal(size=(20, 4))
classes = np.arange(20) % 3
y = np_utils.to_categorical(classes, 3)
class_weight = {0: 1.0, 1: 5.0, 2: 0.0}


def flow():
    while True:
        for i in range(0, 20, 5):
            yield x[i:i + 5], y[i:i + 5]


class Flow(Sequence):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        return x[5 * i:5 * i + 5], y[5 * i:5 * i + 5]


def build():
    model = Sequential([Input(shape=(4,)), Dense(3, activation="softmax", kernel_initializer="zeros")])
    model.compile(loss="categorical_crossentropy", optimizer="sgd")
    return model


first, second = build(), build()
by_generator = first.fit_generator(flow(), 4, epochs=2, class_weight=class_weight, verbose=0)
by_sequence = second.fit_generator(Flow(), epochs=2, class_weight=class_weight, shuffle=False, verbose=0)
np.testing.assert_allclose(by_generator.history["loss"], by_sequence.history["loss"], rtol=1e-5)
fresh = build()
fresh.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.SGD(learning_rate=0.0))
still = fresh.fit_generator(flow(), 4, class_weight=class_weight, verbose=0).history["loss"]
weights = np.array([class_weight[c] for c in classes])
np.testing.assert_allclose(still[0], (weights * np.log(3)).mean(), rtol=1e-4)
RESULT = {"loss": by_generator.history["loss"], "weights": first.get_weights(), "still": still}
