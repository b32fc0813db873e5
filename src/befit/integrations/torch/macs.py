"""Multiply-adds of a forward pass, counted operation by operation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
"""They run as one fused operation on one device and step by step on another."""

LIBRARIES = ("aten", "prim", "prims")


class Work(NamedTuple):
    """Multiply-adds, and whether some more were done that cannot be counted."""

    macs: int = 0
    and_more: bool = False

    @property
    def known(self) -> int | None:
        """The multiply-adds, if these are all."""
        return None if self.and_more else self.macs


class MacCounter(TorchDispatchMode):
    """Counts what runs while it is entered, as the formulas of ``torch.utils.flop_counter`` do.

    Operations that those formulas leave out although they multiply matrices have one here; operations of
    other libraries cannot be counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.unknown = 0

    def now(self) -> tuple[int, int]:
        """Return a mark for ``since``."""
        return self.macs, self.unknown

    def since(self, mark: tuple[int, int]) -> Work:
        """Return what was done after ``mark`` was taken."""
        return Work(self.macs - mark[0], self.unknown > mark[1])

    def replace(self, mark: tuple[int, int], macs: int) -> None:
        """Count ``macs`` in place of all that was counted after ``mark``."""
        self.macs, self.unknown = mark[0] + macs, mark[1]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func`` and count it."""
        kwargs = kwargs or {}
        if _is_made_of_others(func):  # seen only in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet in flop_registry:
            self.macs += flop_registry[packet](*args, **kwargs, out_val=result) // 2
        elif packet in _MACS:
            self.macs += _MACS[packet](*args)
        elif packet in _UNKNOWN or func.namespace not in LIBRARIES:
            self.unknown += 1
        return result


@functools.cache
def _is_made_of_others(func: Any) -> bool:
    packet = func._overloadpacket
    if packet in flop_registry or packet in _MACS or packet in _UNKNOWN:
        return False
    return bool(func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


def recurrent_macs(args: tuple[Any, ...]) -> int:
    """Return the multiply-adds of a fused recurrent layer: each step goes once through each matrix.

    The arguments are ``(input, state, weights, …)``, or for a packed sequence ``(data, batch sizes, state,
    weights, …)``.
    """
    data = args[0]
    weights = args[3] if isinstance(args[3], (tuple, list)) else args[2]
    steps = math.prod(data.shape[:-1])
    return int(steps * sum(math.prod(weight.shape) for weight in weights if weight.dim() > 1))


def _attention(query: Any, key: Any, value: Any, *_: Any) -> int:
    return int(math.prod(query.shape[:-1]) * key.size(-2) * (query.size(-1) + value.size(-1)))


_aten: Any = torch.ops.aten
_MACS: dict[Any, Callable[..., int]] = {
    _aten.mv: lambda matrix, vector: matrix.numel(),
    _aten.addmv: lambda bias, matrix, vector: matrix.numel(),
    _aten.addmv_: lambda bias, matrix, vector: matrix.numel(),
    _aten.dot: lambda one, other: one.numel(),
    _aten.vdot: lambda one, other: one.numel(),
    _aten._int_mm: lambda one, other: one.numel() * other.size(1),
    _aten.addmm_: lambda bias, one, other: one.numel() * other.size(1),
    _aten.addbmm: lambda bias, one, other: one.numel() * other.size(2),
    _aten.baddbmm_: lambda bias, one, other: one.numel() * other.size(2),
    _aten._addmm_activation: lambda bias, one, other: one.numel() * other.size(1),
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_fused_attention_overrideable: _attention,
}
_UNKNOWN = frozenset(
    (
        *(_aten._native_multi_head_attention, _aten._transformer_encoder_layer_fwd, _aten._trilinear),
        *(_aten.mkldnn_rnn_layer, _aten._cudnn_rnn, _aten.miopen_rnn),
        *(_aten._weight_int4pack_mm, _aten._weight_int8pack_mm, _aten._sparse_mm, _aten._cdist_forward),
    )
)
