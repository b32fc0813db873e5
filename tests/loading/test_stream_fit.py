"""Streams as data of fit, evaluate and predict: the oracles are train_on_batch, and fit on arrays."""

from __future__ import annotations

import itertools
import threading
import warnings

import keras
import numpy as np
import pytest

from befit.errors import ArgumentError
from befit.loading import Stream

pytestmark = [
    pytest.mark.backends,
    # pytest.warns gives what it did not ask for to the filters again, without the module it comes from
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]

ROWS = 4
with_and_without_a_thread = pytest.mark.parametrize("prefetch", [0, 10])


class Batches:
    """An iterator class over numbered batches of ``y = 2 x``; it knows how many it made."""

    def __init__(self, end=None, rows=ROWS):
        self.made, self.end, self.rows = 0, end, rows

    def __next__(self):
        if self.made == self.end:
            raise StopIteration
        self.made += 1
        x = batch_number(self.made - 1, self.rows)
        return x, 2 * x


def batch_number(number, rows=ROWS):
    """Float64, as NumPy makes it."""
    return np.random.default_rng(number).normal(size=(rows, 3))


def make_model(unbuilt=False, **settings):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(3)]
    model = keras.Sequential(layers if unbuilt else [keras.Input((3,)), *layers])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", **settings)
    return model


def weights_after(numbers, **settings):
    """The weights that a loop of train_on_batch gives."""
    model = make_model()
    for number in numbers:
        x = batch_number(number)
        model.train_on_batch(x, 2 * x, **settings)
    return model.get_weights()


def assert_same_weights(model, expected):
    for actual, oracle in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(actual, oracle, rtol=1e-5, atol=1e-6)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("befit-stream-")]


@with_and_without_a_thread
@pytest.mark.parametrize("unbuilt", [False, True])
def test_calls_share_an_iterator_and_use_each_batch_once(prefetch, unbuilt):
    """Two calls with streams of their own, next() between them, models built or not."""
    source = Batches()
    model = make_model(unbuilt)
    history = model.fit(Stream(source, prefetch=prefetch), steps_per_epoch=3, epochs=2, verbose=0)
    assert source.made == 6
    assert len(history.history["loss"]) == 2
    x, y = next(source)
    model.train_on_batch(x, y)
    model.fit(Stream(source, prefetch=prefetch), steps_per_epoch=1, epochs=2, verbose=0)
    assert source.made == 9
    assert_same_weights(model, weights_after(range(9)))


def test_the_losses_are_those_of_fit_on_arrays():
    x = np.concatenate([batch_number(number) for number in range(5)])
    oracle = make_model().fit(x, 2 * x, batch_size=ROWS, shuffle=False, epochs=2, verbose=0)
    repeated = itertools.cycle([(batch_number(n), 2 * batch_number(n)) for n in range(5)])
    history = make_model().fit(Stream(repeated), steps_per_epoch=5, epochs=2, verbose=0)
    np.testing.assert_allclose(history.history["loss"], oracle.history["loss"], rtol=1e-5)


def test_validation_goes_on_from_epoch_to_epoch():
    source = Batches()
    model = make_model()
    history = model.fit(
        Stream(Batches()),
        steps_per_epoch=1,
        epochs=3,
        validation_data=Stream(source),
        validation_steps=2,
        verbose=0,
    )
    assert source.made == 6
    oracle = make_model()
    for epoch in range(3):
        x = batch_number(epoch)
        oracle.train_on_batch(x, 2 * x)
        seen = np.concatenate([batch_number(2 * epoch), batch_number(2 * epoch + 1)])
        expected = oracle.evaluate(seen, 2 * seen, verbose=0)
        assert history.history["val_loss"][epoch] == pytest.approx(expected, rel=1e-4)


def test_a_stream_validates_its_own_training():
    """One stream for both: training and validation take their batches in turn."""
    source = Batches()
    stream = Stream(source)
    model = make_model(unbuilt=True)
    model.fit(stream, steps_per_epoch=2, epochs=2, validation_data=stream, validation_steps=1, verbose=0)
    assert source.made == 6
    assert_same_weights(model, weights_after([0, 1, 3, 4]))


@with_and_without_a_thread
def test_evaluate_and_predict_use_what_they_are_asked_to(prefetch):
    source = Batches()
    model = make_model(unbuilt=True)
    outputs = model.predict(Stream(source, prefetch=prefetch), steps=2, verbose=0)
    loss = model.evaluate(Stream(source, prefetch=prefetch), steps=2, verbose=0)
    assert source.made == 4
    x = np.concatenate([batch_number(number) for number in range(4)])
    np.testing.assert_allclose(outputs, model.predict(x[:8], verbose=0), rtol=1e-4, atol=1e-6)
    assert loss == pytest.approx(model.evaluate(x[8:], 2 * x[8:], verbose=0), rel=1e-4)


def test_without_steps_everything_is_read_with_a_short_last_batch():
    def ending():
        yield (batch_number(0),)
        yield (batch_number(1),)
        yield (batch_number(2, rows=1),)

    outputs = make_model().predict(Stream(ending()), verbose=0)
    assert outputs.shape == (2 * ROWS + 1, 3)


def test_class_weight_is_honoured():
    labels = np.array([[0], [1], [1], [0]])

    def labelled():
        while True:
            yield np.ones((ROWS, 3)), labels

    def weighted(data, **settings):
        model = make_model()
        return model.fit(data, class_weight={0: 1.0, 1: 5.0}, verbose=0, **settings).history["loss"]

    oracle = weighted(np.ones((ROWS, 3)), y=labels, batch_size=ROWS)
    np.testing.assert_allclose(weighted(Stream(labelled()), steps_per_epoch=1), oracle, rtol=1e-5)


def test_lists_are_pairs_in_fit_and_inputs_in_predict():
    """As in Keras 2; lists of numbers are arrays, and batches that are None do not count."""
    a, b = keras.Input((2,)), keras.Input((1,))
    model = keras.Model([a, b], keras.layers.Dense(1)(keras.layers.Concatenate()([a, b])))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    inputs = [np.ones((2, 2)), np.array([[3.0], [4.0]])]

    def lists():
        while True:
            yield None
            yield [inputs, [1.0, 2.0]]

    expected = model.evaluate(inputs, np.array([1.0, 2.0]), verbose=0)
    assert model.evaluate(Stream(lists()), steps=2, verbose=0) == pytest.approx(expected, rel=1e-5)
    model.fit(Stream(lists()), steps_per_epoch=2, verbose=0)
    oracle = model.predict(inputs, verbose=0)
    for form in (inputs, (inputs,), (inputs, [1.0, 2.0]), (inputs, [1.0, 2.0], [1.0, 1.0])):
        outputs = model.predict(Stream(iter([form, form])), verbose=0)
        np.testing.assert_allclose(outputs, np.concatenate([oracle, oracle]), rtol=1e-5)


def test_an_array_alone_and_a_list_of_one_are_one_input():
    model = make_model()
    oracle = model.predict(batch_number(0), verbose=0)
    for form in (batch_number(0), [batch_number(0)], ([batch_number(0)],)):
        np.testing.assert_allclose(model.predict(Stream(iter([form])), verbose=0), oracle, rtol=1e-5)


def test_arrays_that_the_generator_uses_again_train_as_they_were():
    def reusing():
        x, y = np.empty((ROWS, 3)), np.empty((ROWS, 3))
        for number in itertools.count():
            x[:] = batch_number(number)
            y[:] = 2 * x
            yield x, y

    for prefetch in (0, 10):
        model = make_model()
        model.fit(Stream(reusing(), prefetch=prefetch), steps_per_epoch=6, verbose=0)
        assert_same_weights(model, weights_after(range(6)))


@with_and_without_a_thread
@pytest.mark.parametrize("good", [0, 1, 2, 5])
def test_an_error_is_raised_with_its_own_type_after_the_batches_before_it(prefetch, good):
    class NoPictureError(Exception):
        pass

    def broken():
        source = Batches()
        for _ in range(good):
            yield next(source)
        raise NoPictureError("number 7")

    model = make_model(unbuilt=True)
    with pytest.raises(NoPictureError, match="number 7"):
        model.fit(Stream(broken(), prefetch=prefetch), steps_per_epoch=9, verbose=0)
    if good:
        assert_same_weights(model, weights_after(range(good)))


def test_an_error_in_the_model_leaves_no_thread():
    class StopError(Exception):
        pass

    class Stopping(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise StopError

    stream = Stream(Batches(), prefetch=2)
    with pytest.raises(StopError):
        make_model().fit(stream, steps_per_epoch=50, callbacks=[Stopping()], verbose=0)
    for thread in threading.enumerate():
        if thread.name.startswith("befit-stream-"):
            thread.join(30)  # it ends when it has read two, whoever keeps the stream


def test_a_stream_that_ends_within_an_epoch_ends_training():
    """The history has what was trained, and the warning says what was missing."""
    model = make_model()
    with pytest.warns(UserWarning, match=r"ended in epoch 2 of 4, after 2 of steps_per_epoch=3 batches"):
        history = model.fit(Stream(Batches(5)), steps_per_epoch=3, epochs=4, verbose=0)
    assert len(history.history["loss"]) == 2
    assert_same_weights(model, weights_after(range(5)))


def test_a_stream_without_steps_is_one_epoch():
    model = make_model(unbuilt=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(Stream(Batches(5)), verbose=0)
    assert len(history.history["loss"]) == 1
    assert_same_weights(model, weights_after(range(5)))
    with pytest.warns(UserWarning, match="training ends with epoch 1 of 3; let it repeat"):
        history = make_model().fit(Stream(Batches(5)), epochs=3, verbose=0)
    assert len(history.history["loss"]) == 1


def test_validation_that_has_nothing_left_is_an_error():
    """Not a val_loss of 0, which callbacks would take for the best model ever."""
    with pytest.raises(ArgumentError, match="Batches has no batches any more"):
        make_model().fit(
            Stream(Batches()),
            steps_per_epoch=1,
            epochs=2,
            validation_data=Stream(Batches(2)),
            validation_steps=2,
            verbose=0,
        )


def test_a_stream_without_a_batch_is_refused():
    model = make_model()
    for use in (model.fit, model.evaluate, model.predict):
        with pytest.raises(ArgumentError, match="Batches has no batches, or none any more"):
            use(Stream(Batches(0)), verbose=0)


def test_several_steps_per_execution_use_whole_executions(backend):
    """As with any data, Keras completes the last one."""
    if backend == "torch":
        pytest.skip("Keras has them on JAX and TensorFlow only")
    source = Batches()
    model = make_model(unbuilt=True, steps_per_execution=3)
    model.fit(Stream(source), steps_per_epoch=5, epochs=2, verbose=0)
    assert source.made == 12
    assert_same_weights(model, weights_after(range(12)))


def test_targets_beside_a_stream_are_refused():
    with pytest.raises(ArgumentError, match="y= was passed beside a Stream"):
        make_model().fit(Stream(Batches()), np.ones(3), steps_per_epoch=1)


def test_the_generator_sees_the_scope_that_is_open():
    """Threads begin with an empty context; the one that reads has that of the caller."""
    from befit import custom_object_scope, get_custom_objects

    seen = []

    def looking():
        for batch in iter(Batches().__next__, None):
            seen.append("of_mine" in get_custom_objects())
            yield batch

    with custom_object_scope({"of_mine": Batches}):
        make_model().fit(Stream(looking()), steps_per_epoch=4, verbose=0)
    assert seen == [True] * 4
