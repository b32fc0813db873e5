"""The devices of TensorFlow."""

from __future__ import annotations

import tensorflow as tf

from befit.errors import DeviceError


def available_devices(kind: str | None = None) -> list[str]:
    """Return the names of this process's devices; ``None`` is GPUs where there are any, otherwise CPUs."""
    if kind is None:
        return available_devices("gpu") or available_devices("cpu")
    return [
        f"{kind}:{device.name.rpartition(':')[2]}" for device in tf.config.list_logical_devices(kind.upper())
    ]


def simulate_devices(count: int) -> None:
    """Make ``count`` CPU devices, or find that many."""
    physical = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(physical, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:  # the runtime has started, and its devices are what they are
        existing = len(available_devices("cpu"))
        if existing < count:
            raise DeviceError(
                f"too late for {count} virtual CPU devices: TensorFlow has started with {existing}; call "
                "simulate_devices before the first TensorFlow computation, right after the imports"
            ) from error
