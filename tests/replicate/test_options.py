"""Whatever compile() and fit() can be told holds for replicas as it does for one device."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from befit import multi_gpu_model

pytestmark = pytest.mark.backends

random = np.random.default_rng(5)
X = random.normal(size=(13, 4)).astype("float32")
Y = random.integers(3, size=13)
CLASS_WEIGHT = {0: 0.5, 1: 1.0, 2: 3.0}


def build():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(5, activation="tanh"),
            layers.Dense(3, activation="softmax", dtype="float32"),
        ]
    )


def fit(model, optimizer=None, **arguments):
    """Train two epochs on five, five and three rows."""
    if optimizer is not None:
        model.compile(optimizer, loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    history = model.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0, **arguments)
    return history.history


def assert_same(actual, expected, tolerance=1e-5):
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=tolerance, atol=tolerance, err_msg=name)
    assert actual.keys() == expected.keys()


def assert_same_weights(actual, expected, tolerance=1e-5):
    for left, right in zip(actual.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


OPTIMIZERS = {
    "schedule, clipnorm and averages": lambda: optimizers.Adam(
        optimizers.schedules.ExponentialDecay(0.05, 2, 0.5),
        clipnorm=0.1,
        use_ema=True,
        ema_momentum=0.5,
        ema_overwrite_frequency=4,
    ),
    "global_clipnorm and accumulation": lambda: optimizers.SGD(
        0.1, momentum=0.9, global_clipnorm=0.2, gradient_accumulation_steps=2
    ),
    "clipvalue and decay": lambda: optimizers.AdamW(0.02, weight_decay=0.1, clipvalue=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    """Classes are weighted, so that clipping by the norm of one row or of the batch are not the same."""
    single, template = build(), build()
    expected = fit(single, OPTIMIZERS[name](), class_weight=CLASS_WEIGHT)
    assert_same(
        fit(multi_gpu_model(template, gpus=4), OPTIMIZERS[name](), class_weight=CLASS_WEIGHT), expected
    )
    assert_same_weights(template, single)


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)])
def test_mixed_precision(policy, tolerance):
    """With float16 the loss is scaled, by more and more; a step whose gradients overflow is left out."""

    def optimizer():
        inner = optimizers.SGD(0.1)
        if policy == "mixed_bfloat16":
            return inner
        return optimizers.LossScaleOptimizer(inner, initial_scale=2.0**8, dynamic_growth_steps=2)

    keras.config.set_dtype_policy(policy)
    try:
        single, template = build(), build()
        parallel = multi_gpu_model(template, gpus=4)
        assert parallel.dtype_policy.name == policy
        assert_same(fit(parallel, optimizer()), fit(single, optimizer()), tolerance)
    finally:
        keras.config.set_dtype_policy("float32")
    assert_same_weights(template, single, tolerance)
    if policy == "mixed_bfloat16":
        return
    before = template.get_weights()
    for model in (single, parallel):
        assert float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)) == 2.0**11
        model.optimizer.dynamic_scale.assign(2.0**60)
        model.train_on_batch(X[:5], Y[:5])
        assert float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale)) == 2.0**59
    for left, right in zip(before, template.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_mixed_precision_scales_the_loss_unasked():
    """The policy is the template's, whatever the current one is."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        template = build()
    finally:
        keras.config.set_dtype_policy("float32")
    parallel = multi_gpu_model(template, gpus=2)
    parallel.compile("sgd", loss="sparse_categorical_crossentropy")
    assert isinstance(parallel.optimizer, optimizers.LossScaleOptimizer)


def test_frozen_layers_stay_as_they_are():
    single, template = build(), build()
    parallel = multi_gpu_model(template, gpus=4)
    fit(single, optimizers.SGD(0.1)), fit(parallel, optimizers.SGD(0.1))
    frozen = template.layers[0].get_weights()
    single.layers[0].trainable = template.layers[0].trainable = False
    assert_same(fit(parallel, optimizers.SGD(0.1)), fit(single, optimizers.SGD(0.1)))
    for left, right in zip(frozen, template.layers[0].get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert_same_weights(template, single)


def test_released_devices_are_taken_again(backend):
    single, template = build(), build()
    parallel = multi_gpu_model(template, gpus=4)
    parallel.release()  # there is nothing yet
    expected = fit(single, optimizers.Adam(0.02)), fit(single)
    first = fit(parallel, optimizers.Adam(0.02))
    parallel.release()
    if backend == "tensorflow":
        assert parallel.train_function is None
    assert_same(fit(parallel), expected[1])
    assert_same(first, expected[0])
    parallel.release()
    np.testing.assert_allclose(parallel.predict(X, verbose=0), single.predict(X, verbose=0), atol=1e-5)


def test_a_file_of_weights_has_the_optimizer_s_state(tmp_path):
    template = build()
    parallel = multi_gpu_model(template, gpus=4)
    fit(parallel, optimizers.Adam(0.02))
    parallel.save_weights(tmp_path / "model.weights.h5")
    expected = fit(parallel)
    other = multi_gpu_model(build(), gpus=2)
    other.compile(
        optimizers.Adam(0.02), loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"]
    )
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(fit(other), expected)


CONTINUE = """
import json, sys, keras, numpy as np
data = np.load(sys.argv[2])
model = keras.models.load_model(sys.argv[1])
history = model.fit(data["x"], data["y"], batch_size=5, epochs=2, shuffle=False, verbose=0).history
print(json.dumps([history, type(model).__name__, [name for name in sys.modules if name.startswith("befit")]]))
"""


def test_a_process_of_one_device_goes_on_with_the_template_s_file(tmp_path):
    """It knows nothing of befit, and its losses are those of a training that nobody interrupted."""
    single, template = build(), build()
    parallel = multi_gpu_model(template, gpus=4)
    fit(single, optimizers.Adam(0.02)), fit(parallel, optimizers.Adam(0.02))
    expected = fit(single)
    template.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    answer = subprocess.run(
        [sys.executable, "-c", CONTINUE, tmp_path / "model.keras", tmp_path / "data.npz"],
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    history, kind, befits = json.loads(answer.stdout.splitlines()[-1])
    assert (kind, befits) == ("Sequential", [])
    assert_same(history, expected)
