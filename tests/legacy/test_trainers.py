"""The generator methods of Keras 2: the oracles are train_on_batch, and fit on arrays without shuffling."""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from befit import Loader, Sequence
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.legacy.trainers import evaluate_generator, fit_generator, predict_generator
from befit.loading import Stream

sys.path.append(str(Path(__file__).parent))

from training_cases import befit_threads, make_model

pytestmark = pytest.mark.backends

ROWS = 4
BATCHES = 3
X = np.random.default_rng(0).normal(size=(11, 3))  # batches of 4, 4 and 3
Y = X @ np.array([[1.0], [2.0], [-1.0]])


class Arrays(Sequence):
    """The batches of X and Y; it knows what was asked of it."""

    def __init__(self):
        self.loaded, self.ended = [], 0

    def __len__(self):
        return BATCHES

    def __getitem__(self, idx):
        self.loaded.append(idx)
        rows = slice(idx * ROWS, (idx + 1) * ROWS)
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.ended += 1


class Counted:
    """An iterator class over the same batches, again and again; it knows how many it made."""

    def __init__(self):
        self.made = 0

    def __next__(self):
        self.made += 1
        idx = (self.made - 1) % BATCHES
        return X[idx * ROWS : (idx + 1) * ROWS], Y[idx * ROWS : (idx + 1) * ROWS]


def generator(source=None):
    source = source or Counted()
    while True:
        yield next(source)


def losses_on_arrays(epochs, **settings):
    history = make_model().fit(X, Y, batch_size=ROWS, shuffle=False, epochs=epochs, verbose=0, **settings)
    return history.history["loss"]


def assert_weights_after(model, indices, **settings):
    """The weights are those of a loop of train_on_batch over batches by their numbers."""
    oracle = make_model()
    batches = Arrays()
    for index in indices:
        oracle.train_on_batch(*batches[index % BATCHES], **settings)
    for actual, expected in zip(model.get_weights(), oracle.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    before = befit_threads()
    yield
    assert befit_threads() <= before


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (Arrays, {}),
        (Arrays, {"workers": 0}),
        (Arrays, {"workers": 3, "max_queue_size": 2}),
        (Arrays, {"workers": 2, "use_multiprocessing": True}),
        (generator, {"steps_per_epoch": 3}),
        (generator, {"steps_per_epoch": 3, "workers": 0}),
        (generator, {"steps_per_epoch": 3, "workers": 4, "use_multiprocessing": True}),
        (Counted, {"steps_per_epoch": 3, "max_queue_size": 1}),
    ],
)
def test_losses_are_those_of_fit_on_arrays(make, settings):
    """However the batches are loaded; nothing runs afterwards."""
    source = make()
    history = fit_generator(make_model(), source, epochs=2, shuffle=False, verbose=0, **settings)
    np.testing.assert_allclose(history.history["loss"], losses_on_arrays(2), rtol=1e-4)
    if isinstance(source, Sequence):
        assert source.ended == 2


def test_steps_above_the_length_go_on_into_the_next_pass():
    source = Arrays()
    model = make_model()
    fit_generator(model, source, steps_per_epoch=5, epochs=2, shuffle=False, verbose=0)
    assert source.ended == 3
    assert_weights_after(model, range(10))


def test_shuffling_takes_every_batch_once_in_the_order_of_pythons_random():
    def order(seed, **settings):
        source, model = Arrays(), make_model()
        random.seed(seed)
        fit_generator(model, source, epochs=4, verbose=0, **settings)
        epochs = [source.loaded[start : start + BATCHES] for start in range(0, 4 * BATCHES, BATCHES)]
        assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
        return epochs

    # workers=0: with more, the order in which batches are begun is not that in which they are due
    assert order(1, workers=0) == order(1, workers=0)
    assert order(1, workers=0) != order(2, workers=0)
    model = make_model()
    state = random.getstate()
    fit_generator(model, Arrays(), shuffle=False, verbose=0)
    assert random.getstate() == state


def test_a_generator_is_used_batch_by_batch_over_calls():
    source = Counted()
    batches = generator(source)
    model = make_model()
    fit_generator(model, batches, 2, 2, verbose=0)
    assert source.made == 4
    x, y = next(batches)
    model.train_on_batch(x, y)
    fit_generator(model, batches, 1, verbose=0)
    evaluate_generator(model, batches, 2)
    predict_generator(model, batches, 1)
    assert source.made == 9
    assert_weights_after(model, range(6))


@pytest.mark.parametrize(("samples", "steps"), [(8, 2), (9, 3), (1, 1)])
def test_samples_of_keras_1_are_counted_in_batches(samples, steps):
    """By the rows of the first batch, which is not lost, rounded up."""
    source = Counted()
    model = make_model()
    history = fit_generator(
        model,
        source,
        samples_per_epoch=samples,
        nb_epoch=2,
        max_q_size=3,
        nb_worker=1,
        pickle_safe=False,
        verbose=0,
        validation_data=Counted(),
        nb_val_samples=5,
    )
    assert source.made == 2 * steps
    assert len(history.history["val_loss"]) == 2
    assert_weights_after(model, range(2 * steps))


def test_keras_1_names_of_the_other_methods():
    source = Counted()
    evaluate_generator(make_model(), source, val_samples=7, max_q_size=2, nb_worker=1, pickle_safe=False)
    assert source.made == 2
    assert predict_generator(make_model(), generator(), val_samples=5).shape == (8, 1)
    assert predict_generator(make_model(), Arrays(), val_samples=8).shape == (8, 1)


def test_class_weight_and_validation_frequency_are_honoured():
    labels = np.array([[0], [1], [1], [0]])

    def labelled():
        while True:
            yield [X[:4], labels]

    weights = {0: 1.0, 1: 5.0}
    oracle = make_model().fit(X[:4], labels, class_weight=weights, verbose=0).history["loss"]
    history = fit_generator(
        make_model(),
        labelled(),
        1,
        epochs=2,
        class_weight=weights,
        verbose=0,
        validation_data=Arrays(),
        validation_freq=2,
    )
    assert history.history["loss"][0] == pytest.approx(oracle[0], rel=1e-5)
    assert len(history.history["val_loss"]) == 1


@pytest.mark.parametrize("kind", ["arrays", "sequence", "generator", "loader"])
def test_validation_data_of_every_kind(kind):
    data = {"arrays": (X, Y), "sequence": Arrays(), "generator": generator(), "loader": Loader(Arrays())}[
        kind
    ]
    steps = {"validation_steps": 3} if kind == "generator" else {}
    model = make_model()
    history = fit_generator(model, Arrays(), epochs=2, validation_data=data, verbose=0, **steps)
    expected = model.evaluate(X, Y, verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-4)


def test_evaluation_weighs_batches_by_their_rows():
    model = make_model(metrics=["mae"])
    expected = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(evaluate_generator(model, Arrays()), expected, rtol=1e-5)
    np.testing.assert_allclose(evaluate_generator(model, generator(), 3, workers=0), expected, rtol=1e-5)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_predictions_come_in_order_with_a_short_last_batch(workers):
    model = make_model()
    expected = model.predict(X, verbose=0)
    actual = predict_generator(model, Arrays(), workers=workers)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)
    inputs = (x for x, _ in generator())
    np.testing.assert_allclose(predict_generator(model, inputs, 3, workers=workers), actual, rtol=1e-6)


def test_several_inputs_and_outputs_are_lists():
    a, b = keras.Input((3,)), keras.Input((1,))
    both = keras.layers.Concatenate()([a, b])
    model = keras.Model([a, b], (keras.layers.Dense(1)(both), keras.layers.Dense(2)(both)))

    class Inputs(Arrays):
        def __getitem__(self, idx):
            x, y = super().__getitem__(idx)
            return [x, y]

    outputs = predict_generator(model, Inputs())
    assert isinstance(outputs, list)
    for actual, expected in zip(outputs, model.predict([X, Y], verbose=0), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"workers": 0}, {"workers": 2, "use_multiprocessing": True}])
@pytest.mark.parametrize("make", [Arrays, generator])
def test_an_error_in_a_worker_is_raised_and_nothing_runs_on(make, settings):
    class Broken(Arrays):
        def __getitem__(self, idx):
            if idx == 1:
                raise KeyError("no such picture")
            return super().__getitem__(idx)

    def broken():
        yield X[:4], Y[:4]
        raise KeyError("no such picture")

    source = Broken() if make is Arrays else broken()
    with pytest.raises(KeyError, match="no such picture"):
        fit_generator(make_model(), source, 3, shuffle=False, verbose=0, **settings)


@pytest.mark.parametrize("make", [Arrays, generator])
def test_nothing_runs_on_after_a_keyboard_interrupt(make):
    class Interrupting(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_generator(make_model(), make(), 50, callbacks=[Interrupting()], workers=2, verbose=0)


def test_a_generator_that_is_busy_does_not_hold_up_the_end(monkeypatch):
    """It is waited for a while only: its thread ends after the batch in its hand."""
    monkeypatch.setattr("befit.legacy.training_data._PATIENCE", 0.1)
    go_on = threading.Event()

    def busy():
        yield X[:4], Y[:4]
        yield X[:4], Y[:4]  # TensorFlow learns the types from two
        go_on.wait(60)
        yield X[:4], Y[:4]

    class StopError(Exception):
        pass

    class Stopping(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise StopError

    before = befit_threads()
    begun = time.monotonic()
    with pytest.raises(StopError):
        fit_generator(make_model(), busy(), 9, callbacks=[Stopping()], verbose=0)
    assert time.monotonic() - begun < 50
    go_on.set()
    for thread in befit_threads() - before:
        thread.join(30)


def test_a_generator_may_be_used_at_once_after_an_error():
    """Its thread was waited for; without that, Python says that the generator is executing already."""
    go_on = threading.Event()

    def slow():
        yield X[:4], Y[:4]
        yield X[:4], Y[:4]
        go_on.wait(60)
        yield X[:4], Y[:4]
        yield "the next one"

    class StopError(Exception):
        pass

    class Stopping(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            threading.Timer(0.2, go_on.set).start()
            raise StopError

    batches = slow()
    with pytest.raises(StopError):
        fit_generator(make_model(), batches, 3, callbacks=[Stopping()], verbose=0)
    assert next(batches) == "the next one"


def test_a_generator_without_steps_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match=r"steps_per_epoch= is missing: generator is a generator, which may"):
        fit_generator(model, generator())
    with pytest.raises(ArgumentError, match=r"validation_steps= is missing: validation_data is a Counted"):
        fit_generator(model, Arrays(), validation_data=Counted())
    for function in (evaluate_generator, predict_generator):
        with pytest.raises(ArgumentError, match=r"steps= is missing: generator is a Counted"):
            function(model, Counted())


def test_a_stream_and_a_loader_are_taken_as_they_are():
    source = Counted()
    fit_generator(make_model(), Stream(source), 2, verbose=0)
    assert source.made == 2
    with Loader(Arrays(), workers=2) as loader:
        assert predict_generator(make_model(), loader).shape == (11, 1)


def test_wrong_arguments_are_refused_as_python_does():
    model = make_model()
    with pytest.raises(TypeError, match=r"fit_generator\(\) got an unexpected keyword argument 'foo'"):
        fit_generator(model, Arrays(), foo=1)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'nb_epoch'"):
        evaluate_generator(model, Arrays(), nb_epoch=1)
    with pytest.raises(TypeError, match=r"got epochs= and nb_epoch=, its name in Keras 1"):
        fit_generator(model, Arrays(), epochs=3, nb_epoch=2)
    with pytest.raises(
        UnsupportedObjectError, match=r"ndarray is no generator and no Sequence; write model\.fit"
    ):
        fit_generator(model, X, 3)


def test_a_sequence_may_grow_between_epochs():
    class Growing(Arrays):
        def __len__(self):
            return min(BATCHES, 1 + self.ended)

    source = Growing()
    fit_generator(make_model(), source, epochs=3, shuffle=False, workers=0, verbose=0)
    assert source.loaded == [0, 0, 1, 0, 1, 2]
    assert source.ended == 3
