"""``multi_gpu_model``: whose model it is, and where its replicas go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from befit._internal.adapters import framework_of, integration
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.replicate.devices import choose_devices
from befit.replicate.world import choose_processes

ENGINES = ("auto", "processes", "threads")


def multi_gpu_model(
    model: Any,
    gpus: int | Iterable[int] | None = None,
    *,
    devices: str | Sequence[str] | None = None,
    engine: Literal["auto", "processes", "threads"] = "auto",
    cpu_merge: bool = True,
    cpu_relocation: bool = False,
) -> Any:
    """Replicate a model on several devices of this machine.

    Every batch is divided into sub-batches, a copy of the model is applied to each on a device of its own,
    and the results are concatenated into one big batch. With ``batch_size=64`` and ``gpus=2`` each device
    processes 32 samples. A batch need not be divisible, and may have fewer rows than there are devices.

    The weights are those of ``model``, not copies: what either trains, the other has. ``save`` and
    ``save_weights`` of either write files that open as the plain model on one device.

    Args:
        model: a ``keras.Model`` (JAX, torch or TensorFlow backend) or a plain ``torch.nn.Module``, called the
            template. It may be built or not, compiled or not.
        gpus: how many devices, 2 or more, or a list of device ids. ``None`` takes all there are. Where there
            are no GPUs, it counts virtual CPU devices, see ``simulate_devices``.
        devices: instead of ``gpus``: names of devices, ``"cpu:0..1"`` or ``["gpu:0", "gpu:2"]``. On torch and
            TensorFlow a name that stands there twice gets two replicas.
        engine: torch only, what runs the replicas: ``"processes"``, a process for each but the first, or
            ``"threads"`` of this process, for debugging and for Python without the GIL. ``"auto"`` takes
            processes on GPUs and threads on virtual CPU devices.
        cpu_merge: accepted for scripts written for Keras 2.2, and changes nothing: outputs are gathered where
            the loss is computed.
        cpu_relocation: accepted for the same scripts, and changes nothing: weights stay the template's own
            variables where they are.

    Returns:
        A model that is used like ``model`` and distributes its work: a ``keras.Model`` for a Keras model, a
        ``torch.nn.Module`` with the same ``state_dict`` keys for a torch module.

    Raises:
        ArgumentError: ``gpus`` or ``devices`` cannot name several devices: 1, a string, a repeated id.
        DeviceError: devices that this process does not have; names those that exist.
        ReplicationError: a model that cannot be split, or one that is split already.
        UnsupportedObjectError: ``model`` is neither a Keras model nor a torch module.

    Example:
        >>> import torch
        >>> from befit.replicate import simulate_devices
        >>> simulate_devices(2, framework="torch")
        >>> template = torch.nn.Linear(3, 5)
        >>> parallel = multi_gpu_model(template, gpus=2)
        >>> parallel(torch.zeros(7, 3)).shape
        torch.Size([7, 5])
        >>> list(parallel.state_dict())
        ['weight', 'bias']

    Source:
        Keras 2.1 documentation, ``keras.utils.multi_gpu_model``.
    """
    del cpu_merge, cpu_relocation
    if engine not in ENGINES:
        raise ArgumentError(f"engine={engine!r} is unknown; write one of {', '.join(map(repr, ENGINES))}")
    framework = framework_of(model)
    if framework not in ("keras", "torch"):
        raise UnsupportedObjectError(
            f"multi_gpu_model replicates keras.Model and torch.nn.Module, not {type(model).__qualname__}; "
            "pass the model itself"
        )
    adapter = integration(framework, "replicate")
    adapter.check_model(model)
    processes = integration(framework, "world").processes()
    if processes is None:
        names = choose_devices(gpus, devices, adapter.available_devices)
    else:
        names = choose_processes(gpus, devices, engine, processes)
    return adapter.replicate(model, names, engine)
