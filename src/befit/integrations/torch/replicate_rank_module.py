"""A plain ``torch.nn.Module`` in several processes of ``torch.distributed``, whole or sharded by FSDP2."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed
from torch.utils import _pytree as pytree

from befit.errors import ReplicationError
from befit.integrations.processes import is_compared
from befit.integrations.torch.replicate_buffers import (
    Change,
    Place,
    merge_buffers,
)
from befit.integrations.torch.replicate_collectives import (
    Rows,
    bring_into_step,
    check_same_batch,
    gather,
    is_fully_sharded,
    random_numbers_of,
    take_own_rows,
)
from befit.integrations.torch.replicate_copy import OwnRunner, run_copy
from befit.integrations.torch.replicate_gradients import GradientMean
from befit.integrations.torch.replicate_module import ParallelModule, _count_rows, _is_split
from befit.integrations.torch.world import exchange


class RankParallelModule(ParallelModule):
    """Runs ``template`` on this process's rows of a batch that every process has, and gathers the outputs."""

    def __init__(self, template: Any, names: tuple[str, ...]) -> None:
        super().__init__(template, names)
        self.__dict__["_is_sharded"] = is_fully_sharded(template)
        self.__dict__["_gradients"] = GradientMean()
        self.__dict__["_calls"] = 0
        _check_meshes(template)
        bring_into_step([*map(_data, self._whole_parameters()), *map(_data, template.buffers())])

    @property
    def replica_pids(self) -> list[int]:
        """Empty: the launcher has started the processes."""
        return []

    def release(self) -> None:
        """Give back nothing: the replicas are the processes of the launcher."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Take the own rows of the tensors among ``args`` and ``kwargs``, and gather the outputs' rows."""
        values, structure = pytree.tree_flatten((args, kwargs))
        count = _count_rows(values)
        if count is None:
            return self.template(*args, **kwargs)
        rows = Rows.of(count)
        self.__dict__["_calls"] += 1
        if is_compared(self._calls):
            check_same_batch([value for value in values if _is_split(value)], count)
        if torch.is_grad_enabled():
            self._gradients.watch(self._whole_parameters())
        parameter = next(self.template.parameters(), None)
        given = next(value.device for value in values if _is_split(value))
        device = given if parameter is None else parameter.device
        call = pytree.tree_unflatten(
            [take_own_rows(value, rows).to(device) if _is_split(value) else value for value in values],
            structure,
        )
        has_buffers = any(True for _ in self.template.buffers())
        with random_numbers_of(rows.rank, when=self.template.training):
            if self._is_sharded or not has_buffers:  # FSDP2's hooks are its own; or nothing needs copies
                one = OwnRunner(self.template, device, copies_buffers=False)(call)
            else:
                one = run_copy(self.template, device, call)
        working = [size for size in rows.sizes if size]
        if one.changes or has_buffers:
            changed = _exchange(one.changes, device)[: len(working)]
            merge_buffers(self.template, changed, one.given, working, device)
        return pytree.tree_map(lambda value: self._gather(value, rows), one.outputs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load into the template; what the first process has read is everybody's."""
        result = super().load_state_dict(*args, **kwargs)
        bring_into_step([*map(_data, self._whole_parameters()), *map(_data, self.template.buffers())])
        return result

    def _whole_parameters(self) -> list[Any]:
        """Return the parameters of which every process has all: FSDP2 looks after the others."""
        return [parameter for parameter in self.template.parameters() if not _is_sharded(parameter)]

    def _gather(self, value: Any, rows: Rows) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        given = rows.end - rows.first
        if value.ndim == 0 or len(value) != given:
            raise ReplicationError(
                f"a replica was given {given} rows and returned a tensor of shape {tuple(value.shape)}; "
                "outputs are concatenated along axis 0 and need one row per sample: compute losses and other "
                "totals outside the module"
            )
        return gather(value, rows, self._gradients)


def _check_meshes(template: Any) -> None:
    world = distributed.get_world_size()
    for name, parameter in template.named_parameters():
        if _is_sharded(parameter) and parameter.device_mesh.size() != world:
            raise ReplicationError(
                f"the parameter {name!r} is sharded over {parameter.device_mesh.size()} of {world} "
                "processes, and every process has a part of the batch; shard over a mesh of all of them"
            )


def _is_sharded(parameter: Any) -> bool:
    return hasattr(parameter, "device_mesh")  # a DTensor; asking for its class would import much


def _data(tensor: Any) -> Any:
    return tensor.data


def _exchange(own: Mapping[Place, Change], device: Any) -> list[Mapping[Place, Change]]:
    """Return what each process changed."""
    world = distributed.get_world_size()
    if not _all_say(_describe(own), device):
        return exchange(dict(own))
    kinds: dict[Any, list[Place]] = {}
    for place, change in own.items():
        if change.value is not None:
            kinds.setdefault(change.value.dtype, []).append(place)
    found: list[dict[Place, Change]] = [dict(own) for _ in range(world)]
    for dtype, places in kinds.items():
        values = [own[place].value.detach() for place in places]
        flat = torch.cat([value.to(device).reshape(-1) for value in values])
        wire = flat.to(torch.uint8) if dtype == torch.bool else flat
        parts = [torch.empty_like(wire) for _ in range(world)]
        distributed.all_gather(parts, wire)
        for one, part in zip(found, parts, strict=True):
            split = part.to(dtype).split([value.numel() for value in values])
            for place, value, piece in zip(places, values, split, strict=True):
                one[place] = Change(own[place].how, piece.view(value.shape).to(value.device))
    return list(found)


def _describe(own: Mapping[Place, Change]) -> int:
    text = repr(
        [
            (place, change.how, None if change.value is None else (change.value.shape, change.value.dtype))
            for place, change in own.items()
        ]
    )
    strided = all(change.value is None or change.value.layout is torch.strided for change in own.values())
    return zlib.crc32(text.encode()) if strided else -1 - distributed.get_rank()


def _all_say(number: int, device: Any) -> bool:
    both = torch.tensor([number, -number], device=device)
    distributed.all_reduce(both, distributed.ReduceOp.MAX)
    highest, lowest = both.tolist()
    return bool(highest == -lowest)
