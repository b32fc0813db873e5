"""Replicas of a Keras model on the torch backend."""

from __future__ import annotations

from typing import Any

import keras

from befit.errors import ReplicationError
from befit.integrations.keras.replicate_slices import (
    Pass,
    SlicedModel,
    batch_tensors,
    run_replica,
    take_rows,
)
from befit.integrations.torch.replicate_threads import ReplicaThreads
from befit.replicate.split import row_ranges, sub_batch_sizes


class TorchParallelModel(SlicedModel):
    """Runs the replicas in threads; autograd leads their gradients back to the template's parameters."""

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        super().__init__(template, devices)
        self._threads = ReplicaThreads(devices)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model; ``jit_compile=True`` is refused."""
        if kwargs.get("jit_compile") is True:
            raise ReplicationError(
                "jit_compile=True hands the whole step to torch.compile, which cannot follow replicas in "
                "threads; leave jit_compile at 'auto'"
            )
        super().compile(*args, **kwargs)

    def _run_replicas(self, inputs: Any, training: bool | None) -> Pass:
        tensors = batch_tensors(inputs)
        lengths = {int(tensor.shape[0]) for tensor in tensors}
        if len(lengths) != 1:
            raise ReplicationError(
                f"the inputs have {' and '.join(map(str, sorted(lengths))) or 'no'} rows; "
                "all need the same number"
            )
        rows = lengths.pop()
        sizes = sub_batch_sizes(rows, len(self.devices))
        ranges = row_ranges(sizes)

        def run(replica: int) -> Pass:
            device = self._threads.devices[replica]
            with keras.device(str(device)):
                # A differentiable copy: on the way back the replicas' gradients are added up.
                return run_replica(
                    self.template,
                    replica,
                    take_rows(inputs, *ranges[replica]),
                    training,
                    lambda value: value.to(device),
                )

        # Concatenating moves to the first device, where Keras computes the loss.
        with keras.device(str(self._threads.devices[0])):
            return self._merge(self._threads.run(run, len(sizes)), sizes, rows)


def parallel_class(names: tuple[str, ...], engine: str) -> type[TorchParallelModel]:
    """Return the class of parallel models that ``engine`` names."""
    del names, engine
    return TorchParallelModel
