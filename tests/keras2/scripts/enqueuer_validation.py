# backends: jax
"""A training loop that picks the enqueuer by the kind of the data, as Keras' own did."""
import keras
import numpy as np
from keras import utils
from keras.layers import Dense, Input
from keras.models import Sequential


class Numbers(utils.Sequence):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return np.full((4, 2), float(index + 1)), np.full((4, 1), float(index))


def endless():
    rng = np.random.RandomState(127)
    while True:
        x = rng.normal(size=(4, 2))
        yield x, x.sum(axis=1, keepdims=True)


def evaluate(model, data, steps=None, workers=1, max_queue_size=10):
    is_sequence = isinstance(data, utils.Sequence)
    steps = len(data) if steps is None else steps
    outs = []
    if is_sequence:
        enqueuer = utils.OrderedEnqueuer(data)
    else:
        enqueuer = utils.GeneratorEnqueuer(data, use_multiprocessing=False)
    try:
        enqueuer.start(workers=workers, max_queue_size=max_queue_size)
        output_generator = enqueuer.get()
        for _ in range(steps):
            x, y = next(output_generator)
            outs.append([float(x.sum()), float(np.mean(model.test_on_batch(x, y)))])
    finally:
        enqueuer.stop()
    assert isinstance(enqueuer, utils.SequenceEnqueuer)
    return outs


keras.utils.set_random_seed(127)
model = Sequential([Input(shape=(2,)), Dense(1)])
model.compile(loss="mse", optimizer="sgd")
by_sequence = evaluate(model, Numbers(), workers=2)
by_generator = evaluate(model, endless(), steps=4, max_queue_size=2)
np.testing.assert_allclose([one[0] for one in by_sequence], [8, 16, 24])
generator = endless()
sums = [next(generator)[0].sum() for _ in range(4)]
np.testing.assert_allclose([one[0] for one in by_generator], sums, rtol=1e-5)
RESULT = {"sequence": by_sequence, "generator": by_generator}
