# backends: jax
"""fit(seq, workers=2, use_multiprocessing=True): batches from processes, under the main guard."""
import os

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence


class Files(Sequence):
    """Reads a file for each batch."""

    def __init__(self, folder, count):
        self.folder = folder
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        with np.load(os.path.join(self.folder, "batch-%d.npz" % index)) as batch:
            return batch["x"], batch["y"]


if __name__ == "__main__":
    if not os.path.exists("batches"):
        os.mkdir("batches")
    rng = np.random.RandomState(53)
    for number in range(5):
        rows = rng.normal(size=(3 + number, 2))
        np.savez(os.path.join("batches", "batch-%d.npz" % number), x=rows, y=rows[:, :1] - 2 * rows[:, 1:])
    keras.utils.set_random_seed(53)
    seq = Files(os.path.abspath("batches"), 5)
    model = Sequential([Input(shape=(2,)), Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.1), loss="mse")
    h = model.fit(seq, epochs=2, shuffle=False, workers=2, use_multiprocessing=True, verbose=0)
    kernel, bias = model.get_weights()
    out = model.predict(seq, workers=2, use_multiprocessing=True, verbose=0)
    expected = np.concatenate([seq[i][0] for i in range(5)]).dot(kernel) + bias
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
    RESULT = {"loss": h.history["loss"], "weights": [kernel, bias], "out": out}
