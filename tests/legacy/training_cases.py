"""What the tests of the training methods share."""

import threading

import keras


def make_model(**settings):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    # Compiling takes most of the time of a test, and shows nothing about how data are loaded.
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", jit_compile=False, **settings)
    return model


def befit_threads():
    """Return the threads of befit that run now; other tests of this process may have left some."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("befit-")}
