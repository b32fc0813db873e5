"""Whatever Keras takes as data, replicas take, and so do befit's own sources."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters import data_adapter

from befit import HDF5Matrix, Loader, Sequence, multi_gpu_model

pytestmark = pytest.mark.backends

random = np.random.default_rng(2)
X = random.normal(size=(13, 4)).astype("float32")
Y = random.normal(size=(13, 2)).astype("float32")
BATCHES = [(X[start : start + 5], Y[start : start + 5]) for start in range(0, 13, 5)]


@pytest.fixture(scope="module")
def models(eight_devices):
    """One device and four, each compiled once: SGD has no state, so a run begins where its weights do."""
    pair = []
    for replicate in (lambda model: model, lambda model: multi_gpu_model(model, gpus=4)):
        keras.utils.set_random_seed(1)
        model = replicate(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
        model.compile(keras.optimizers.SGD(0.05), loss="mse")
        pair.append((model, model.get_weights()))
    return pair


@pytest.fixture
def losses(models):
    """Return what three epochs of ``fit`` give, for the model of that number of devices."""

    def fit(which, **arguments):
        model, weights = models[which]
        model.set_weights(weights)
        return model.fit(epochs=3, verbose=0, **arguments).history["loss"]

    return fit


@pytest.fixture
def expected(losses):
    return losses(0, x=X, y=Y, batch_size=5, shuffle=False)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return BATCHES[index]


class Befits(Sequence):
    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return BATCHES[index]


class OwnAdapter(data_adapter.DataAdapter):
    """What a loader that is no array, PyDataset or generator gives to Keras."""

    num_batches = len(BATCHES)
    batch_size = 5
    has_partial_batch = True
    partial_batch_size = 3

    def get_numpy_iterator(self):
        return iter(BATCHES)

    get_jax_iterator = get_numpy_iterator

    def get_tf_dataset(self):
        import tensorflow as tf

        specs = tuple(tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in BATCHES[0])
        return tf.data.Dataset.from_generator(lambda: iter(BATCHES), output_signature=specs)

    def get_torch_dataloader(self):
        import torch

        return [tuple(map(torch.from_numpy, batch)) for batch in BATCHES]


def endless():
    while True:
        yield from BATCHES


def hdf5(folder):
    with h5py.File(folder / "data.h5", "w") as file:
        file["x"], file["y"] = X, Y
    return [HDF5Matrix(folder / "data.h5", name) for name in "xy"]


def torch_loader():
    import torch

    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(pairs, batch_size=5)


def tf_dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(5)


KINDS = {
    "arrays": lambda folder: {"x": X, "y": Y, "batch_size": 5, "shuffle": False},
    "PyDataset": lambda folder: {"x": Batches(), "shuffle": False},
    "generator": lambda folder: {"x": endless(), "steps_per_epoch": 3, "shuffle": False},
    "DataAdapter": lambda folder: {"x": OwnAdapter()},
    "befit.Sequence": lambda folder: {"x": Befits(), "shuffle": False},
    "befit.Loader": lambda folder: {"x": Loader(Befits(), workers=2, engine="threads")},
    "HDF5Matrix": lambda folder: dict(zip("xy", hdf5(folder), strict=True), batch_size=5, shuffle=False),
    "tf.data": lambda folder: {"x": tf_dataset(), "shuffle": False},
    "DataLoader": lambda folder: {"x": torch_loader(), "shuffle": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data(backend, losses, expected, kind, tmp_path):
    if (kind, backend) in {("tf.data", "torch"), ("DataLoader", "jax"), ("DataLoader", "tensorflow")}:
        pytest.skip("belongs to the other framework")
    np.testing.assert_allclose(losses(1, **KINDS[kind](tmp_path)), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "extra",
    [
        {"sample_weight": np.linspace(0, 2, 13).astype("float32")},
        {"validation_data": (X[:7], Y[:7], np.linspace(0, 1, 7).astype("float32")), "validation_freq": 2},
    ],
    ids=["sample_weight", "validation_data"],
)
def test_weights_and_validation(losses, models, extra):
    data = {"x": X, "y": Y, "batch_size": 5, "shuffle": False, **extra}
    np.testing.assert_allclose(losses(1, **data), losses(0, **data), rtol=1e-5)
    one, several = (model.history.history for model, _ in models)
    assert one.keys() == several.keys()
    for name, values in one.items():
        np.testing.assert_allclose(several[name], values, rtol=1e-5, err_msg=name)
