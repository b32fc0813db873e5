"""Which devices there are, which ones were asked for, and virtual ones for machines without GPUs.

A device is named ``"gpu:0"``, ``"cpu:1"`` … on every framework.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from befit._internal import settings
from befit._internal.adapters import integration
from befit.errors import ArgumentError, DeviceError

FRAMEWORKS = ("keras", "jax", "torch", "tensorflow")
_NAME = re.compile(r"(?P<kind>cpu|gpu|tpu):(?P<first>\d+)(\.\.(?P<last>\d+))?")

ListDevices = Callable[[str | None], list[str]]
"""Returns the names of the devices of a kind; ``None`` is the kind that the framework computes on."""


def available_devices(framework: str, kind: str | None = None) -> list[str]:
    """Return the names of the devices that ``framework`` can compute on in this process.

    Asking starts the framework's backend; ``simulate_devices`` has to come before.

    Args:
        framework: ``"keras"`` (its current backend), ``"jax"``, ``"torch"`` or ``"tensorflow"``.
        kind: ``"gpu"``, ``"cpu"`` or ``"tpu"``; ``None`` for GPUs where there are any, otherwise CPUs.

    Returns:
        Names such as ``["gpu:0", "gpu:1"]`` or ``["cpu:0"]``.

    Raises:
        ArgumentError: ``framework`` or ``kind`` is none of the names above.

    Example:
        >>> available_devices("torch", kind="cpu")[0]
        'cpu:0'
    """
    if kind not in (None, "cpu", "gpu", "tpu"):
        raise ArgumentError(f"kind={kind!r} is no kind of device; write 'gpu', 'cpu' or 'tpu'")
    names: list[str] = _devices_of(framework).available_devices(kind)
    return names


def simulate_devices(count: int, *, framework: str | None = None) -> None:
    """Make ``count`` virtual CPU devices, so that replication can be tried without GPUs.

    They share the machine's cores: results are those of real devices, speed is not. Where the backend
    already has that many CPU devices, nothing changes.

    Args:
        count: how many devices ``cpu:0``, ``cpu:1`` … there shall be.
        framework: ``"keras"`` (its current backend), ``"jax"``, ``"torch"`` or ``"tensorflow"``. Not needed
            where Keras or only one of the others has been imported, or ``KERAS_BACKEND`` names one.

    Raises:
        ArgumentError: ``count`` is no positive integer, or it is unclear which framework is meant.
        DeviceError: too late: the backend has started with fewer devices.

    Example:
        >>> simulate_devices(2, framework="torch")
        >>> available_devices("torch", kind="cpu")[:2]
        ['cpu:0', 'cpu:1']
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ArgumentError(f"count={count!r} is no number of devices; write an integer such as 2")
    _devices_of(framework or current_framework()).simulate_devices(count)


def choose_devices(gpus: Any, devices: Any, list_devices: ListDevices) -> tuple[str, ...]:
    """Return the names of the devices that ``gpus`` or ``devices`` asks for: two or more.

    ``devices`` may name one twice, for two replicas that share it; ``gpus`` may not, where it is a slip.

    Raises:
        ArgumentError: a value that can never name several devices.
        DeviceError: devices that this process does not have.
    """
    if devices is not None:
        if gpus is not None:
            raise ArgumentError(f"gpus={gpus!r} and devices={devices!r} both say where to compute; pass one")
        asked = f"devices={devices!r}"
        names = _parse_names(devices)
        # A list may mix kinds, and every name has to exist.
        available = [name for kind in dict.fromkeys(map(_kind, names)) for name in list_devices(kind)]
    else:
        available = list_devices(None)
        asked = "gpus=None (all there are)" if gpus is None else f"gpus={gpus!r}"
        names = _name_gpus(gpus, available)
    if devices is None and len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ArgumentError(
            f"{asked} names {', '.join(twice)} more than once; name each device once, or "
            f"pass devices={names!r} for replicas that share one"
        )
    missing = [name for name in names if name not in available]
    if missing or len(names) < 2:
        raise DeviceError(_too_few(asked, max(2, len(names)), missing, available))
    return tuple(names)


def _name_gpus(gpus: Any, available: list[str]) -> list[str]:
    if gpus is None:
        return available
    kind = _kind(available[0])
    if isinstance(gpus, str | bytes | bool):
        raise ArgumentError(
            f"gpus={gpus!r} is a {type(gpus).__name__}; write a number such as gpus=2, or ids"
        )
    if isinstance(gpus, Iterable):
        ids = [_index(gpu, f"gpus={gpus!r}") for gpu in gpus]
        if len(ids) < 2:
            raise ArgumentError(f"gpus={gpus!r} names {len(ids)} device; name two or more, as in gpus=[0, 1]")
        return [f"{kind}:{index}" for index in ids]
    count = _index(gpus, f"gpus={gpus!r}")
    if count < 2:
        raise ArgumentError(
            f"gpus={count} leaves nothing to split; write gpus=2 or more, or use the model itself"
        )
    # Ids need not be 0, 1, 2 …: the first `count` of those that exist.
    return available[:count] + [f"{kind}:{index}" for index in range(len(available), count)]


def _parse_names(devices: Any) -> list[str]:
    written = [devices] if isinstance(devices, str) else devices
    if not isinstance(written, list | tuple) or not all(isinstance(name, str) for name in written):
        raise ArgumentError(f"devices={devices!r} names no devices; write 'cpu:0..1' or ['gpu:0', 'gpu:1']")
    names = []
    for name in written:
        match = _NAME.fullmatch(name.strip().lower().replace("cuda", "gpu"))
        if match is None:
            raise ArgumentError(f"{name!r} is no device; write names such as 'gpu:0', 'cpu:1' or 'cpu:0..3'")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        names += [f"{match['kind']}:{index}" for index in range(first, last + 1)]
    if len(names) < 2:
        raise ArgumentError(
            f"devices={devices!r} names {len(names)} device; name two or more, as in 'cpu:0..1'"
        )
    return names


def _index(value: Any, where: str) -> int:
    if not isinstance(value, bool):
        try:
            index = operator.index(value)
        except TypeError:
            pass
        else:
            if index >= 0:
                return index
    raise ArgumentError(
        f"{where}: {value!r} is neither a number of devices nor a device's id; write gpus=2 or ids"
    )


def _too_few(asked: str, count: int, missing: list[str], available: list[str]) -> str:
    lacking = f"; {', '.join(missing)} cannot be found" if missing else ""
    existing = ", ".join(available) or "no such device"
    advice = "" if len(available) < 2 else f"pass gpus={len(available)}, or "
    return (
        f"{asked} needs {count} devices, and this process has {existing}{lacking}; {advice}"
        f"try it on virtual CPU devices: befit.replicate.simulate_devices({count}) before the first "
        f"computation, then devices='cpu:0..{count - 1}'"
    )


def _kind(name: str) -> str:
    return name.partition(":")[0]


def _devices_of(framework: str) -> Any:
    if framework not in FRAMEWORKS:
        raise ArgumentError(f"framework={framework!r} is unknown; write one of {', '.join(FRAMEWORKS)}")
    return integration(framework, "replicate")


def current_framework() -> str:
    """Return the framework that this program computes with: Keras, or the only one that was imported."""
    if "keras" in sys.modules:
        return "keras"
    # None stands there for a module that shall not be imported.
    imported = [name for name in FRAMEWORKS if sys.modules.get(name) is not None]
    if len(imported) == 1:
        return imported[0]
    backend = settings.keras_backend()
    if backend is not None:
        return backend
    raise ArgumentError(
        f"{', '.join(imported) or 'no framework'} has been imported: it is unclear whose devices are meant; "
        "import keras first, or pass framework='jax'"
    )
