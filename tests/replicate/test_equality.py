"""Every kind of model: replicas and one device give the same losses, metrics, predictions and weights."""

import functools
import os
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from befit import multi_gpu_model

sys.path.append(str(Path(__file__).parent))

from zoo import ZOO, build

pytestmark = pytest.mark.backends


def results(model, name, thorough):
    """Return everything that training and using ``model`` gives, by name.

    On four devices batches of 12 rows divide, those of 6 and 7 do not; on eight those of 8 divide, those of
    12 do not, and 6 and 7 rows are fewer than devices. The last batch of fit has one row.
    """
    job = ZOO[name]
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss=job.loss, metrics=job.metrics)
    data = {"x": job.x, "y": job.y, "sample_weight": job.sample_weight, "batch_size": 12, "verbose": 0}
    history = model.fit(**data, shuffle=False).history
    found = {f"fit {key}": values for key, values in history.items()}
    if thorough:
        for rows in (8, 6):
            logs = model.train_on_batch(*job.batch(rows), return_dict=True)
            found |= {f"train_on_batch({rows}) {key}": value for key, value in logs.items()}
        logs = model.evaluate(**data, return_dict=True)
        found |= {f"evaluate {key}": value for key, value in logs.items()}
    predictions = model.predict(job.x, batch_size=job.batch_size or 7, verbose=0)
    found |= {f"prediction {i}": values for i, values in enumerate(keras.tree.flatten(predictions))}
    return found | {f"weight {i}": values for i, values in enumerate(model.get_weights())}


@functools.cache
def results_of_one_device(name, thorough):
    return results(build(ZOO[name]), name, thorough)


def models_and_devices():
    """Return each model with four and eight devices; where compiling is slow, half are for `make soak`."""
    for name, job in ZOO.items():
        for count in (4, 8):
            now = os.environ["KERAS_BACKEND"] == "torch" or count == (4 if job.costly else 8)
            yield pytest.param(name, count, marks=() if now else pytest.mark.soak)


@pytest.mark.parametrize(("name", "count"), [*models_and_devices()])
def test_replicas_give_the_numbers_of_one_device(backend, name, count):
    job = ZOO[name]
    if job.whole_batch and backend != "jax":
        pytest.skip("see test_per_replica.py")
    thorough = job.batch_size is None and (backend == "torch" or name == "mlp")
    expected = results_of_one_device(name, thorough)
    actual = results(multi_gpu_model(build(job), gpus=count), name, thorough)
    assert actual.keys() == expected.keys()
    for result, values in expected.items():
        np.testing.assert_allclose(actual[result], values, rtol=1e-5, atol=1e-5, err_msg=result)
