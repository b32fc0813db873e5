"""``fit``, ``evaluate`` and ``predict`` that take what Keras 2 took, and pass everything else on as it is."""

from __future__ import annotations

import io
import random
import sys
import threading
import types
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from befit import HDF5Matrix, Loader, Sequence
from befit.errors import ArgumentError
from befit.legacy import trainers
from befit.loading import Stream

sys.path.append(str(Path(__file__).parent))

from training_cases import befit_threads, make_model

pytestmark = pytest.mark.backends

ROWS = 4
X = np.random.default_rng(0).normal(size=(11, 3)).astype("float32")
Y = (X @ np.array([[1.0], [2.0], [-1.0]])).astype("float32")
ORIGINAL = {name: getattr(keras.Model, name) for name in ("fit", "evaluate", "predict")}


def batch(idx):
    return X[idx * ROWS : (idx + 1) * ROWS], Y[idx * ROWS : (idx + 1) * ROWS]


class Duck:
    """A sequence that inherits nothing."""

    def __init__(self):
        self.loaded, self.ended = [], 0

    def __len__(self):
        return 3

    def __getitem__(self, idx):
        self.loaded.append(idx)
        return batch(idx)

    def on_epoch_end(self):
        self.ended += 1


class Sized(Sequence):
    def __len__(self):
        return 3

    def __getitem__(self, idx):
        self.threads = {*getattr(self, "threads", ()), threading.current_thread().name}
        return batch(idx)


class Dataset(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, idx):
        return batch(idx)


class Counted:
    def __init__(self):
        self.made = 0

    def __next__(self):
        self.made += 1
        return batch((self.made - 1) % 3)


def generator():
    source = Counted()
    while True:
        yield next(source)


def call(name, *args, **kwargs):
    """Call a method as it is called while ``befit.keras2`` is installed; ``model=`` is the model."""
    model = kwargs.pop("model", None) or make_model()
    return getattr(trainers, name)(model, ORIGINAL[name], args, {"verbose": 0, **kwargs})


def arguments_of(name, *args, **kwargs):
    """Return what Keras' method would be called with."""
    seen = []
    getattr(trainers, name)("model", lambda *args, **kwargs: seen.append((args, kwargs)), args, kwargs)
    return seen[0]


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    before = befit_threads()
    yield
    assert befit_threads() <= before


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("fit", (X, Y, 4), {"epochs": 2, "validation_split": 0.2, "shuffle": False}),
        ("fit", (Sized(),), {"epochs": 2, "validation_data": Sized()}),
        ("fit", (Dataset(),), {"class_weight": {0: 1.0}}),
        ("fit", (generator(),), {"steps_per_epoch": 3, "validation_data": (X, Y)}),
        ("fit", (Loader(Sized()),), {"validation_data": Stream(Counted()), "validation_steps": 1}),
        ("fit", (X,), {"foo": 1}),
        ("fit", (X,), {"x": X}),
        ("fit", tuple(range(30)), {}),
        ("evaluate", (Duck(),), {"_use_cached_eval_dataset": True, "steps": 1}),
        ("evaluate", ({"a": X}, [Y]), {"return_dict": True}),
        ("evaluate", (generator(),), {"steps": 1}),
        ("predict", ([X, X],), {"batch_size": 2}),
        ("predict", (), {"x": Dataset()}),
    ],
)
def test_what_is_not_old_is_passed_on_as_it_is(name, args, kwargs):
    """The same objects, by position and keyword as they came."""
    seen_args, seen_kwargs = arguments_of(name, *args, **kwargs)
    assert seen_args[0] == "model"
    assert [id(value) for value in seen_args[1:]] == [id(value) for value in args]
    assert {key: id(value) for key, value in seen_kwargs.items()} == {k: id(v) for k, v in kwargs.items()}


def test_data_that_frameworks_load_are_passed_on(backend):
    """Datasets and loaders of TensorFlow and torch; how old Keras would have loaded them is dropped."""
    if backend == "jax":
        pytest.skip("JAX has none")
    if backend == "torch":
        import torch

        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 3)))
    else:
        import tensorflow as tf

        data = tf.data.Dataset.from_tensors((X, Y))
    assert arguments_of("fit", data, epochs=2) == (("model", data), {"epochs": 2})
    assert arguments_of("fit", data, workers=2, nb_epoch=2) == (("model",), {"x": data, "epochs": 2})


def test_old_arguments_of_arrays_have_no_effect():
    kwargs = {"nb_epoch": 2, "workers": 4, "use_multiprocessing": True, "max_q_size": 3}
    assert arguments_of("fit", 1.0, **kwargs) == (("model",), {"x": 1.0, "epochs": 2})
    assert len(call("fit", X, Y, **kwargs).history["loss"]) == 2
    call("evaluate", X, Y, workers=2, max_queue_size=5)
    assert call("predict", X, pickle_safe=True, nb_worker=2).shape == (11, 1)
    by_position = (X, Y, 4, 2, 0, None, 0.0, None, True, None, None, 0, None, None, None, 1, 10, 4, True)
    _, kwargs = arguments_of("fit", *by_position)
    assert not {"workers", "max_queue_size", "use_multiprocessing"} & kwargs.keys()
    assert kwargs["validation_freq"] == 1


def test_two_names_of_an_argument_are_refused():
    with pytest.raises(TypeError, match=r"fit\(\) got epochs= and nb_epoch=, its name in Keras 1"):
        call("fit", X, Y, epochs=2, nb_epoch=3)
    with pytest.raises(TypeError, match=r"fit\(\) got workers= and nb_worker="):
        call("fit", X, Y, workers=2, nb_worker=3)


@pytest.mark.parametrize("kind", ["duck", "workers", "processes", "dataset", "iterator", "generator"])
def test_losses_are_those_of_arrays(kind):
    """For sequences that inherit nothing, iterator classes, and all that is read by workers."""
    data, settings = {
        "duck": (Duck(), {}),
        "workers": (Sized(), {"workers": 2, "max_queue_size": 4}),
        "processes": (Duck(), {"nb_worker": 2, "pickle_safe": True}),
        "dataset": (Dataset(), {"workers": 2}),
        "iterator": (Counted(), {"steps_per_epoch": 3}),
        "generator": (generator(), {"steps_per_epoch": 3, "workers": 0}),
    }[kind]
    history = call("fit", data, epochs=2, shuffle=False, **settings)
    oracle = make_model().fit(X, Y, batch_size=ROWS, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], oracle.history["loss"], rtol=1e-4)


def test_sequences_are_shuffled_by_default_and_end_each_pass_once():
    data = Duck()
    model = make_model()
    random.seed(2)
    call("fit", data, model=model, epochs=4, workers=0)
    passes = [data.loaded[start : start + 3] for start in range(0, 12, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in passes)
    assert passes != [[0, 1, 2]] * 4
    assert data.ended == 4


def test_a_sequence_that_carries_its_settings_is_loaded_by_them():
    data = Sized()
    data.workers, data.use_multiprocessing, data.max_queue_size = 2, False, 4
    call("fit", data)
    assert threading.current_thread().name not in data.threads
    call("predict", data, workers=0)
    assert threading.current_thread().name in data.threads


def test_evaluate_and_predict_take_sequences_and_iterators():
    model = make_model()
    expected = model.predict(X, verbose=0)
    for data, settings in ((Duck(), {}), (Counted(), {"steps": 3}), (Sized(), {"workers": 2})):
        np.testing.assert_allclose(
            call("predict", data, model=model, **settings), expected, rtol=1e-4, atol=1e-6
        )
        loss = call("evaluate", data, model=model, **settings)
        assert loss == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-4)
    ducks = Duck()
    call("evaluate", ducks, workers=0)
    assert ducks.loaded == [0, 1, 2]


def test_validation_data_of_old_kinds():
    model = make_model()
    for data, settings in ((Duck(), {}), (Counted(), {"validation_steps": 3})):
        history = call("fit", X, Y, model=model, epochs=2, validation_data=data, **settings)
        expected = model.evaluate(X, Y, verbose=0)
        assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-4)


def test_class_weight_works_with_generators():
    labels = np.array([[0], [1], [1], [0]])

    def labelled():
        while True:
            yield X[:4], labels

    settings = {"class_weight": {0: 1.0, 1: 5.0}, "verbose": 0}
    oracle = make_model().fit(X[:4], labels, **settings).history["loss"]
    loss = call("fit", labelled(), steps_per_epoch=1, **settings).history["loss"]
    np.testing.assert_allclose(loss, oracle, rtol=1e-5)


def test_iterators_without_steps_are_refused():
    with pytest.raises(
        ArgumentError, match=r"steps_per_epoch= is missing: x is a Counted, which may have no"
    ):
        call("fit", Counted())
    with pytest.raises(ArgumentError, match=r"steps_per_epoch= is missing: x is a generator"):
        call("fit", generator(), workers=2)
    with pytest.raises(ArgumentError, match=r"validation_steps= is missing: validation_data is a Counted"):
        call("fit", X, Y, validation_data=Counted())
    for name in ("evaluate", "predict"):
        with pytest.raises(ArgumentError, match=r" steps=, or befit.loading.Stream\(x\) to read all of it"):
            call(name, Counted())


def batches_of(*args, **kwargs):
    """Return the batches, as lists of labels, that fit delivers in each epoch."""
    given = []

    def original(model, **kwargs):
        for _ in range(3):
            given.append([[part[:, 0].tolist() for part in one] for one in kwargs["x"]])
        return kwargs

    kwargs = trainers.fit("model", original, args, kwargs)
    return given, kwargs


def test_shuffle_batch_shuffles_whole_batches():
    """Not the rows within each, as Keras 3 does; the one that is not full stays the last, as in Keras 2."""
    x, y = np.arange(22.0)[:, None], 100 + np.arange(22.0)[:, None]
    whole = [[list(np.arange(i, i + 4.0)), list(np.arange(i, i + 4.0) + 100)] for i in range(0, 20, 4)]
    epochs, kwargs = batches_of(x, y, 4, shuffle="batch")
    for batches in epochs:
        assert sorted(batches[:-1]) == whole
        assert batches[-1] == [[20.0, 21.0], [120.0, 121.0]]
    assert epochs[0] != epochs[1]
    assert kwargs.keys() == {"x", "validation_batch_size"}


@pytest.mark.parametrize("has_split", [True, False])
def test_shuffle_batch_with_what_fit_takes_beside_arrays(has_split):
    """Batches that are all alike teach the same in any order, so fit without shuffling is the oracle."""
    x, y = (np.concatenate([part[:4]] * 3 + [part[4:8]]) for part in (X, Y))
    weights = np.tile(np.linspace(0.5, 2, 4), 4)
    settings = {"batch_size": 4, "epochs": 3, "verbose": 0, "sample_weight": weights}
    if has_split:
        settings["validation_split"] = 0.25
    else:
        x, y, settings["sample_weight"] = x[:12], y[:12], weights[:12]
        settings["validation_data"] = (X[4:8], Y[4:8], weights[:4])
    oracle = make_model().fit(x, y, shuffle=False, **settings).history
    actual = call("fit", x, y, shuffle="batch", **settings).history
    assert actual.keys() == oracle.keys() == {"loss", "val_loss"}
    for name, values in oracle.items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-4)


@pytest.mark.parametrize("steps", [None, 2])
def test_shuffle_batch_that_befit_does_not_do_is_keras_own(steps, tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = X
    with HDF5Matrix(tmp_path / "data.h5", "x") as matrix:
        for data in (matrix, [X, X[:3]], keras.ops.ones((4, 3)), "text"):
            args, kwargs = arguments_of("fit", data, shuffle="batch", steps_per_epoch=steps)
            assert args[1] is data
            assert kwargs["shuffle"] == "batch"


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("group/x", data=X, chunks=(4, 3))
        file["y"] = Y
    with h5py.File(tmp_path / "data.h5", "r") as file:
        yield file


def test_h5py_datasets_are_read_a_batch_at_a_time(file):
    """As matrices over the same file; shuffled, split and weighted as arrays are."""
    seen = []

    def original(model, **kwargs):
        seen.append((type(kwargs["x"]), type(kwargs["y"]), kwargs["x"].shape))
        return ORIGINAL["fit"](model, **kwargs)

    settings = {"batch_size": ROWS, "validation_split": 0.3, "epochs": 2, "shuffle": False, "verbose": 0}
    oracle = make_model().fit(X, Y, **settings)
    model = make_model()
    history = trainers.fit(model, original, (file["group/x"], file["y"]), settings)
    assert seen == [(HDF5Matrix, HDF5Matrix, X.shape)]
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(history.history[name], oracle.history[name], rtol=1e-4)
    expected = model.predict(X, verbose=0)
    np.testing.assert_allclose(call("predict", file["group/x"], model=model), expected, rtol=1e-4, atol=1e-6)
    loss = call("evaluate", file["group/x"], file["y"], model=model)
    assert loss == pytest.approx(model.evaluate(X, Y, verbose=0), rel=1e-4)
    _, kwargs = arguments_of("predict", {"a": [file["y"], X]})
    assert isinstance(kwargs["x"]["a"][0], HDF5Matrix)
    assert kwargs["x"]["a"][1] is X


def test_h5py_datasets_that_may_change_are_left_to_keras(file, tmp_path):
    """A file that is written, and one in memory: whole, with a warning, as Keras loads them."""
    with h5py.File(io.BytesIO(), "w") as memory, h5py.File(tmp_path / "other.h5", "w") as written:
        for other, where in ((memory, "in memory"), (written, r"open with mode 'r\+'")):
            other["x"] = X
            with pytest.warns(UserWarning, match=f"/x is loaded whole, not a batch at a time: .* {where}"):
                args, _ = arguments_of("predict", other["x"])
            assert isinstance(args[1], h5py.Dataset)


def test_hints_are_given_where_something_old_is_no_argument(file, monkeypatch):
    texts = []
    monkeypatch.setattr(trainers, "hints", texts.append)
    call("predict", file["group/x"])
    call("fit", generator(), steps_per_epoch=1, use_multiprocessing=True)
    assert [text.partition(";")[0] for text in texts] == [
        "an h5py.Dataset is loaded whole today",
        "use_multiprocessing=True has no effect on a generator, which one thread reads",
    ]


def test_methods_of_a_model_go_through(monkeypatch):
    """Installed as methods, they serve each other: fit evaluates, and fit_generator fits."""
    for name, original in ORIGINAL.items():

        def method(self, *args, _name=name, _original=original, **kwargs):
            return getattr(trainers, _name)(self, _original, args, kwargs)

        monkeypatch.setattr(keras.Model, name, method)
    model = make_model()
    model.fit(Duck(), validation_data=Counted(), validation_steps=2, epochs=2, verbose=0)
    trainers.fit_generator(model, Counted(), 2, validation_data=Duck(), verbose=0)
    assert isinstance(model.fit, types.MethodType)
