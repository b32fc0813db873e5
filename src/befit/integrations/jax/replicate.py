"""The devices of JAX."""

from __future__ import annotations

from typing import Any

import jax

from befit.errors import DeviceError


def available_devices(kind: str | None = None) -> list[str]:
    """Return the names of this process's devices; ``None`` is the kind that JAX computes on."""
    return [device_name(device) for device in _devices(kind)]


def simulate_devices(count: int) -> None:
    """Make ``count`` CPU devices, or find that many."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
        # The devices share one pool of threads. With several steps under way, a device may wait for another
        # one's part of a step while no thread is left for that; XLA then ends the process after 40 seconds.
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    except RuntimeError as error:  # the backend runs, and its devices are what they are
        existing = len(_devices("cpu"))
        if existing < count:
            raise DeviceError(
                f"too late for {count} virtual CPU devices: JAX has started with {existing}; call "
                "simulate_devices before the first JAX computation, right after the imports"
            ) from error


def find_devices(names: tuple[str, ...]) -> list[Any]:
    """Return the ``jax.Device`` of each name."""
    if jax.process_count() > 1:  # the launcher has decided: every process's
        return list(jax.devices())
    kinds = {name.partition(":")[0] for name in names}
    if len(kinds) > 1:
        raise DeviceError(
            f"JAX computes on devices of one kind, not on {' and '.join(sorted(kinds))} together"
        )
    if len(set(names)) < len(names):
        raise DeviceError(f"JAX computes on each device once; {', '.join(names)} names one more than once")
    by_name = {device_name(device): device for device in _devices(kinds.pop())}
    return [by_name[name] for name in names]


def device_name(device: Any) -> str:
    """Return befit's name of a ``jax.Device``, such as ``"gpu:0"``."""
    kind = "gpu" if device.platform in ("cuda", "rocm") else device.platform
    return f"{kind}:{device.id}"


def _devices(kind: str | None) -> list[Any]:
    try:
        return list(jax.local_devices(backend=kind))
    except RuntimeError:  # how JAX says that it has no backend of that kind
        return []
