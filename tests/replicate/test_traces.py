"""Replicas on TensorFlow are traced as often as one device is, also for a last batch of fewer rows."""

import keras
import numpy as np
import pytest

from befit import multi_gpu_model

pytestmark = pytest.mark.backends

X = np.ones((16, 3), "float32")


def traces_of(replicate):
    """Return how many times the steps had been traced, after each thing that the model was used for."""
    traced = []

    def loss(y, y_pred):
        traced.append("here")  # Python runs it while TensorFlow traces, and never again
        return keras.ops.mean((y - y_pred) ** 2)

    model = replicate(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]))
    model.compile("sgd", loss)
    counts = []
    for rows in (16, 16, 13, 9):  # in batches of 8: even, again, a last one of 5, and of 1
        model.fit(X[:rows], X[:rows, :1], batch_size=8, epochs=2, verbose=0)
        counts.append(len(traced))
    for rows in (8, 3):
        model.evaluate(X[:rows], X[:rows, :1], batch_size=8, verbose=0)
        model.train_on_batch(X[:rows], X[:rows, :1])
        counts.append(len(traced))
    return counts


def test_steps_are_traced_as_often_as_on_one_device(backend):
    if backend != "tensorflow":
        pytest.skip("traces are TensorFlow's")
    expected = traces_of(lambda model: model)
    assert expected[0] == expected[1] > 0
    assert traces_of(lambda model: multi_gpu_model(model, gpus=4)) == expected
