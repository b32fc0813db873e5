"""Virtual CPU devices on every backend."""

import os
import subprocess
import sys

import pytest

from befit.errors import DeviceError
from befit.replicate import available_devices, simulate_devices

pytestmark = pytest.mark.backends


def test_devices_of_keras_are_those_of_its_backend(backend):
    assert available_devices("keras", kind="cpu") == [f"cpu:{index}" for index in range(8)]
    assert available_devices("keras", kind="cpu") == available_devices(backend, kind="cpu")
    assert available_devices("keras", kind="tpu") == []


def test_simulating_as_many_as_there_are_changes_nothing(backend):
    simulate_devices(8, framework=backend)
    assert len(available_devices(backend, kind="cpu")) == 8


def test_too_late_for_more(backend):
    if backend == "torch":
        pytest.skip("torch counts names, and can go on counting")
    available_devices(backend)
    with pytest.raises(DeviceError, match=r"too late for 64 virtual CPU devices: \w+ has started with 8"):
        simulate_devices(64)


def test_a_fresh_process_gets_as_many_as_it_asks_for(backend):
    script = (
        "import keras\n"
        "from befit.replicate import available_devices, simulate_devices\n"
        "simulate_devices(3)\n"
        "print(available_devices('keras', kind='cpu'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert answer.stdout.strip() == "['cpu:0', 'cpu:1', 'cpu:2']"
