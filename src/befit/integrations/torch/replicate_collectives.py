"""One batch in several processes: each takes its rows, and all get everybody's results, differentiably.

What is computed from gathered results is computed in every process alike, loss included. So a gradient
that comes back is whole everywhere, and each process keeps the part of its own rows. Their gradients of a
parameter are to be added up; because ``GradientMean``, like ``fully_shard``, takes means, they are scaled by
the number of processes.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed
from torch.autograd.function import once_differentiable

from befit.integrations.processes import check_batches, check_models
from befit.integrations.torch.replicate_gradients import GradientMean
from befit.integrations.torch.world import exchange
from befit.replicate.split import sub_batch_sizes

# Seeds that differ by little may give numbers that look alike; the golden ratio spreads them.
_SEED_STRIDE = 1_327_217_884


@dataclass(frozen=True)
class Rows:
    """Which rows of a batch each process has."""

    sizes: tuple[int, ...]
    rank: int

    @classmethod
    def of(cls, rows: int) -> Rows:
        """Divide a batch of ``rows`` rows."""
        world = distributed.get_world_size()
        sizes = sub_batch_sizes(rows, world)
        return cls((*sizes, *[0] * (world - len(sizes))), distributed.get_rank())

    @property
    def total(self) -> int:
        """The rows of the whole batch."""
        return sum(self.sizes)

    @property
    def own(self) -> int:
        """How many rows are this process's."""
        return self.sizes[self.rank]

    @property
    def share(self) -> float:
        """The weight of this process's means."""
        return self.own / max(1, self.total)

    @property
    def first(self) -> int:
        """Where the own rows begin."""
        return sum(self.sizes[: self.rank]) if self.own else 0

    @property
    def end(self) -> int:
        """Where the rows to compute on end: a process that has none takes one, for the others wait for it."""
        return self.first + max(1, self.own) if self.total else 0


def take_own_rows(tensor: Any, rows: Rows) -> Any:
    """Return this process's rows of a tensor that all processes have."""
    if tensor.requires_grad and torch.is_grad_enabled():
        return _OwnRows.apply(tensor, rows)
    return tensor[rows.first : rows.end]


def gather(tensor: Any, rows: Rows, mean: GradientMean | None) -> Any:
    """Return the rows of all processes; gradients of ``mean``'s parameters become means of all processes'."""
    if tensor.dtype == torch.bool:
        return _Gather.apply(tensor.to(torch.uint8), rows, mean).to(torch.bool)
    return _Gather.apply(tensor, rows, mean)


def mean_by_rows(value: Any, rows: Rows, mean: GradientMean | None) -> Any:
    """Return the mean of every process's ``value``, each weighted by its rows."""
    return _MeanByRows.apply(value, rows, mean)


def check_same_batch(tensors: list[Any], rows: int) -> None:
    """Raise, in every process, unless all were given the same batch."""
    digest = 0
    for tensor in tensors:
        values = torch.as_tensor(tensor).detach().cpu().contiguous()
        digest = zlib.crc32(values.reshape(-1).view(torch.uint8).numpy(), digest)
    check_batches(exchange((rows, digest)))


def bring_into_step(tensors: list[Any]) -> None:
    """Give every process the values of the first one.

    Raises:
        ReplicationError: the processes have built different models.
    """
    check_models(exchange([(tuple(tensor.shape), str(tensor.dtype)) for tensor in tensors]))
    with torch.no_grad():
        for tensor in tensors:
            distributed.broadcast(tensor, 0)


@contextlib.contextmanager
def random_numbers_of(rank: int, *, when: bool) -> Iterator[None]:
    """Draw other numbers in each process, and leave torch's generators in the same state in all of them.

    Otherwise processes with one seed would drop out alike, and those with few rows would fall behind, and
    shuffle otherwise from then on. Where nothing is drawn, no state changes.
    """
    if not when:
        yield
        return
    generators = [torch.default_generator]
    if torch.cuda.is_available():
        generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
    before = [generator.get_state() for generator in generators]
    for generator, state in zip(generators, before, strict=True):
        generator.manual_seed((zlib.crc32(state.numpy()) + rank * _SEED_STRIDE) % 2**31)
    seeded = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, state, fresh in zip(generators, before, seeded, strict=True):
            was_used = not torch.equal(generator.get_state(), fresh)
            generator.set_state(state)
            if was_used:
                torch.rand((), generator=generator, device=generator.device)


def is_fully_sharded(module: Any) -> bool:
    """Return whether ``module``, or a part of it, went through ``fully_shard``."""
    return any(cls.__name__ == "FSDPModule" for part in module.modules() for cls in type(part).__mro__)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Any, rows: Rows, mean: GradientMean | None) -> Any:
        ctx.rows, ctx.mean, ctx.shape = rows, mean, tensor.shape
        if not tensor.is_floating_point():
            ctx.set_materialize_grads(False)
        longest = max(rows.sizes)
        own = tensor.detach()[: rows.own]
        if rows.own < longest:
            own = torch.cat([own, own.new_zeros((longest - rows.own, *own.shape[1:]))])
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in rows.sizes]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat([part[:size] for part, size in zip(parts, rows.sizes, strict=True)])

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Any) -> Any:
        if ctx.mean is not None:
            ctx.mean.begin()
        if gradient is None:
            return None, None, None
        rows = ctx.rows
        own = gradient.new_zeros(ctx.shape)
        own[: rows.own] = gradient[rows.first : rows.first + rows.own] * len(rows.sizes)
        return own, None, None


class _OwnRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Any, rows: Rows) -> Any:
        ctx.rows, ctx.shape = rows, tensor.shape
        return tensor[rows.first : rows.end].clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Any) -> Any:
        rows = ctx.rows
        whole = gradient.new_zeros(ctx.shape)
        whole[rows.first : rows.first + rows.own] = gradient[: rows.own] / len(rows.sizes)
        distributed.all_reduce(whole)
        return whole, None


class _MeanByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Any, rows: Rows, mean: GradientMean | None) -> Any:
        ctx.rows, ctx.mean = rows, mean
        weighted = value.detach() * rows.share
        distributed.all_reduce(weighted)
        return weighted

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Any) -> Any:
        if ctx.mean is not None:
            ctx.mean.begin()
        return gradient * (ctx.rows.share * len(ctx.rows.sizes)), None, None
