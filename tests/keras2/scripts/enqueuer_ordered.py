# backends: jax torch tensorflow
"""OrderedEnqueuer around a Sequence, with a training loop of one's own."""

import numpy as np
from keras.layers import Dense
from keras.models import Sequential
from keras.utils import OrderedEnqueuer, Sequence


class Pairs(Sequence):
    def __len__(self):
        return 4

    def __getitem__(self, idx):
        x = np.full((2, 2), idx / 4.0)
        return x, x.sum(axis=1, keepdims=True)


model = Sequential()
model.add(Dense(1, input_dim=2, kernel_initializer="zeros"))
model.compile(loss="mse", optimizer="sgd")
enqueuer = OrderedEnqueuer(Pairs(), use_multiprocessing=False, shuffle=False)
enqueuer.start(workers=2, max_queue_size=4)
output_generator = enqueuer.get()
first = []
try:
    for step in range(8):
        x, y = next(output_generator)
        first.append(float(x[0, 0]))
        model.train_on_batch(x, y)
    running = enqueuer.is_running()
finally:
    enqueuer.stop()
RESULT = {
    "first": first,
    "weights": model.get_weights(),
    "running": [running, enqueuer.is_running()],
}
