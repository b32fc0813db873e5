"""Replicas of a Keras model on the torch backend, one in each process of ``torch.distributed``."""

from __future__ import annotations

from typing import Any

import keras
import torch
from torch import distributed

from befit.errors import ReplicationError
from befit.integrations.keras.replicate_slices import (
    Pass,
    SlicedModel,
    Variables,
    batch_tensors,
    run_replica,
    take_rows,
)
from befit.integrations.processes import is_compared
from befit.integrations.torch.replicate_collectives import (
    Rows,
    bring_into_step,
    check_same_batch,
    gather,
    is_fully_sharded,
    mean_by_rows,
    random_numbers_of,
    take_own_rows,
)
from befit.integrations.torch.replicate_gradients import GradientMean
from befit.integrations.torch.world import place
from befit.replicate.split import common_length


class RankParallelModel(SlicedModel):
    """Runs the template on this process's rows of a batch that every process has.

    Outputs are gathered, so that each process computes the same loss and metrics, and makes the same step.
    """

    whole_step = (
        "hands the whole step to torch.compile, which cannot follow what the processes tell each other"
    )

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        super().__init__(template, devices)
        if is_fully_sharded(template):
            raise ReplicationError(
                f"{template.name!r} went through fully_shard, and its Keras variables still hold the "
                "parameters from before, so that processes drift apart without a word; replicate it without "
                "fully_shard, or pass fully_shard a plain torch.nn.Module"
            )
        if any(True for _ in template.buffers()):
            raise ReplicationError(
                f"{template.name!r} contains a torch module with buffers, which would differ from process to "
                "process; use layers of Keras, or train the torch module itself"
            )
        self._gradients = GradientMean()
        self._writes = place()[0] == 0
        self._is_in_step = False
        self._bring_into_step()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model; the optimizer's states are brought into step before the next pass."""
        super().compile(*args, **kwargs)
        self._is_in_step = False

    def _run_replicas(self, inputs: Any, training: bool | None, variables: Variables) -> Pass:
        tensors = batch_tensors(inputs)
        if not self._is_in_step:
            self._bring_into_step()
        rows = Rows.of(common_length((int(tensor.shape[0]) for tensor in tensors), "the inputs"))
        if is_compared(self._forward_passes):
            check_same_batch(tensors, rows.total)
        if torch.is_grad_enabled():
            # Not parameters(), which Keras sorts by name: names count up, and not in every process alike.
            self._gradients.watch(variable._value for variable in variables.every)
        own = take_rows(inputs, rows.first, rows.end) if not _wants_gradient(tensors) else _own(inputs, rows)
        with random_numbers_of(rows.rank, when=bool(training)):
            one = run_replica(self.template, rows.rank, own, training, _same, variables)
        return self._gather_pass(one, rows, variables)

    def _gather_pass(self, one: Pass, rows: Rows, variables: Variables) -> Pass:
        for output in keras.tree.flatten(one.outputs):
            if not output.ndim or len(output) != rows.end - rows.first:
                raise ReplicationError(
                    f"a replica was given {rows.end - rows.first} rows and returned an output of shape "
                    f"{tuple(output.shape)}; outputs are concatenated along axis 0 and need one row "
                    "per sample"
                )
        return Pass(
            outputs=keras.tree.map_structure(
                lambda output: gather(output, rows, self._gradients), one.outputs
            ),
            masks=[None if mask is None else gather(mask, rows, None) for mask in one.masks],
            losses=[mean_by_rows(loss, rows, self._gradients) for loss in one.losses],
            updates=self._merge_updates(one.updates, rows, variables),
        )

    def _merge_updates(self, updates: list[Any], rows: Rows, variables: Variables) -> list[Any]:
        merged = list(updates)
        means: dict[Any, list[int]] = {}  # indices by dtype
        for index, (variable, value) in enumerate(zip(variables.state, updates, strict=True)):
            if value is None:
                continue
            if id(variable) in variables.seeds:  # the shifted seed of this replica, and how far it has come
                merged[index] = torch.stack([variable.value[0].to(value.dtype), value[1]])
            elif value.is_floating_point():
                means.setdefault(value.dtype, []).append(index)
            else:
                merged[index] = value.detach().clone()
                distributed.broadcast(merged[index], 0)
        for indices in means.values():
            flat = torch.cat([updates[index].detach().reshape(-1) for index in indices])
            flat = mean_by_rows(flat, rows, None)
            parts = flat.split([updates[index].numel() for index in indices])
            for index, part in zip(indices, parts, strict=True):
                merged[index] = part.view(updates[index].shape)
        return merged

    def _share(self, variables: list[Any]) -> None:
        bring_into_step([variable.value.data for variable in variables])
        self._is_in_step = True

    # Keras 3.16 and later do their own part under torch.distributed, of what is done here already.

    def _initialize_ddp(self) -> None:
        """Leave the model as it is."""

    def get_metrics_result(self) -> Any:
        """Return the metrics, which are those of the whole batches in every process."""
        return keras.src.trainers.trainer.Trainer.get_metrics_result(self)


def _same(value: Any) -> Any:
    return value


def _wants_gradient(tensors: list[Any]) -> bool:
    return torch.is_grad_enabled() and any(
        isinstance(tensor, torch.Tensor) and tensor.requires_grad for tensor in tensors
    )


def _own(inputs: Any, rows: Rows) -> Any:
    return keras.tree.map_structure(
        lambda leaf: take_own_rows(leaf, rows) if isinstance(leaf, torch.Tensor) and leaf.ndim else leaf,
        inputs,
    )
