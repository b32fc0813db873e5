# backends: jax torch tensorflow
"""OrderedEnqueuer by hand: start, an endless get(), stop; batches in order with four workers."""
import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils.data_utils import OrderedEnqueuer, Sequence


class Data(Sequence):
    def __init__(self, n):
        self.n = n
        self.ends = 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        x = np.arange(3 * i, 3 * i + 3, dtype="float32")[:, None] / 20 - self.ends
        return x, 2 * x + 1

    def on_epoch_end(self):
        self.ends += 1


keras.utils.set_random_seed(113)
model = Sequential([Input(shape=(1,)), Dense(1)])
model.compile(loss="mse", optimizer="sgd")
enqueuer = OrderedEnqueuer(Data(5), use_multiprocessing=False)
enqueuer.start(workers=4, max_queue_size=10)
assert enqueuer.is_running()
output_generator = enqueuer.get()
losses, firsts = [], []
for step in range(12):
    x, y = next(output_generator)
    firsts.append(float(x[0, 0]))
    losses.append(float(model.test_on_batch(x, y)))
enqueuer.stop()
assert not enqueuer.is_running()
kernel, bias = model.get_weights()
np.testing.assert_allclose(firsts, [3 * (i % 5) / 20 - i // 5 for i in range(12)], rtol=1e-5, atol=1e-6)
RESULT = {"firsts": firsts, "losses": losses}
