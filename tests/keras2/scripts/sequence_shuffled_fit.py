# backends: jax
"""shuffle=True of fit_generator: each batch once in each epoch, whatever the order."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import Sequence


class Once(Sequence):
    def __init__(self, n):
        self.n = n
        self.given = []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.given.append(index)
        return np.full((2, 1), float(index)), np.full((2, 1), 3.0 * index)

    def on_epoch_end(self):
        self.given.append("end")


keras.utils.set_random_seed(71)
seq = Once(10)
# A learning rate of 0: the order changes nothing that can be seen.
model = Sequential([Input(shape=(1,)), Dense(1, kernel_initializer="ones")])
model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.0), loss="mae")
h = model.fit_generator(seq, epochs=3, shuffle=True, workers=1, max_queue_size=2, verbose=0)
assert seq.given.count("end") == 3
ends = [place for place, one in enumerate(seq.given) if one == "end"]
assert ends == [10, 21, 32], seq.given
epochs = [seq.given[start:stop] for start, stop in zip([0, 11, 22], ends)]
for epoch in epochs:
    assert sorted(epoch) == list(range(10))
assert any(epoch != list(range(10)) for epoch in epochs)
np.testing.assert_allclose(h.history["loss"], [2 * 4.5] * 3, rtol=1e-5)
RESULT = {"loss": h.history["loss"], "batches": [sorted(epoch) for epoch in epochs]}
