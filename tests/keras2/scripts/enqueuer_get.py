# backends: jax
"""GeneratorEnqueuer.get() ends with the generator; an error in it comes out with its own type."""

import keras


def fails():
    yield 1
    yield 2
    raise KeyError("third")


enqueuer = keras.utils.GeneratorEnqueuer(iter(range(10, 14)))
before = enqueuer.is_running()
enqueuer.start()
values = list(enqueuer.get())
enqueuer.stop()

other = keras.utils.GeneratorEnqueuer(fails())
other.start(workers=1, max_queue_size=10)
taken, error = [], None
try:
    for value in other.get():
        taken.append(value)
except KeyError as e:
    error = e.args[0]
other.stop(timeout=1)
RESULT = {"values": values, "before": before, "taken": taken, "error": error}
