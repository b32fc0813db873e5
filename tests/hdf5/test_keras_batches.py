"""Batches of a matrix as data of Keras models, on every backend."""

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
    x = rng.normal(size=(60, 4)).astype("f4") + 3 * y[:, None]
    with h5py.File(tmp_path / "file.hdf5", "w") as file:
        file.create_dataset("data", data=x, chunks=(7, 4), compression="gzip")
        file["labels"] = y
    return tmp_path / "file.hdf5"


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])


def test_batches_feed_train_on_batch(data, model):
    x = HDF5Matrix(data, "data", normalizer=lambda rows: rows / 3)
    batches = x.batches(to_categorical(HDF5Matrix(data, "labels"), 2), 16, shuffle=True, seed=0)
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy")
    losses = []
    for _ in range(5):
        logs = [model.train_on_batch(*batches[i], return_dict=True) for i in range(len(batches))]
        losses.append(np.mean([float(log["loss"]) for log in logs]))
        batches.on_epoch_end()
    assert losses[-1] < losses[0]


def test_fit_and_predict_take_batches(data, model):
    """As they take a ``Sequence``: each row once an epoch, in the order of the chunks."""
    x = HDF5Matrix(data, "data")
    batches = x.batches(to_categorical(HDF5Matrix(data, "labels"), 2), 16, shuffle="chunks", seed=0)
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(batches, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert batches._epoch == 3
    np.testing.assert_allclose(
        model.predict(x.batches(batch_size=7), verbose=0), model.predict(x[:], verbose=0), rtol=1e-5
    )
