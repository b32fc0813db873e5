"""JAX: two processes with two devices each make the numbers of one; what one process compiles and keeps."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from befit import multi_gpu_model
from befit.errors import ReplicationError
from befit.replicate import initialize

sys.path.insert(0, str(Path(__file__).parent))
import world_launch


@pytest.fixture(autouse=True)
def _only_on_jax(backend):
    if backend != "jax":
        pytest.skip("the engine of JAX")


@pytest.fixture
def launched(monkeypatch):
    for name in list(os.environ):
        if name.startswith(world_launch.LAUNCHER_VARIABLES):
            monkeypatch.delenv(name)

    def launch(rank, port, size=2):
        monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", f"127.0.0.1:{port}")
        monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", str(size))
        monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", str(rank))

    return launch


@pytest.mark.timeout(200)
def test_two_processes_with_two_devices_each_have_the_numbers_of_one(tmp_path):
    """Batch statistics, dropout, uneven batches, saving and going on: see world_cases.py."""
    address = f"127.0.0.1:{world_launch.free_port()}"
    command = [sys.executable, str(world_launch.PROGRAM)]
    variables = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "WORLD_RESULTS": str(tmp_path),
        "WORLD_COUNT": "2",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as conftest.py has it for this process
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    codes, outputs = world_launch.run_all(
        (command, world_launch.environment(**variables, KERAS_DISTRIBUTION_PROCESS_ID=str(rank)))
        for rank in range(2)
    )
    assert codes == [0, 0], "\n".join(outputs)
    import world_cases  # it imports Keras

    expected = world_cases.run_alone(2)
    for actual in world_launch.results(tmp_path, 2):
        world_launch.assert_same(actual, expected)


def test_jax_that_runs_already_cannot_join(launched):
    import jax

    jax.devices()
    launched(1, world_launch.free_port())
    with pytest.raises(ReplicationError, match="JAX has started as a program of one"):
        initialize("jax", timeout=1)


@pytest.mark.parametrize(
    ("rank", "missing"), [(0, "process 1, 2 did not come"), (1, "process 0 does not answer")]
)
def test_who_does_not_come_is_named(launched, monkeypatch, rank, missing):
    monkeypatch.setattr("befit.integrations.jax.world.backends_are_initialized", lambda: False)
    port = world_launch.free_port()
    launched(rank, port, size=3)
    began = time.monotonic()
    message = f"process {rank} of 3 did not meet the others at 127.0.0.1:{port} within 1 s: {missing}"
    with pytest.raises(ReplicationError, match=message):
        initialize("jax", timeout=1)
    assert time.monotonic() - began < 20


def model_and_data():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
    random = np.random.default_rng(0)
    return model, random.normal(size=(22, 4)).astype("float32"), random.normal(size=(22, 2)).astype("float32")


def test_steps_are_compiled_as_often_as_for_one_device(caplog):
    """Twice with a partial last batch; not again for a second fit or new weights."""
    import jax

    def compilations(work):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            work()
        steps = [line for line in caplog.messages if line.startswith("Compiling jit(") and "_step" in line]
        return len(steps)

    def count(kind):
        model, x, y = model_and_data()
        model = model if kind == "bare" else multi_gpu_model(model, devices="cpu:0..1")
        model.compile(optimizer="adam", loss="mse")

        def fit():
            model.fit(x, y, batch_size=8, epochs=2, verbose=0)

        first = compilations(fit), compilations(lambda: model.predict(x, batch_size=8, verbose=0))
        model.set_weights([weight + 1 for weight in model.get_weights()])
        return *first, compilations(fit)

    bare = count("bare")
    assert bare == (2, 2, 0)
    assert count("parallel") == bare


def test_after_fit_and_release_nothing_is_left_on_the_other_devices():
    import jax

    model, x, y = model_and_data()
    parallel = multi_gpu_model(model, devices="cpu:0..3")
    parallel.compile(optimizer="adam", loss="mse")
    before = {id(array) for array in jax.live_arrays()}
    for _ in range(2):
        parallel.fit(x, y, batch_size=8, verbose=0)
        parallel.train_on_batch(x[:8], y[:8])
        parallel.predict(x, verbose=0)
        home = {device for variable in parallel.variables for device in variable.value.devices()}
        assert home == {jax.devices()[0]}
        parallel.release()
        left = [array for array in jax.live_arrays() if id(array) not in before and len(array.devices()) > 1]
        assert not left
    assert parallel.train_function is None
