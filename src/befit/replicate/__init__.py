"""``multi_gpu_model``: one model on several devices, each with its own part of every batch."""

from befit.replicate.devices import available_devices, simulate_devices
from befit.replicate.replication import multi_gpu_model
from befit.replicate.world import World, initialize

__all__ = ["World", "available_devices", "initialize", "multi_gpu_model", "simulate_devices"]
