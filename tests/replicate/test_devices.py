"""Which devices a call names, and what it is told where they do not exist."""

import sys

import numpy as np
import pytest

from befit.errors import ArgumentError, DeviceError
from befit.replicate import available_devices, simulate_devices
from befit.replicate.devices import choose_devices, current_framework


def machine(*names):
    """List the devices of a machine that has these, as a backend would."""

    def list_devices(kind):
        wanted = kind or ("gpu" if any(name.startswith("gpu") for name in names) else "cpu")
        return [name for name in names if name.startswith(wanted)]

    return list_devices


GPUS = machine("gpu:0", "gpu:1", "gpu:2", "cpu:0", "cpu:1")
CPUS = machine("cpu:0", "cpu:1", "cpu:2", "cpu:3")


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        (2, ("gpu:0", "gpu:1")),
        (np.int64(3), ("gpu:0", "gpu:1", "gpu:2")),
        ([0, 2], ("gpu:0", "gpu:2")),
        ((2, 1), ("gpu:2", "gpu:1")),
        (range(3), ("gpu:0", "gpu:1", "gpu:2")),
        (None, ("gpu:0", "gpu:1", "gpu:2")),
    ],
)
def test_gpus_is_a_number_or_ids(gpus, expected):
    assert choose_devices(gpus, None, GPUS) == expected


def test_a_number_counts_the_gpus_that_exist_whatever_their_ids():
    assert choose_devices(2, None, machine("gpu:3", "gpu:5")) == ("gpu:3", "gpu:5")


def test_gpus_counts_virtual_cpus_where_there_are_no_gpus():
    assert choose_devices(4, None, CPUS) == ("cpu:0", "cpu:1", "cpu:2", "cpu:3")
    assert choose_devices([1, 3], None, CPUS) == ("cpu:1", "cpu:3")


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("cpu:0..1", ("cpu:0", "cpu:1")),
        (["gpu:0", "gpu:2"], ("gpu:0", "gpu:2")),
        (("CUDA:0", " GPU:1 "), ("gpu:0", "gpu:1")),
        (["cpu:0", "gpu:1"], ("cpu:0", "gpu:1")),
        (["gpu:1", "gpu:1"], ("gpu:1", "gpu:1")),
    ],
)
def test_devices_are_names_or_a_range(devices, expected):
    assert choose_devices(None, devices, GPUS) == expected


@pytest.mark.parametrize(
    ("gpus", "devices", "message"),
    [
        (1, None, r"gpus=1 leaves nothing to split; write gpus=2"),
        (0, None, r"gpus=0 leaves nothing"),
        (-2, None, r"-2 is neither a number of devices"),
        (True, None, r"gpus=True is a bool"),
        ("2", None, r"gpus='2' is a str; write a number such as gpus=2"),
        (2.0, None, r"2\.0 is neither a number of devices"),
        ([0], None, r"gpus=\[0\] names 1 device; name two or more"),
        ([], None, r"names 0 device"),
        ([0, 0], None, r"names gpu:0 more than once"),
        ([0, True], None, r"True is neither"),
        (["gpu:0", "gpu:1"], None, r"'gpu:0' is neither"),
        (None, "gpu:0", r"names 1 device"),
        (None, "cpu:1..0", r"names 0 device"),
        (None, "gpus", r"'gpus' is no device; write names such as 'gpu:0'"),
        (None, [0, 1], r"devices=\[0, 1\] names no devices"),
        (2, "cpu:0..1", r"pass one"),
    ],
)
def test_values_that_can_never_work(gpus, devices, message):
    with pytest.raises(ArgumentError, match=message):
        choose_devices(gpus, devices, GPUS)


def test_too_many_devices_names_those_that_exist_and_the_way_without():
    with pytest.raises(DeviceError) as caught:
        choose_devices(4, None, machine("gpu:0", "gpu:1", "cpu:0"))
    assert str(caught.value) == (
        "gpus=4 needs 4 devices, and this process has gpu:0, gpu:1; gpu:2, gpu:3 cannot be found; "
        "pass gpus=2, or try it on virtual CPU devices: befit.replicate.simulate_devices(4) before the first "
        "computation, then devices='cpu:0..3'"
    )


@pytest.mark.parametrize(("gpus", "devices"), [(None, None), (2, None), (None, "cpu:0..1")])
def test_one_cpu_is_too_few(gpus, devices):
    with pytest.raises(
        DeviceError, match=r"needs 2 devices, and this process has cpu:0;.*simulate_devices\(2\)"
    ):
        choose_devices(gpus, devices, machine("cpu:0"))


def test_an_unknown_id_is_named():
    with pytest.raises(DeviceError, match=r"gpu:7 cannot be found"):
        choose_devices([0, 7], None, GPUS)


def test_torch_counts_as_many_cpus_as_it_was_told():
    simulate_devices(10, framework="torch")
    assert available_devices("torch", kind="cpu")[7:] == ["cpu:7", "cpu:8", "cpu:9"]


def test_fewer_than_there_are_change_nothing():
    simulate_devices(2, framework="torch")
    assert len(available_devices("torch", kind="cpu")) == 8


@pytest.mark.parametrize("count", [0, -1, True, 2.0, "2"])
def test_simulating_no_number_of_devices(count):
    with pytest.raises(ArgumentError, match="is no number of devices"):
        simulate_devices(count, framework="torch")


def test_unknown_frameworks_and_kinds():
    with pytest.raises(ArgumentError, match="framework='theano' is unknown; write one of keras"):
        available_devices("theano")
    with pytest.raises(ArgumentError, match="kind='npu' is no kind of device"):
        available_devices("torch", kind="npu")


def test_a_framework_that_is_kept_out_is_not_the_current_one(monkeypatch):
    for name in ("keras", "jax", "torch", "tensorflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setitem(sys.modules, "torch", object())
    assert current_framework() == "torch"
