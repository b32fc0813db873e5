"""Keras takes an HDF5Matrix wherever it takes an array, on every backend, and reads it a batch at a time."""

from __future__ import annotations

import gc
import threading
import warnings

import h5py
import keras
import numpy as np
import pytest
from keras.src.trainers.epoch_iterator import EpochIterator

from befit import HDF5Matrix, Loader, multi_gpu_model, to_categorical

pytestmark = pytest.mark.backends

ROWS, BATCH = 60, 8


@pytest.fixture
def data(tmp_path):
    """Sixty samples of two classes that a linear model tells apart, and their numbers, one-hot."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    x = rng.normal(size=(ROWS, 4)).astype(">f4") + 3 * y[:, None]
    with h5py.File(tmp_path / "file.hdf5", "w") as file:
        file.create_dataset("data", data=x, chunks=(7, 4), compression="gzip")
        file.create_dataset("doubles", data=x.astype("f8"), chunks=(7, 4), compression="gzip")
        file.create_dataset("numbers", data=np.eye(ROWS, dtype="f4"), chunks=(4, ROWS), compression="lzf")
        file["labels"] = y
        file["weights"] = np.linspace(0, 1, ROWS)
    return tmp_path / "file.hdf5"


class Reads(list):
    """A normalizer that changes nothing and keeps what was read."""

    def __call__(self, rows):
        self.append(rows)
        return rows

    def largest(self):
        return max(map(len, self))


@pytest.fixture
def model():
    return make_model()


def make_model(inputs=1, **settings):
    """A model, not compiled by its backend: that would take longer than all it is used for."""
    keras.utils.set_random_seed(0)
    parts = [keras.Input((4,), name=f"part{number}") for number in range(inputs)]
    joined = parts[0] if inputs == 1 else keras.layers.Concatenate()(parts)
    out = keras.layers.Dense(2, activation="softmax", name="out")(joined)
    model = keras.Model(parts[0], out) if inputs == 1 else keras.Model(parts, {"out": out})
    settings = {"run_eagerly": True, **settings}
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"], **settings)
    return model


class TimesSeen(keras.Model):
    """Its one weight for each row of ``numbers`` says how often the row was trained on, times its label."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        self.compile(keras.optimizers.SGD(1.0), Summed(), run_eagerly=True)

    def call(self, inputs):
        return self.dense(inputs)

    def seen(self):
        return self.get_weights()[0][:, 0]


class Summed(keras.losses.Loss):
    def __init__(self):
        super().__init__(reduction="sum")

    def call(self, y_true, y_pred):
        return -keras.ops.cast(y_true, y_pred.dtype) * y_pred[:, 0]


def order_of(reads):
    """The numbers of the rows that were read, in that order; a single row was a look at the type."""
    return np.concatenate([rows.argmax(axis=1) for rows in reads if len(rows) > 1])


def test_predict_as_documented(data, model):
    """The documentation's own two lines."""
    x_data = HDF5Matrix(str(data), "data")
    np.testing.assert_allclose(
        model.predict(x_data, verbose=0), model.predict(x_data[:], verbose=0), rtol=1e-6
    )


def test_fit_and_evaluate_equal_those_on_arrays(data):
    """Window, normalizer and labels: the losses are those of the same rows in memory."""
    x = HDF5Matrix(data, "data", 10, 50, normalizer=lambda rows: rows / 3)
    y = HDF5Matrix(data, "labels", 10, 50, normalizer=lambda rows: 1 - rows)
    losses = []
    for inputs, targets in ((x, y), (x[:], y[:])):
        model = make_model()
        history = model.fit(
            inputs, targets, batch_size=BATCH, epochs=3, shuffle=False, validation_split=0.25, verbose=0
        ).history
        losses.append([*history["loss"], *history["val_loss"], *model.evaluate(inputs, targets, verbose=0)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("dataset", "settings"),
    [
        ("data", {"validation_split": 0.25}),
        ("data", {"class_weight": {0: 1.0, 1: 3.0}}),
        ("data", {"sample_weight": np.linspace(0, 1, ROWS)}),
        ("data", {"steps_per_epoch": 4, "epochs": 2}),
        ("data", {"batch_size": None, "steps_per_epoch": 6}),
        ("doubles", {"run_eagerly": False}),
        ("doubles", {"sample_weight": np.linspace(0, 1, ROWS), "validation_split": 0.25}),
    ],
    ids=lambda value: value if isinstance(value, str) else ", ".join(value),
)
def test_every_argument_of_fit_means_what_it_does_with_arrays(data, dataset, settings):
    """The same losses as on the arrays, and never more than a batch is read."""
    reads = Reads()
    x = HDF5Matrix(data, dataset, normalizer=reads)
    y = HDF5Matrix(data, "labels")
    settings = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **settings}
    eagerly = settings.pop("run_eagerly", True)
    histories = []
    for inputs, targets in ((x, y), (x[:], y[:])):
        reads.clear()
        histories.append(make_model(run_eagerly=eagerly).fit(inputs, targets, **settings).history)
        if inputs is x:
            largest = reads.largest()
    assert largest <= (settings["batch_size"] or 10)
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-6, err_msg=name)


def test_validation_data_is_read_by_batches(data, model):
    reads = Reads()
    x = HDF5Matrix(data, "data", end=40, normalizer=reads)
    held_out = HDF5Matrix(data, "data", 40, normalizer=reads)
    labels = HDF5Matrix(data, "labels")[:]
    history = model.fit(
        x, labels[:40], batch_size=BATCH, epochs=2, validation_data=(held_out, labels[40:]), verbose=0
    ).history
    assert reads.largest() == BATCH
    oracle = model.evaluate(held_out[:], labels[40:], batch_size=BATCH, verbose=0)
    np.testing.assert_allclose([history["val_loss"][-1], history["val_accuracy"][-1]], oracle, rtol=1e-6)


@pytest.mark.parametrize(
    ("nest", "settings"),
    [
        (list, {}),
        (tuple, {"validation_split": 0.25}),
        (lambda parts: {"part0": parts[0], "part1": parts[1]}, {"validation_split": 0.25}),
    ],
    ids=["list", "tuple", "dict"],
)
def test_several_inputs(data, nest, settings):
    """Matrices in lists, tuples and dicts; arrays beside them; the labels in a dict."""
    reads = Reads()
    first = HDF5Matrix(data, "data", normalizer=reads)
    other = first[:][::-1]
    labels = HDF5Matrix(data, "labels")
    losses = []
    for one, targets in ((first, labels), (first[:], labels[:])):
        reads.clear()
        model = make_model(inputs=2)
        fitted = model.fit(
            nest([one, other]), {"out": targets}, batch_size=BATCH, shuffle=False, verbose=0, **settings
        )
        losses.append(fitted.history["loss"] + fitted.history.get("val_loss", []))
        if one is first:
            assert reads.largest() == BATCH
            predicted = model.predict(nest([one, other]), verbose=0)["out"]
            oracle = model.predict(nest([first[:], other]), verbose=0)["out"]
            np.testing.assert_allclose(predicted, oracle, rtol=1e-6)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize("shuffle", [True, False])
def test_only_labels_or_weights_are_a_matrix(data, model, shuffle):
    x, y, weights = (HDF5Matrix(data, name)[:] for name in ("data", "labels", "weights"))
    reads = Reads()
    model.fit(x, HDF5Matrix(data, "labels", normalizer=reads), batch_size=BATCH, shuffle=shuffle, verbose=0)
    assert reads.largest() == BATCH
    reads.clear()
    measured = model.evaluate(
        x, y, sample_weight=HDF5Matrix(data, "weights", normalizer=reads), batch_size=BATCH, verbose=0
    )
    assert reads.largest() == BATCH
    oracle = model.evaluate(x, y, sample_weight=weights, batch_size=BATCH, verbose=0)
    np.testing.assert_allclose(measured, oracle, rtol=1e-6)


def test_predict_in_steps(data, model):
    reads = Reads()
    x = HDF5Matrix(data, "data", normalizer=reads)
    assert len(model.predict(x, batch_size=BATCH, steps=2, verbose=0)) == 2 * BATCH
    assert reads.largest() == BATCH
    np.testing.assert_allclose(
        model.predict(x, batch_size=BATCH, steps=2, verbose=0),
        model.predict(x[: 2 * BATCH], batch_size=BATCH, verbose=0),
        rtol=1e-6,
    )


def test_several_steps_in_one_execution(backend, data):
    if backend == "torch":
        pytest.skip("steps_per_execution has to be 1 there")
    x, y = HDF5Matrix(data, "data"), HDF5Matrix(data, "labels")
    losses = [
        make_model(steps_per_execution=3, run_eagerly=False)
        .fit(inputs, targets, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)
        .history["loss"]
        for inputs, targets in ((x, y), (x[:], y[:]))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("shuffle", "batch_size"),
    [(True, BATCH), (False, BATCH), ("batch", BATCH), ("chunks", BATCH), (True, 11), ("batch", 100)],
)
def test_every_row_is_seen_once_an_epoch_with_its_own_label(data, shuffle, batch_size):
    """The last batch included, full or not, and those that Keras looked at to build the model."""
    model = TimesSeen()
    x, labels = HDF5Matrix(data, "numbers", 5), np.arange(1, ROWS - 4)
    model.fit(x, labels, batch_size=batch_size, epochs=3, shuffle=shuffle, verbose=0)
    np.testing.assert_allclose(model.seen(), [0] * 5 + [3 * label for label in labels], rtol=1e-6)


def test_rows_are_shuffled_anew_in_each_epoch(data):
    """All over the file, and the seed of Keras decides how."""
    orders = []
    for seed in (1, 1, 2):
        reads, model = Reads(), TimesSeen()
        x = HDF5Matrix(data, "numbers", normalizer=reads)
        model.fit(x[:1], np.ones(1), verbose=0)  # built
        reads.clear()
        keras.utils.set_random_seed(seed)
        model.fit(x, np.ones(ROWS), batch_size=BATCH, epochs=2, shuffle=True, verbose=0)
        orders.append(order_of(reads).reshape(2, ROWS))
    for epoch in orders[0]:
        assert sorted(epoch) == list(range(ROWS))
        assert np.abs(np.diff(epoch)).mean() > ROWS / 5  # a third of the rows, for any two at random
    assert (orders[0][0] != orders[0][1]).any()
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_whole_batches_are_shuffled(data):
    """``'batch'`` as Keras 2 documents it: batches of neighbours in any order; one not full is last."""
    reads, model = Reads(), TimesSeen()
    x = HDF5Matrix(data, "numbers", normalizer=reads)
    model.fit(x[:1], np.ones(1), verbose=0)
    reads.clear()
    model.fit(x, np.ones(ROWS), batch_size=BATCH, epochs=2, shuffle="batch", verbose=0)
    batches = [rows.argmax(axis=1).tolist() for rows in reads if len(rows) > 1]
    assert len(batches) == 16
    assert all(batch == list(range(batch[0], batch[0] + len(batch))) for batch in batches)
    for epoch in (batches[:8], batches[8:]):
        starts = [batch[0] for batch in epoch]
        assert sorted(starts) == list(range(0, ROWS, BATCH)) != starts
        assert starts[-1] == 56
    assert batches[:8] != batches[8:]


def test_another_word_for_shuffle_is_an_error(data, model):
    x, y = HDF5Matrix(data, "data"), HDF5Matrix(data, "labels")
    with pytest.raises(Exception, match=r"shuffle is 'chunk'; write True, False, 'batch' or 'chunks'"):
        model.fit(x, y, shuffle="chunk", verbose=0)


def test_jax_shuffles_as_it_does_with_arrays(backend, data):
    if backend != "jax":
        pytest.skip("the other backends draw the order of arrays with generators of their own")
    x, y = HDF5Matrix(data, "data"), HDF5Matrix(data, "labels")
    losses = [
        make_model().fit(inputs, targets, batch_size=BATCH, epochs=3, verbose=0).history["loss"]
        for inputs, targets in ((x, y), (x[:], y[:]))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_floats_come_as_those_of_arrays_do(data):
    """In Keras' own float type, a batch at a time, where a model has not cast them yet."""
    x = HDF5Matrix(data, "doubles")
    batches = [[batch for _, _, (batch,) in EpochIterator(inputs, batch_size=BATCH)] for inputs in (x, x[:])]
    assert {batch.dtype for batch in batches[0]} == {np.dtype("float32")}
    for batch, oracle in zip(*batches, strict=True):
        np.testing.assert_array_equal(batch, oracle, strict=True)


def test_lengths_that_differ_are_the_error_of_keras(data, model):
    with pytest.raises(ValueError, match="cardinality is ambiguous"):
        model.fit(HDF5Matrix(data, "data"), HDF5Matrix(data, "labels", end=50), verbose=0)


def test_an_error_of_the_normalizer_arrives(data, model):
    def normalizer(rows):
        if rows.shape[0] > 1:
            raise ZeroDivisionError("in the normalizer")
        return rows

    x = HDF5Matrix(data, "data", normalizer=normalizer)
    with pytest.raises(Exception, match="in the normalizer"):
        model.predict(x, verbose=0)


def test_no_thread_outlives_its_pass(data):
    """Not after whole epochs, nor after a fit that was left in the middle of one."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyError("enough")

    x, y = HDF5Matrix(data, "data"), HDF5Matrix(data, "labels")
    model = make_model()
    before = threading.enumerate()
    model.fit(x, y, batch_size=BATCH, epochs=2, validation_split=0.25, verbose=0)
    with pytest.raises(KeyError):
        model.fit(x, y, batch_size=BATCH, callbacks=[Stop()], verbose=0)
    gc.collect()
    later = [thread.name for thread in threading.enumerate() if thread not in before]
    assert not [name for name in later if name.startswith("befit-loader")]


def test_a_keras_that_asks_otherwise_is_told_of(data, model, monkeypatch):
    """The matrix is loaded whole then, as anything with ``__array__`` is; a warning names the way around."""
    from befit.integrations.keras import hdf5

    monkeypatch.setattr(hdf5, "_MAKES_ADAPTER", (lambda: None).__code__)
    x, y = HDF5Matrix(data, "data"), HDF5Matrix(data, "labels")
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "befit does not know how Keras")
        predicted = model.predict(x, verbose=0)
    assert "loaded whole; please report it, and pass Loader(matrix.batches(y))" in str(caught[0].message)
    np.testing.assert_allclose(predicted, model.predict(x[:], verbose=0), rtol=1e-6)
    fitted = model.fit(Loader(x.batches(y, BATCH)), verbose=0)
    assert np.isfinite(fitted.history["loss"]).all()


def test_nobody_else_sees_what_keras_sees(data):
    x = HDF5Matrix(data, "data")
    assert not isinstance(x, np.ndarray)
    assert not hasattr(x, "astype")
    assert type(x[2:5]) is np.ndarray
    assert np.asarray(x).flags.writeable


def test_replicas_of_a_model(data, monkeypatch):
    """They divide batches that were read, and give the losses of one model on arrays."""
    monkeypatch.setattr("befit.integrations.torch.replicate._virtual_cpus", 4)
    reads = Reads()
    x, y = HDF5Matrix(data, "data", normalizer=reads), HDF5Matrix(data, "labels")
    settings = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}
    parallel = multi_gpu_model(make_model(), gpus=2)
    parallel.compile("sgd", "sparse_categorical_crossentropy")
    losses = parallel.fit(x, y, **settings).history["loss"]
    assert reads.largest() == BATCH
    oracle = make_model().fit(x[:], y[:], **settings).history["loss"]
    np.testing.assert_allclose(losses, oracle, rtol=1e-5)


def test_fit_with_shuffle_and_validation_split(data, model):
    x = HDF5Matrix(data, "data")
    y = HDF5Matrix(data, "labels", normalizer=lambda rows: to_categorical(rows, 2))
    model.compile(keras.optimizers.Adam(0.1), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=8, epochs=8, shuffle=True, validation_split=0.25, verbose=0)
    assert history.history["val_accuracy"][-1] > 0.8
