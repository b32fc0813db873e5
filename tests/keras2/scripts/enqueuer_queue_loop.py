# backends: jax torch tensorflow
"""GeneratorEnqueuer by hand, the loop of Keras 1 and 2.0: while is_running, poll the queue."""
import time

import keras
import numpy as np
from keras.layers import Dense, Input
from keras.models import Sequential
from keras.utils import GeneratorEnqueuer


def squares(n):
    for i in range(n):
        x = np.full((2, 1), i / 10.0)
        yield x, x ** 2


keras.utils.set_random_seed(109)
model = Sequential([Input(shape=(1,)), Dense(4, activation="tanh"), Dense(1)])
model.compile(optimizer="sgd", loss="mse")
wait_time = 0.01
losses, seen = [], []
enqueuer = GeneratorEnqueuer(squares(12), use_multiprocessing=False, wait_time=wait_time)
try:
    enqueuer.start(workers=1, max_queue_size=3)
    steps_done = 0
    while steps_done < 12:
        generator_output = None
        while enqueuer.is_running():
            if not enqueuer.queue.empty():
                generator_output = enqueuer.queue.get()
                break
            else:
                time.sleep(wait_time)
        x, y = generator_output
        seen.append(float(x[0, 0]))
        losses.append(float(np.mean(model.train_on_batch(x, y))))
        steps_done += 1
finally:
    enqueuer.stop()
np.testing.assert_allclose(seen, np.arange(12) / 10.0)
assert not enqueuer.is_running()
RESULT = {"seen": seen, "losses": losses, "weights": model.get_weights()}
