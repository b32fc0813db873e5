"""A model that the tests of the training methods share."""

import keras


def make_model(**settings):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    # Compiling takes most of the time of a test, and shows nothing about how data are loaded.
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", jit_compile=False, **settings)
    return model
