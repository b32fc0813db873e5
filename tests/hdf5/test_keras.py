"""Keras takes an HDF5Matrix wherever it takes an array, on every backend."""

from __future__ import annotations

import h5py
import keras
import numpy as np
import pytest

from befit import HDF5Matrix, to_categorical

pytestmark = pytest.mark.backends


@pytest.fixture
def data(tmp_path):
    """Sixty samples of two classes that a linear model tells apart."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = rng.normal(size=(60, 4)).astype(">f4") + 3 * y[:, None]
    with h5py.File(tmp_path / "file.hdf5", "w") as file:
        file.create_dataset("data", data=x, chunks=(7, 4), compression="gzip")
        file["labels"] = y
    return tmp_path / "file.hdf5"


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])


def test_predict_as_documented(data, model):
    """The documentation's own two lines."""
    x_data = HDF5Matrix(str(data), "data")
    np.testing.assert_allclose(
        model.predict(x_data, verbose=0), model.predict(x_data[:], verbose=0), rtol=1e-6
    )


def test_fit_and_evaluate_equal_those_on_arrays(data, model):
    """Window, normalizer and labels: the losses are those of the same rows in memory."""
    x = HDF5Matrix(data, "data", 10, 50, normalizer=lambda rows: rows / 3)
    y = HDF5Matrix(data, "labels", 10, 50, normalizer=lambda rows: to_categorical(rows, 2))
    start = model.get_weights()
    losses = []
    for inputs, targets in ((x, y), (x[:], y[:])):
        model.set_weights(start)
        model.compile("sgd", "categorical_crossentropy")
        history = model.fit(inputs, targets, batch_size=8, epochs=3, shuffle=False, verbose=0)
        losses.append([*history.history["loss"], model.evaluate(inputs, targets, verbose=0)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_fit_with_shuffle_and_validation_split(data, model):
    x = HDF5Matrix(data, "data")
    y = HDF5Matrix(data, "labels", normalizer=lambda rows: to_categorical(rows, 2))
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=8, epochs=8, shuffle=True, validation_split=0.25, verbose=0)
    assert history.history["val_accuracy"][-1] > 0.8


def test_batches_feed_train_on_batch(data, model):
    x = HDF5Matrix(data, "data", normalizer=lambda rows: rows / 3)
    batches = x.batches(to_categorical(HDF5Matrix(data, "labels"), 2), 16, shuffle=True, seed=0)
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy")
    losses = []
    for _ in range(5):
        losses.append(np.mean([float(model.train_on_batch(*batches[i])) for i in range(len(batches))]))
        batches.on_epoch_end()
    assert losses[-1] < losses[0]
