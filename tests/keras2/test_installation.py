"""What ``install`` gives Keras, what it leaves alone, and what it says."""

import importlib
import inspect
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import befit
from befit.keras2 import Keras2Hint, install, is_installed, uninstall
from befit.legacy.names import METHODS, MODULES, NAMES


@pytest.fixture
def installed(monkeypatch):
    """Old names are there, and hints are errors only where a test looks for them."""
    monkeypatch.setenv("BEFIT_KERAS2_HINTS", "0")
    install()
    yield
    uninstall()


@pytest.fixture
def hints(monkeypatch):
    """Old names are there; what was said about them so far, with file and line."""
    monkeypatch.setenv("BEFIT_KERAS2_HINTS", "1")
    install()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    uninstall()


def test_every_name_is_where_it_stood(installed):
    for row in NAMES:
        for place in row.modules:
            value = getattr(importlib.import_module(f"keras.{place}"), row.name)
            assert callable(value), row.name


def test_a_gone_name_is_the_object_of_today(installed):
    from keras.utils import HDF5Matrix, multi_gpu_model
    from keras.utils.io_utils import HDF5Matrix as FromModule
    from keras.utils.multi_gpu_utils import multi_gpu_model as from_module

    assert HDF5Matrix is FromModule is befit.HDF5Matrix
    assert multi_gpu_model is from_module is befit.multi_gpu_model


def test_every_way_to_import_a_module(installed):
    import keras.utils.np_utils
    from keras import utils
    from keras.utils import data_utils, np_utils

    assert keras.utils.np_utils is np_utils is utils.np_utils
    assert sys.modules["keras.utils.data_utils"] is data_utils
    assert "to_categorical" in dir(np_utils)


def test_a_star_import_brings_what_is_gone(installed):
    namespace = {}
    exec("from keras.utils import *", namespace)
    assert namespace["HDF5Matrix"] is befit.HDF5Matrix
    assert namespace["Progbar"] is keras.utils.Progbar
    exec("from keras.utils.np_utils import *", namespace)
    assert namespace["to_categorical"]([1], nb_classes=2).tolist() == [[0, 1]]


def test_what_a_module_never_had_is_an_error_that_says_what_it_has(installed):
    with pytest.raises(AttributeError, match=r"np_utils' has no attribute 'absent'.*normalize"):
        importlib.import_module("keras.utils.np_utils").absent  # noqa: B018 - it is looked up
    with pytest.raises(AttributeError, match=r"'keras\.utils' has no attribute 'absent'"):
        keras.utils.absent  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("keras.utils.absent_utils")


def test_installing_twice_is_installing_once():
    install()
    methods = {row.name: vars(keras.Model)[row.name] for row in METHODS}
    finders = sys.meta_path
    install()
    assert {row.name: vars(keras.Model)[row.name] for row in METHODS} == methods
    assert sys.meta_path is finders
    uninstall()
    assert not is_installed()
    assert not hasattr(keras.Model, "fit_generator")
    uninstall()


def test_what_somebody_else_has_put_there_since_stays():
    install()
    mine = keras.utils.get_file = lambda: "mine"
    before = keras.Model.__dict__["fit"]
    uninstall()
    try:
        assert keras.utils.get_file is mine
        assert "fit" not in vars(keras.Model)
        assert before is not keras.Model.fit
    finally:
        keras.utils.get_file = importlib.import_module("keras.src.utils.file_utils").get_file


def test_no_old_module_is_left_behind():
    install()
    for module in MODULES:
        importlib.import_module(f"keras.{module}")
    uninstall()
    assert not [name for name in sys.modules if name.startswith("keras.utils.") and "_util" in name]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("keras.utils.np_utils")


def test_keras_itself_keeps_its_own(installed):
    """Only the modules from which users import are changed."""
    from keras.src.utils import file_utils, numerical_utils

    assert file_utils.get_file is not keras.utils.get_file
    assert numerical_utils.to_categorical is not keras.utils.to_categorical
    assert keras.saving.CustomObjectScope is not keras.utils.CustomObjectScope


@pytest.mark.parametrize("name", ["fit", "evaluate", "predict"])
def test_a_method_of_today_keeps_its_signature(name):
    before = inspect.signature(getattr(keras.Model, name))
    install()
    after = inspect.signature(getattr(keras.Model, name))
    uninstall()
    assert after == before


@pytest.mark.parametrize(
    "imports",
    ["import befit.keras2, keras", "import keras, befit.keras2"],
)
def test_keras_may_be_imported_before_or_after(imports):
    program = f"""
import sys
{imports.partition(",")[0]}
if "befit" in "{imports.partition(",")[0]}":
    assert "keras" not in sys.modules, "installing imports nothing"
{imports}
from keras.utils.io_utils import HDF5Matrix
assert keras.utils.Sequence is not keras.utils.PyDataset
assert hasattr(keras.Sequential, "predict_generator")
befit.keras2.uninstall()
assert keras.utils.Sequence is keras.utils.PyDataset
assert not hasattr(keras.Sequential, "predict_generator")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# Hints


def test_a_hint_comes_once_for_each_place(hints):
    for _ in range(3):
        keras.utils.HDF5Matrix  # noqa: B018
    keras.utils.HDF5Matrix  # noqa: B018
    assert [str(one.message) for one in hints] == [
        "keras.utils.HDF5Matrix is gone since Keras 2.4; write: from befit import HDF5Matrix"
    ] * 2
    assert hints[1].lineno == hints[0].lineno + 1
    assert hints[0].filename == __file__
    assert hints[0].category is Keras2Hint


def test_a_changed_filter_does_not_bring_a_hint_again(hints):
    for _ in range(2):
        warnings.simplefilter("always")
        keras.utils.multi_gpu_model  # noqa: B018
    assert len(hints) == 1


def test_each_name_of_an_import_is_told(hints):
    from keras.utils.generic_utils import func_dump, has_arg

    assert func_dump
    assert has_arg
    assert [str(one.message).partition(" is gone")[0] for one in hints] == [
        "keras.utils.generic_utils.func_dump",
        "keras.utils.generic_utils.has_arg",
    ]


def test_a_renamed_argument_is_told(hints):
    assert keras.utils.to_categorical([1], nb_classes=3).tolist() == [[0, 1, 0]]
    assert [str(one.message) for one in hints] == [
        "to_categorical(nb_classes=...) is called num_classes today; write: to_categorical(num_classes=...)"
    ]


def test_todays_spelling_is_not_told(hints):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 2), "float32")
    model.fit(x, x[:, :1], batch_size=2, epochs=1, verbose=0)
    keras.utils.to_categorical([1], num_classes=3)
    assert keras.utils.Sequence
    assert not hints


def test_hints_can_be_silenced(hints, monkeypatch):
    monkeypatch.setenv("BEFIT_KERAS2_HINTS", "0")
    keras.utils.HDF5Matrix  # noqa: B018
    assert not hints


# The other packages under which scripts import Keras


def run(program):
    subprocess.run([sys.executable, "-W", "error::FutureWarning", "-c", program], check=True)


def test_tensorflow_keras(monkeypatch):
    monkeypatch.setenv("BEFIT_KERAS2_HINTS", "0")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    run("""
import befit.keras2, sys
import tensorflow as tf
from tensorflow.keras.utils import HDF5Matrix, Sequence, multi_gpu_model, to_categorical
from tensorflow.keras.utils.io_utils import HDF5Matrix as from_module
from tensorflow.keras.models import Sequential
import befit
assert HDF5Matrix is from_module is befit.HDF5Matrix is tf.keras.utils.HDF5Matrix
assert issubclass(Sequence, befit.Sequence)
assert to_categorical(y=[1], nb_classes=2).tolist() == [[0, 1]]
assert hasattr(Sequential, "fit_generator")
befit.keras2.uninstall()
assert not hasattr(tf.keras.utils, "HDF5Matrix")
assert "tensorflow.keras.utils.io_utils" not in sys.modules
""")


def test_the_private_copy_of_tensorflow(monkeypatch):
    """It has some of the modules; names that are gone from them, and befit's own, are there."""
    monkeypatch.setenv("BEFIT_KERAS2_HINTS", "0")
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    run("""
import befit.keras2, befit
from tensorflow.python.keras.utils.io_utils import HDF5Matrix
from tensorflow.python.keras.utils.multi_gpu_utils import multi_gpu_model
from tensorflow.python.keras.utils import HDF5Matrix as from_utils
from tensorflow.python.keras.utils.data_utils import Sequence, get_file
from tensorflow.python.keras.utils import generic_utils
assert HDF5Matrix is from_utils is befit.HDF5Matrix
assert multi_gpu_model is befit.multi_gpu_model
assert issubclass(Sequence, befit.Sequence)
own = generic_utils.serialize_keras_object
assert own.__module__.startswith("tensorflow.")
befit.keras2.uninstall()
from tensorflow.python.keras.utils import data_utils
assert data_utils.Sequence is not Sequence
""")


def test_tf_keras_where_it_is_not_installed(installed):
    from tf_keras.layers import Dense
    from tf_keras.utils.io_utils import HDF5Matrix

    assert Dense is keras.layers.Dense
    assert HDF5Matrix is befit.HDF5Matrix
    import tf_keras

    assert tf_keras.utils.Sequence is keras.utils.Sequence
    uninstall()
    assert "tf_keras" not in sys.modules
    assert "tf_keras.layers" not in sys.modules


def test_a_sequence_takes_the_arguments_that_keras_3_documents(installed):
    class Numbers(keras.utils.Sequence):
        def __init__(self):
            super().__init__(workers=2, use_multiprocessing=False, max_queue_size=4)

        def __len__(self):
            return 3

        def __getitem__(self, idx):
            return np.full((2, 1), idx, "float32"), np.full((2, 1), idx, "float32")

    numbers = Numbers()
    assert (numbers.workers, numbers.use_multiprocessing, numbers.max_queue_size) == (2, False, 4)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    np.testing.assert_allclose(model.predict(numbers, verbose=0)[:, 0], [0, 0, 1, 1, 2, 2])


def test_what_a_method_does_is_told_too(hints, tmp_path):
    import h5py

    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros((4, 2), "float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with h5py.File(tmp_path / "data.h5", "r") as file:
        model.predict(file["x"], verbose=0)
    (told,) = hints
    assert str(told.message).startswith(
        "an h5py.Dataset is loaded whole today; write: HDF5Matrix(path, '/x')"
    )
    assert told.filename == __file__
