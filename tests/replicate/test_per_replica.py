"""What each replica computes from its own rows: batch statistics and their gradients, by NumPy in float64."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from befit import multi_gpu_model
from befit.replicate.split import sub_batch_sizes

sys.path.append(str(Path(__file__).parent))

from zoo import ZOO, build

pytestmark = pytest.mark.backends

JOB = ZOO["conv+bn"]
MOMENTUM, EPSILON, RATE = 0.5, 0.1, 0.1


def forward(weights, parts):
    """Return the model's output for all parts, and the statistics of each: a batch of its own."""
    kernel, bias, gamma, beta, head, offset = weights
    outputs, statistics = [], []
    for part in parts:
        windows = np.lib.stride_tricks.sliding_window_view(part, (3, 3), axis=(1, 2))
        hidden = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
        mean, variance = hidden.mean((0, 1, 2)), hidden.var((0, 1, 2))
        statistics.append((mean, variance))
        normalized = (hidden - mean) / np.sqrt(variance + EPSILON) * gamma + beta
        outputs.append(np.tanh(normalized).mean((1, 2)) @ head + offset)
    return np.concatenate(outputs), statistics


def gradients(loss, weights, step=1e-6):
    """Return the derivatives of ``loss`` by every number in ``weights``, from differences."""
    found = []
    for weight in weights:
        gradient = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            before = weight[index]
            weight[index] = before + step
            above = loss()
            weight[index] = before - step
            gradient[index] = (above - loss()) / (2 * step)
            weight[index] = before
        found.append(gradient)
    return found


@pytest.mark.parametrize("count", [4, 8])
def test_batch_normalization_is_trained_slice_by_slice(backend, count):
    """On JAX the one slice is the whole batch. The moving statistics are means, weighted by rows."""
    rows = 9
    template = build(JOB)
    weights = [np.float64(variable) for variable in template.trainable_variables]
    moving = [np.float64(variable) for variable in template.non_trainable_variables]
    parallel = multi_gpu_model(template, gpus=count)
    parallel.compile(keras.optimizers.SGD(RATE), loss="mse")

    sizes = [rows] if backend == "jax" else sub_batch_sizes(rows, count)
    x, y = np.float64(JOB.x[:rows]), np.float64(JOB.y[:rows])
    parts = np.split(x, np.cumsum(sizes)[:-1])

    def loss():
        return np.mean((forward(weights, parts)[0] - y) ** 2)

    for _ in range(2):
        statistics = forward(weights, parts)[1]
        np.testing.assert_allclose(parallel.train_on_batch(JOB.x[:rows], JOB.y[:rows]), loss(), rtol=1e-5)
        for weight, gradient in zip(weights, gradients(loss, weights), strict=True):
            weight -= RATE * gradient
        for index, values in enumerate(zip(*statistics, strict=True)):
            mean = np.average(values, axis=0, weights=sizes)
            moving[index] = MOMENTUM * moving[index] + (1 - MOMENTUM) * mean
    for variable, expected in zip(
        [*template.trainable_variables, *template.non_trainable_variables], [*weights, *moving], strict=True
    ):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable), expected, rtol=1e-5, atol=1e-5, err_msg=variable.path
        )


def test_without_training_the_moving_statistics_serve_all_replicas(backend):
    """So evaluation and prediction are those of one device on every backend."""
    template = build(JOB)
    template.compile(loss="mse")
    template.train_on_batch(JOB.x, JOB.y)
    parallel = multi_gpu_model(template, gpus=8)
    parallel.compile(loss="mse")
    np.testing.assert_allclose(
        parallel.predict(JOB.x, verbose=0), template.predict(JOB.x, verbose=0), atol=1e-6
    )
    np.testing.assert_allclose(
        parallel.evaluate(JOB.x, JOB.y, batch_size=12, verbose=0),
        template.evaluate(JOB.x, JOB.y, batch_size=12, verbose=0),
        rtol=1e-5,
    )
