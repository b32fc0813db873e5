"""fit, evaluate and predict: every sample exactly once an epoch, on every backend."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
from keras import ops

from befit import Loader, Sequence

pytestmark = pytest.mark.backends

SAMPLES, BATCH, BATCHES = 33, 5, 7


@pytest.mark.parametrize(
    ("engine", "built"),
    [("sequence", False), ("sequence", True), ("inline", False), ("threads", False), ("processes", False)],
)
def test_fit_evaluate_predict_are_exact(on, engine, built, ids, make_model, history):
    """No sample is missing or repeated, on_epoch_end is called once an epoch, and nothing is loaded twice."""
    source = ids()
    data = on(engine, source)
    model, counts = make_model(built=built)
    recorded = history(counts)
    model.fit(data, epochs=3, verbose=0, callbacks=[recorded])
    np.testing.assert_array_equal(recorded.epochs, np.ones((3, SAMPLES)))
    assert source.ended == 3

    model.evaluate(data, verbose=0)
    np.testing.assert_array_equal(counts.by_sample(), np.ones(SAMPLES))
    assert source.ended == 4

    predicted = model.predict(data, verbose=0)
    oracle = model.predict(np.arange(SAMPLES, dtype="float32")[:, None], batch_size=BATCH, verbose=0)
    np.testing.assert_array_equal(predicted, oracle)
    assert source.ended == 5
    if engine != "processes":  # the workers keep their own lists
        assert sorted(source.loaded) == sorted(list(range(BATCHES)) * 5)


def test_validation_data_is_exact(on, ids, make_model):
    """Each epoch of training is followed by one of validation, each with its own sequence."""
    train, held_out = ids(), ids(samples=11)
    model, _ = make_model()
    logs = model.fit(
        on("threads", train), epochs=2, validation_data=on("inline", held_out), verbose=0
    ).history
    assert logs["samples"] == [SAMPLES] * 2
    assert logs["val_samples"] == [11] * 2
    assert (train.ended, held_out.ended) == (2, 2)


@pytest.mark.parametrize(("engine", "steps"), [("sequence", 1), ("threads", 3), ("sequence", 10)])
def test_the_stream_goes_on_with_steps_per_epoch(on, engine, steps, ids, make_model, history):
    """Epochs of Keras shorter or longer than the sequence: together they are the sequence, over and over."""
    source = ids(samples=35)
    model, counts = make_model(samples=35)
    recorded = history(counts)
    epochs = 21 // steps + 1
    model.fit(on(engine, source), epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[recorded])
    assert [epoch.sum() for epoch in recorded.epochs] == [steps * BATCH] * epochs
    total = np.sum(recorded.epochs, axis=0)
    passes, rest = divmod(steps * epochs, 7)
    np.testing.assert_array_equal(total, passes + (np.arange(35) < rest * BATCH))
    assert rest, "else the last pass would end with the data, not with the training"
    assert source.ended == passes


def test_evaluation_with_steps_begins_at_the_beginning(ids, make_model):
    """As it does with arrays."""
    model, counts = make_model(built=True)
    data = ids()
    for _ in range(2):
        model.evaluate(data, steps=2, verbose=0)
        np.testing.assert_array_equal(counts.by_sample(), np.arange(SAMPLES) < 2 * BATCH)


@pytest.mark.parametrize("engine", ["sequence", "threads"])
def test_an_epoch_of_one_batch(on, engine, ids, make_model, history):
    """The batch that Keras looks at to build the model is not an epoch yet."""
    source = ids(samples=4)
    model, counts = make_model()
    recorded = history(counts)
    model.fit(on(engine, source), epochs=3, verbose=0, callbacks=[recorded])
    np.testing.assert_array_equal(recorded.epochs, [np.arange(SAMPLES) < 4] * 3)
    assert source.ended == 3


@pytest.mark.parametrize("engine", ["sequence", "processes"])
def test_the_length_may_change_between_epochs(on, engine, ids, make_model):
    class Growing(ids):
        """Grows by a batch after each epoch."""

        def on_epoch_end(self):
            super().on_epoch_end()
            self.samples += BATCH

    source = Growing(samples=10)
    model, _ = make_model()
    assert model.fit(on(engine, source), epochs=4, verbose=0).history["samples"] == [10, 15, 20, 25]
    assert source.ended == 4


def test_a_fit_that_fails_at_once_is_no_epoch(backend, ids):
    """Even if Keras has seen all batches while it looked at the data."""
    source = ids(samples=4)
    loader = Loader(source, shuffle=True, seed=1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(Exception, match=r"shape|incompatible|axis"):
        model.fit(loader, verbose=0)
    gc.collect()
    assert source.ended == 0
    assert loader.state_dict()["epoch"] == 0


@pytest.mark.parametrize("used", [0, 3])
def test_a_fit_that_fails_at_once_uses_nothing(ids, used):
    """Neither of a new epoch nor of the rest of one."""
    loader = Loader(ids(), shuffle=True, seed=1)
    state = {**loader.state_dict(), "position": used}
    loader.load_state_dict(state)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    with pytest.raises(Exception, match=r"shape|incompatible|axis"):
        model.fit(loader, verbose=0)
    gc.collect()
    assert loader.state_dict() == state
    assert loader.remaining() == BATCHES - used


def test_building_a_model_takes_no_epoch_away(ids, make_model):
    """An unbuilt model trains on the batches, in the order, that a plain loop would see."""
    source, oracle = ids(), ids()
    model, _ = make_model()
    model.fit(Loader(source, shuffle=True, seed=3), epochs=2, verbose=0)
    loader = Loader(oracle, shuffle=True, seed=3)
    for _ in range(2):
        list(loader)
    assert source.loaded == oracle.loaded


class InPlace(Sequence):
    """Batches are views of an array that on_epoch_end overwrites."""

    rows = 20_000

    def __init__(self):
        memory = np.empty(4 * self.rows + 16, np.float32)
        start = -memory.ctypes.data % 64 // 4  # aligned, as JAX wants it to go on without a copy
        self.x = memory[start : start + 4 * self.rows].reshape(-1, 1)
        self.x[:] = 1

    def __len__(self):
        return 4

    def __getitem__(self, idx):
        batch = self.x[idx * self.rows : (idx + 1) * self.rows]
        return batch, batch

    def on_epoch_end(self):
        self.x *= 2


@pytest.mark.parametrize("engine", ["sequence", "threads"])
def test_on_epoch_end_may_overwrite_the_data(on, engine):
    """A backend that computes later must not see what was written for the next epoch."""

    class Total(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="total")
            self.total = self.add_weight(shape=(), initializer="zeros", name="t")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total.assign_add(ops.mean(y_true))

        def result(self):
            return self.total + 0

    model = keras.Sequential([keras.layers.Dense(64), keras.layers.Dense(64), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse", metrics=[Total()])
    assert model.fit(on(engine, InPlace()), epochs=3, verbose=0).history["total"] == [4, 8, 16]


def test_one_sequence_for_training_and_validation(ids, make_model):
    """Each has its own pass over it."""
    source = ids()
    model, _ = make_model()
    logs = model.fit(source, validation_data=source, epochs=2, verbose=0).history
    assert logs["samples"] == logs["val_samples"] == [SAMPLES] * 2
    assert source.ended == 4


@pytest.mark.parametrize("engine", ["sequence", "threads", "processes"])
def test_stopping_in_the_middle_leaves_the_data_usable(on, engine, ids, make_model, history):
    """The next fit is exact, and the epoch that was stopped is none."""

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    source = ids()
    data = on(engine, source)
    model, counts = make_model()
    model.fit(data, verbose=0, callbacks=[Stop()])
    assert source.ended == 0
    recorded = history(counts)
    model.fit(data, epochs=2, verbose=0, callbacks=[recorded])
    np.testing.assert_array_equal(recorded.epochs, np.ones((2, SAMPLES)))
    assert source.ended == 2


def test_steps_per_execution(backend, ids, make_model, history):
    if backend == "torch":
        pytest.skip("Keras has no steps_per_execution on torch")
    source = ids()
    model, counts = make_model(steps_per_execution=3)
    recorded = history(counts)
    model.fit(source, epochs=2, verbose=0, callbacks=[recorded])
    np.testing.assert_array_equal(recorded.epochs, np.ones((2, SAMPLES)))
    assert source.ended == 2


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("used", [0, 3, BATCHES])
def test_fit_goes_on_where_a_state_was_saved(ids, make_model, history, built, used):
    """The first epoch is the rest, also if Keras looks at the data first to build the model."""

    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.position = loader.state_dict()["position"]

    first, source, begin = Loader(ids()), ids(), Begin()
    epoch = iter(first)
    for _ in range(used):
        next(epoch)
    loader = Loader(source)
    loader.load_state_dict(first.state_dict())
    model, counts = make_model(built=built)
    recorded = history(counts)
    model.fit(loader, epochs=2, verbose=0, callbacks=[recorded, begin])
    assert begin.position == used % BATCHES, "a look uses nothing"
    rest = np.arange(SAMPLES) >= (used % BATCHES) * BATCH
    np.testing.assert_array_equal(recorded.epochs, [rest, np.ones(SAMPLES)])
    assert source.ended == (3 if used == BATCHES else 2)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_shard_of_an_epoch(ids, make_model, history, rank):
    source = ids(samples=40)
    model, counts = make_model(samples=40)
    recorded = history(counts)
    loader = Loader(source, shard=(rank, 2))
    model.fit(loader, epochs=2, verbose=0, callbacks=[recorded])
    np.testing.assert_array_equal(recorded.epochs, [np.arange(40) // BATCH % 2 == rank] * 2)
    assert source.ended == 2
