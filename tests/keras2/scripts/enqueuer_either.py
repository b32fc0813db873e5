# backends: jax
"""The choice between both enqueuers, and the class that they share, as libraries around Keras made it."""

import numpy as np
from keras.utils.data_utils import GeneratorEnqueuer, OrderedEnqueuer, Sequence, SequenceEnqueuer


class Numbers(Sequence):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return np.array([i, i])


def take(data, count):
    is_sequence = isinstance(data, Sequence)
    if is_sequence:
        enqueuer = OrderedEnqueuer(data, shuffle=False)
    else:
        enqueuer = GeneratorEnqueuer(data)
    assert isinstance(enqueuer, SequenceEnqueuer)
    enqueuer.start(workers=2, max_queue_size=3)
    generator = enqueuer.get()
    taken = [next(generator) for _ in range(count)]
    enqueuer.stop()
    return taken


RESULT = {
    "sequence": take(Numbers(), 5),
    "generator": take((np.array([n]) for n in range(10)), 4),
}
