"""Replicas of a Keras model on the torch backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from befit.integrations.keras.replicate_slices import (
    Pass,
    SlicedModel,
    Variables,
    batch_tensors,
    take_rows,
)
from befit.integrations.torch.replicate_crew import ReplicaProcesses
from befit.integrations.torch.replicate_keras import KERAS, FollowedModel, as_tuple, run_on_device, with_masks
from befit.integrations.torch.replicate_ranks import RankParallelModel
from befit.integrations.torch.replicate_threads import ReplicaThreads, runs_in_processes, torch_device
from befit.replicate.split import common_length, row_ranges, sub_batch_sizes

Merge = Callable[[list[Pass]], Pass]
"""Returns the passes of all replicas as one."""


class TorchParallelModel(SlicedModel):
    """Splits a batch; where its parts are computed is for its subclasses."""

    whole_step = (
        "hands the whole step to torch.compile, which cannot follow replicas in threads and processes"
    )

    def _run_replicas(self, inputs: Any, training: bool | None, variables: Variables) -> Pass:
        tensors = batch_tensors(inputs)
        rows = common_length((int(tensor.shape[0]) for tensor in tensors), "the inputs")
        sizes = sub_batch_sizes(rows, len(self.devices))
        parts = [take_rows(inputs, *ends) for ends in row_ranges(sizes)]
        # Concatenating moves to the first device, where Keras computes the loss.
        with keras.device(str(torch_device(self.devices[0]))):
            return self._run_parts(
                parts, training, variables, lambda passes: self._merge(passes, sizes, rows, variables)
            )

    def _run_parts(self, parts: list[Any], training: bool | None, variables: Variables, merge: Merge) -> Pass:
        """Return what ``merge`` makes of what each replica makes of its part. A subclass's part."""
        raise NotImplementedError


class ThreadedModel(TorchParallelModel):
    """Runs the replicas in threads; autograd leads their gradients back to the template's parameters."""

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        super().__init__(template, devices)
        self._threads = ReplicaThreads(devices)

    def _run_parts(self, parts: list[Any], training: bool | None, variables: Variables, merge: Merge) -> Pass:
        def run(replica: int) -> Pass:
            return run_on_device(
                self.template, replica, self._threads.devices[replica], (parts[replica], training), variables
            )

        return merge(self._threads.run(run, len(parts)))

    def release(self) -> None:
        """End the threads; the next step starts new ones."""
        self._threads.release()


class ProcessModel(TorchParallelModel):
    """Runs the first replica here and every other one in a process of its own."""

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        super().__init__(template, devices)
        self._processes = ReplicaProcesses(devices, KERAS)
        self._followed: FollowedModel | None = None

    @property
    def replica_pids(self) -> list[int]:
        """The ids of the processes of the replicas, all but the first; empty while they do not run."""
        return self._processes.pids

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model; what was frozen or unfrozen before holds from now on."""
        super().compile(*args, **kwargs)
        self._followed = None
        self._processes.send_anew()

    def _variables(self) -> Variables:
        # Kept from step to step: looking for them costs a launch-bound model a tenth of its step.
        if self._followed is None or not self._followed.is_whole():
            self._followed = FollowedModel(self.template)
        return self._followed.variables

    def _run_parts(self, parts: list[Any], training: bool | None, variables: Variables, merge: Merge) -> Pass:
        device = torch_device(self.devices[0])
        if len(parts) == 1:
            return merge([run_on_device(self.template, 0, device, (parts[0], training), variables)])
        merged: Pass = self._processes.run(
            self.template,
            [(with_masks(part), training) for part in parts],
            lambda sent, _: as_tuple(run_on_device(sent.model, 0, device, (parts[0], training), variables)),
            lambda results: merge([Pass(*result) for result in results]),
        )
        return merged

    def release(self) -> None:
        """End the processes; the next step starts new ones."""
        self._processes.release()


def parallel_class(names: tuple[str, ...], engine: str) -> type[SlicedModel]:
    """Return the class of parallel models that ``engine`` names, or that the launcher calls for."""
    if names[0].startswith("rank:"):
        return RankParallelModel
    return ProcessModel if runs_in_processes(names, engine) else ThreadedModel
