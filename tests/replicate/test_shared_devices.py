"""Two replicas on one device, which only a list of names can ask for."""

import keras
import numpy as np
import pytest

from befit import multi_gpu_model
from befit.errors import ArgumentError, DeviceError

pytestmark = pytest.mark.backends

X = np.random.default_rng(4).normal(size=(7, 3)).astype("float32")


def build():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def test_a_device_named_twice_has_two_replicas(backend):
    names = ["cpu:1", "cpu:1", "cpu:0"]
    if backend == "jax":
        with pytest.raises(DeviceError, match=r"JAX computes on each device once; cpu:1, cpu:1, cpu:0 names"):
            multi_gpu_model(build(), devices=names)
        return
    single, template = build(), build()
    parallel = multi_gpu_model(template, devices=names)
    assert parallel.devices == tuple(names)
    for model in (single, parallel):
        model.compile(keras.optimizers.SGD(0.1), loss="mse")
        model.fit(X, X[:, :2], batch_size=5, shuffle=False, verbose=0)
    for left, right in zip(single.get_weights(), template.get_weights(), strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-6)


def test_an_id_given_twice_is_a_slip():
    with pytest.raises(
        ArgumentError, match=r"gpus=\[0, 0\] names cpu:0 more than once; .*devices=\['cpu:0', "
    ):
        multi_gpu_model(build(), [0, 0])
