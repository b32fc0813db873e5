"""Batches of every form, and arguments of fit beside them, on every backend."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from befit import Loader, Sequence
from befit.errors import ArgumentError

pytestmark = pytest.mark.backends

SAMPLES, BATCH, BATCHES = 33, 5, 7


@pytest.mark.parametrize("engine", ["sequence", "processes"])
def test_nested_inputs_and_outputs(on, engine):
    """Dicts of inputs, lists of outputs and sample weights reach the model as they do with arrays."""
    x = {"a": np.random.default_rng(0).normal(size=(10, 3)), "b": np.arange(10.0)[:, None]}
    y = (np.ones((10, 1)), np.zeros((10, 2)))

    class Multi(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, idx):
            rows = slice(idx * 4, min(idx * 4 + 4, 10))
            return {key: value[rows] for key, value in x.items()}, [part[rows] for part in y]

    a, b = keras.Input((3,), name="a"), keras.Input((1,), name="b")
    both = keras.layers.Concatenate()([a, b])
    model = keras.Model({"a": a, "b": b}, [keras.layers.Dense(1)(both), keras.layers.Dense(2)(both)])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=["mse", "mse"])
    actual = model.evaluate(on(engine, Multi()), verbose=0, return_dict=True)
    expected = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    assert actual["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    outputs = model.predict(on(engine, Multi()), verbose=0)
    for part, oracle in zip(outputs, model.predict(x, batch_size=4, verbose=0), strict=True):
        np.testing.assert_allclose(part, oracle, rtol=1e-5)


def test_sample_weights_in_the_batch(ids, make_model):
    class Weighted(ids):
        def __getitem__(self, idx):
            x, y = super().__getitem__(idx)
            return x, y, np.where(y[:, 0] < 10, 2.0, 0.5)

    model, counts = make_model(weighted=True)
    model.fit(Weighted(), verbose=0)
    np.testing.assert_allclose(counts.by_sample(), np.where(np.arange(SAMPLES) < 10, 2.0, 0.5))


@pytest.mark.parametrize("engine", ["sequence", "threads"])
def test_class_weight_is_honoured(on, engine, ids, make_model):
    """Keras hands class_weight to no custom adapter; it must not be lost on the way."""
    model, counts = make_model(weighted=True)
    model.fit(on(engine, ids()), class_weight={3: 4.0, 7: 0.0}, verbose=0)
    expected = np.ones(SAMPLES)
    expected[[3, 7]] = 4, 0
    np.testing.assert_allclose(counts.by_sample(), expected)


def test_plain_lists_and_inputs_alone(make_model):
    """Batches that are no tuple, and lists of numbers, mean what they mean elsewhere."""

    class Lists(Sequence):
        def __len__(self):
            return 2

        def __getitem__(self, idx):
            return [np.ones((2, 1), "float32"), [3.0, 4.0]]

    model, counts = make_model(samples=5)
    model.fit(Lists(), verbose=0)
    np.testing.assert_array_equal(counts.by_sample(), [0, 0, 0, 2, 2])
    alone = Sequence.from_arrays(np.ones((5, 1), "float32"), batch_size=2)
    assert model.predict(alone, verbose=0).shape == (5, 1)


def test_an_unbuilt_model_can_predict(ids):
    source = ids()
    model = keras.Sequential([keras.layers.Dense(2)])
    assert model.predict(source, verbose=0).shape == (SAMPLES, 2)
    assert source.ended == 1


def test_batches_of_different_inner_size():
    """Lengths that vary within the first two batches may vary on every backend."""

    class Ragged(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, idx):
            return np.ones((2, 4 + idx, 3), "float32"), np.ones((2, 1), "float32")

    model = keras.Sequential([keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)])
    model.compile(loss="mse")
    model.fit(Ragged(), verbose=0)


@pytest.mark.parametrize("engine", ["sequence", "processes"])
def test_an_exception_reaches_the_caller_of_fit(on, engine, backend, ids, make_model):
    """With type and index; TensorFlow, which runs the loader inside its graph, gives the text."""

    class Broken(ids):
        def __getitem__(self, idx):
            if idx == 3:
                raise KeyError("no such picture")
            return super().__getitem__(idx)

    data = on(engine, Broken())
    model, _ = make_model()
    with pytest.raises(Exception, match="no such picture") as caught:
        model.fit(data, verbose=0)
    if backend != "tensorflow":
        assert type(caught.value) is KeyError
        assert any("batch index 3" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", ["y", "sample_weight"])
def test_targets_beside_a_sequence_are_refused(name, ids, make_model):
    model, _ = make_model()
    with pytest.raises(ArgumentError, match=f"{name}= was passed beside a"):
        model.fit(ids(), verbose=0, **{name: np.zeros((SAMPLES, 1))})


def test_class_weight_beside_sample_weights_is_refused(backend, ids, make_model):
    class Weighted(ids):
        def __getitem__(self, idx):
            x, y = super().__getitem__(idx)
            return x, y, np.ones(len(x))

    model, _ = make_model()
    with pytest.raises(Exception, match="class_weight= needs batches"):
        model.fit(Weighted(), class_weight={0: 1.0}, verbose=0)


def test_an_empty_sequence_is_refused(ids, make_model):
    model, _ = make_model()
    with pytest.raises(ArgumentError, match="Ids has no batches: its len\\(\\) is 0"):
        model.fit(ids(samples=0), verbose=0)


def test_too_many_parts_are_refused(ids, make_model):
    class Four(ids):
        def __getitem__(self, idx):
            return (np.ones((2, 1)),) * 4

    model, _ = make_model()
    with pytest.raises(Exception, match="a batch has 4 parts"):
        model.fit(Four(), verbose=0)


def test_a_subclass_may_own_the_names_that_keras_uses(ids, make_model):
    """Only num_batches, which befit is asked by, cannot be a property of it, and the error says so."""

    class Named(ids):
        def __init__(self):
            super().__init__()
            self.batch_size, self.num_batches = 99, "mine"

        def on_epoch_begin(self):
            raise AssertionError("not the documented hook")

    model, _ = make_model()
    assert model.fit(Named(), verbose=0).history["samples"] == [SAMPLES]

    class Property(ids):
        @property
        def num_batches(self):
            return 3

    with pytest.raises(TypeError, match=r"Property defines num_batches, .* pass Loader"):
        model.fit(Property(), verbose=0)
    assert model.fit(Loader(Property()), verbose=0).history["samples"] == [SAMPLES]


def test_floats_are_cast_as_fit_casts_arrays():
    """Float64 to floatx; what is no float stays what it is."""
    from keras.src.trainers.epoch_iterator import EpochIterator

    class Mixed(Sequence):
        def __len__(self):
            return 1

        def __getitem__(self, idx):
            return {"a": np.ones((2, 1)), "b": np.ones((2, 1), "float16")}, [np.ones(2, "uint8"), [0.5, 1.5]]

    (x, y) = next(EpochIterator(Mixed()).data_adapter.get_numpy_iterator())
    assert [x["a"].dtype, x["b"].dtype, y[0].dtype, y[1].dtype] == ["float32", "float32", "uint8", "float32"]
