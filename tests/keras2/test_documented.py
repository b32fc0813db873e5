"""What the documentation of Keras 2.1 says of its nine tools, sentence by sentence, under their old names."""

import hashlib
import inspect
import io
import os
import tarfile
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras.layers import Dense, Input
from keras.models import Sequential

from befit.keras2 import install, uninstall

pytestmark = pytest.mark.backends

DOCUMENTED = {
    "HDF5Matrix": "(datapath, dataset, start=0, end=None, normalizer=None)",
    "to_categorical": "(y, num_classes=None)",
    "normalize": "(x, axis=-1, order=2)",
    "get_file": (
        "(fname, origin, untar=False, md5_hash=None, file_hash=None, cache_subdir='datasets', "
        "hash_algorithm='auto', extract=False, archive_format='auto', cache_dir=None)"
    ),
    "print_summary": "(model, line_length=None, positions=None, print_fn=None)",
    "plot_model": "(model, to_file='model.png', show_shapes=False, show_layer_names=True, rankdir='TB')",
    "multi_gpu_model": "(model, gpus)",
}


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    install()
    yield
    uninstall()


def dense(units=1, inputs=3):
    model = Sequential([Input((inputs,)), Dense(units, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("name", DOCUMENTED)
def test_signatures(name):
    """Documented arguments come first, in their order, with their defaults; nothing new is positional."""
    documented = inspect.signature(eval(f"lambda {DOCUMENTED[name][1:-1]}: None")).parameters
    ours = list(inspect.signature(getattr(keras.utils, name)).parameters.values())
    for parameter, other in zip(documented.values(), ours, strict=False):
        assert other.name == parameter.name
        if parameter.default is not parameter.empty and parameter.name != "print_fn":
            assert other.default == parameter.default, parameter.name
    assert all(other.kind is other.KEYWORD_ONLY for other in ours[len(documented) :])


# CustomObjectScope


def double(x):
    return 2 * x


def test_code_in_a_scope_finds_custom_objects_by_name():
    with keras.utils.CustomObjectScope({"double": double}, {"triple": lambda x: 3 * x}):
        assert Dense(1, activation="double").activation(4) == 8
        assert Dense(1, activation="triple").activation(4) == 12
    with pytest.raises(ValueError, match="double"):
        Dense(1, activation="double")


def test_changes_persist_within_the_block_and_are_reverted_at_its_end():
    before = dict(keras.utils.get_custom_objects())
    with keras.utils.custom_object_scope({"double": double}):
        keras.utils.get_custom_objects()["late"] = double
        assert Dense(1, activation="late").activation(1) == 2
    assert dict(keras.utils.get_custom_objects()) == before


# HDF5Matrix


@pytest.fixture
def file():
    with h5py.File("file.hdf5", "w") as opened:
        opened["data"] = np.arange(30.0).reshape(10, 3)
    return "file.hdf5"


def test_a_matrix_is_used_instead_of_an_array(file):
    x_data = keras.utils.HDF5Matrix(file, "data")
    np.testing.assert_allclose(dense().predict(x_data, verbose=0)[:, 0], np.arange(30).reshape(10, 3).sum(1))


def test_start_and_end_use_a_slice_of_the_dataset(file):
    part = keras.utils.HDF5Matrix(file, "data", 2, 5)
    assert part.shape == (3, 3)
    np.testing.assert_array_equal(part[:], np.arange(6.0, 15).reshape(3, 3))


def test_the_normalizer_is_called_on_every_slice_that_is_retrieved(file):
    slices = []

    def tenth(rows):
        slices.append(rows.shape)
        return rows / 10

    part = keras.utils.HDF5Matrix(file, "data", normalizer=tenth)
    np.testing.assert_allclose(part[1:3], np.arange(3, 9).reshape(2, 3) / 10)
    assert slices[-1] == (2, 3)


# Sequence


def numbers(batches=4):
    class Numbers(keras.utils.Sequence):
        def __init__(self):
            self.used, self.ends = [], 0

        def __len__(self):
            return batches

        def __getitem__(self, idx):
            self.used.append(idx)
            return np.full((2, 3), idx, "float32"), np.full((2, 1), idx, "float32")

        def on_epoch_end(self):
            self.ends += 1

    return Numbers()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_network_trains_once_on_each_sample_of_an_epoch(workers):
    sequence = numbers()
    dense().fit_generator(sequence, epochs=3, workers=workers, verbose=0)
    assert sorted(sequence.used) == sorted([*range(4)] * 3)
    assert sequence.ends == 3


def test_a_sequence_must_implement_both_methods():
    class Unfinished(keras.utils.Sequence):
        def __len__(self):
            return 1

    with pytest.raises(NotImplementedError, match="__getitem__"):
        dense().fit_generator(Unfinished(), verbose=0)


# to_categorical and normalize


def test_a_class_vector_becomes_a_binary_class_matrix():
    np.testing.assert_array_equal(keras.utils.to_categorical([0, 2, 1]), np.eye(3)[[0, 2, 1]])
    assert keras.utils.to_categorical([0, 1], 5).shape == (2, 5)
    assert keras.utils.to_categorical([[0, 1]], num_classes=2).shape == (1, 2, 2)


def test_an_array_is_normalised_and_copied():
    x = np.array([[3.0, 4.0], [0.0, 2.0]])
    np.testing.assert_allclose(keras.utils.normalize(x), [[0.6, 0.8], [0, 1]])
    np.testing.assert_allclose(keras.utils.normalize(x, axis=0, order=1), [[1, 2 / 3], [0, 1 / 3]])
    assert x[0, 0] == 3
    np.testing.assert_allclose(keras.utils.normalize([3, 4]), [[0.6, 0.8]])


# get_file


@pytest.fixture
def origin(tmp_path):
    """An archive for each format, with one folder in it, by the end of its name."""
    for ending, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tar.bz2", "w:bz2")):
        with tarfile.open(f"flower{ending}", mode) as archive:
            member = tarfile.TarInfo("flower/rose.txt")
            member.size = 3
            archive.addfile(member, io.BytesIO(b"red"))
    with zipfile.ZipFile("flower.zip", "w") as archive:
        archive.writestr("flower/rose.txt", "red")
    return lambda ending: (tmp_path / f"flower{ending}").as_uri()


def test_a_file_goes_into_the_folder_of_the_cache_under_its_name(origin):
    path = keras.utils.get_file("archive.zip", origin(".zip"), cache_subdir="sub", cache_dir="cache")
    assert os.path.abspath(path) == os.path.abspath("cache/sub/archive.zip")
    inside = keras.utils.get_file("again.zip", origin(".zip"))
    assert os.path.abspath(inside) == os.path.join(os.environ["KERAS_HOME"], "datasets", "again.zip")
    os.remove(inside)


def test_absolute_paths_are_where_files_go(origin, tmp_path):
    target = str(tmp_path / "here" / "file.zip")
    assert keras.utils.get_file(target, origin(".zip")) == target
    folder = str(tmp_path / "there")
    assert keras.utils.get_file("f.zip", origin(".zip"), cache_subdir=folder) == os.path.join(folder, "f.zip")


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.bz2", ".zip"])
def test_archives_can_be_extracted(origin, ending):
    path = keras.utils.get_file(f"a{ending}", origin(ending), extract=True, cache_dir="cache")
    assert path.endswith(f"a{ending}")
    with open(os.path.join(os.path.dirname(path), "flower", "rose.txt")) as rose:
        assert rose.read() == "red"


def test_untar_gives_the_folder(origin):
    path = keras.utils.get_file("flower", origin(".tar.gz"), untar=True, cache_dir="cache")
    assert os.listdir(path) == ["rose.txt"]


def test_no_archive_format_extracts_nothing(origin):
    path = keras.utils.get_file("a.zip", origin(".zip"), extract=True, archive_format=None, cache_dir="cache")
    assert [name for name in os.listdir(os.path.dirname(path)) if name[0] != "."] == ["a.zip"]


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_hash_verifies_the_file(origin, algorithm):
    with open("flower.zip", "rb") as archive:
        right = hashlib.new(algorithm, archive.read()).hexdigest()
    wrong = "0" * len(right)
    for argument in ("file_hash", *(["md5_hash"] if algorithm == "md5" else [])):
        assert keras.utils.get_file("a.zip", origin(".zip"), cache_dir="c", **{argument: right})
        with pytest.raises(ValueError, match=wrong):
            keras.utils.get_file("b.zip", origin(".zip"), cache_dir="c", **{argument: wrong})
    assert not os.path.exists("c/datasets/b.zip")


# print_summary, plot_model, multi_gpu_model


def test_print_fn_is_called_on_each_line_of_the_summary():
    lines = []
    keras.utils.print_summary(dense(), line_length=60, positions=[0.4, 0.8, 1.0], print_fn=lines.append)
    assert all("\n" not in line for line in lines)
    assert max(map(len, lines)) == 60
    assert "Total params: 4" in lines


def test_a_model_is_drawn_into_a_file_vertically_or_horizontally():
    sizes = {}
    for rankdir in ("TB", "LR"):
        keras.utils.plot_model(dense(), to_file=f"{rankdir}.png", show_shapes=True, rankdir=rankdir)
        with open(f"{rankdir}.png", "rb") as picture:
            header = picture.read(24)
        assert header.startswith(b"\x89PNG")
        sizes[rankdir] = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    assert sizes["LR"][0] > sizes["TB"][0]
    assert sizes["LR"][1] < sizes["TB"][1]


def test_a_replicated_model_is_used_like_the_model_and_shares_its_weights():
    if keras.backend.backend() == "torch":
        from befit.replicate import simulate_devices

        simulate_devices(2, framework="torch")
    model = dense(2)
    parallel_model = keras.utils.multi_gpu_model(model, gpus=2)
    assert isinstance(parallel_model, keras.Model)
    parallel_model.compile("sgd", "mse")
    x, y = np.ones((6, 3), "float32"), np.zeros((6, 2), "float32")
    parallel_model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), parallel_model.predict(x, verbose=0), rtol=1e-6)
    assert not np.allclose(model.get_weights()[0], 1)
    model.save("my_model.h5")
    again = keras.models.load_model("my_model.h5", compile=False)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)
