"""``multi_gpu_model``: one model on several devices, each with its own part of every batch."""

from befit.replicate.devices import available_devices, simulate_devices
from befit.replicate.replication import multi_gpu_model

__all__ = ["available_devices", "multi_gpu_model", "simulate_devices"]
