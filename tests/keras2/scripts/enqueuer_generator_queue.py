# backends: jax
"""GeneratorEnqueuer and its queue, polled as Keras' own training loop did it."""

import time

import numpy as np
from keras.utils.data_utils import GeneratorEnqueuer


def batches():
    for number in range(5):
        yield np.full(3, number)


wait_time = 0.01
enqueuer = GeneratorEnqueuer(batches(), wait_time=wait_time)
enqueuer.start(max_queue_size=2, workers=1)
got = []
while enqueuer.is_running():
    if not enqueuer.queue.empty():
        got.append(enqueuer.queue.get())
    else:
        time.sleep(wait_time)
enqueuer.stop()
RESULT = {"got": got, "running": enqueuer.is_running()}
