"""The buffers of replicas: copies of the template's, and what becomes of those that a replica changed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from befit.errors import ReplicationError


class BufferCopies:
    """A replica's copies of the template's buffers; buffers that are one tensor stay one."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self._copies: dict[Any, tuple[Any, int]] = {}

    def copy(self, buffer: Any) -> Any:
        """Return the copy of ``buffer`` on the replica's device."""
        if buffer not in self._copies:
            with torch.inference_mode(False):  # an inference tensor would count no versions
                copy = buffer.detach().to(self.device, copy=True)
            self._copies[buffer] = copy, copy._version
        return self._copies[buffer][0]

    def is_replaced(self, buffer: Any, value: Any) -> bool:
        """Return whether the replica has another object, ``value``, than the copy of ``buffer``."""
        return value is not (None if buffer is None else self.copy(buffer))

    def is_written(self, buffer: Any) -> bool:
        """Return whether the copy of ``buffer`` was written, as far as its version counter tells."""
        copy, version = self._copies[buffer]
        return bool(copy._version != version)


@dataclass
class _Buffer:
    """A buffer by its place in the template, and what each replica has there."""

    module: Any
    name: str
    values: list[Any]

    @property
    def old(self) -> Any:
        return self.module._buffers.get(self.name)


def merge_buffers(template: Any, replicas: Sequence[Any], sizes: list[int]) -> None:
    """Give the template what the replicas changed of its buffers: means of statistics, else replica 0's.

    The others are not touched: a write that changes nothing still spoils every graph that autograd has saved
    the buffer in.
    """
    replaced, written, unclear = [], [], []
    for module, shadow in replicas[0].shadows.items():
        for name in {**module._buffers, **shadow._buffers}:
            values = [replica.shadows[module]._buffers.get(name) for replica in replicas]
            buffer = _Buffer(module, name, values)
            old = buffer.old
            if any(
                replica.copies.is_replaced(old, value)
                for replica, value in zip(replicas, values, strict=True)
            ):
                replaced.append(buffer)
            elif old is None:
                pass
            elif any(replica.copies.is_written(old) for replica in replicas):
                written.append(buffer)
            elif old.layout is torch.strided:
                unclear.append(buffer)
    # Batch normalization writes its statistics past the version counter, and so does whoever writes to .data.
    unseen = _with_other_values(unclear)
    changed = [*replaced, *written, *unseen]
    merged = {id(buffer): _merge(template, buffer, sizes, replicas[0].device) for buffer in changed}
    with torch.no_grad():  # from here on nothing is refused any more
        for buffer in replaced:
            buffer.module._buffers[buffer.name] = merged[id(buffer)]
        for buffer in written:
            buffer.old.copy_(merged[id(buffer)])
        for buffer in unseen:  # past the counter here too, as the template alone would have done
            buffer.old.data.copy_(merged[id(buffer)])


def _with_other_values(buffers: list[_Buffer]) -> list[_Buffer]:
    """Return those of which a replica's values are not the template's."""
    if not buffers:
        return []
    with torch.no_grad():
        answers = [_differ(buffer.values, buffer.old) for buffer in buffers]
        # Fetched together: a GPU is waited for once.
        fetched = torch.stack([answer.to(answers[0].device) for answer in answers]).tolist()
    return [buffer for buffer, is_other in zip(buffers, fetched, strict=True) if is_other]


def _differ(values: list[Any], old: Any) -> Any:
    here = [value.to(old.device) for value in values]
    # NaN is NaN here: a buffer that holds one has not changed.
    return torch.stack([((value != old) & ((value == value) | (old == old))).any() for value in here]).any()


def _merge(template: Any, buffer: _Buffer, sizes: list[int], first_device: Any) -> Any:
    """Return the replicas' values as one, on the device of the template's buffer or else of the template."""
    if all(value is None for value in buffer.values):
        return None
    own = itertools.chain([buffer.old], template.parameters(), template.buffers())
    device = next((tensor.device for tensor in own if tensor is not None), first_device)
    with torch.inference_mode(False), torch.no_grad():  # what the template gets is no inference tensor
        values: list[Any] = [None if value is None else value.detach().to(device) for value in buffer.values]
        _check_shapes(template, buffer, values)
        first = values[0]
        if not first.is_floating_point() or first.layout is not torch.strided:
            return first.clone()
        mean: Any = sum(value * (size / sum(sizes)) for value, size in zip(values, sizes, strict=True))
        # Where all agree the value stays, to the last bit: constants must not drift.
        agreed = torch.stack([value == first for value in values]).all(0)
        return torch.where(agreed, first, mean)


def _check_shapes(template: Any, buffer: _Buffer, values: list[Any]) -> None:
    shapes = [None if value is None else tuple(value.shape) for value in values]
    old = buffer.old
    if len(set(shapes)) == 1 and (
        old is None or shapes[0] == tuple(old.shape) or all(torch.equal(value, values[0]) for value in values)
    ):
        return
    path = next(path for path, module in template.named_modules() if module is buffer.module)
    had = "" if old is None else f" in place of {tuple(old.shape)}"
    raise ReplicationError(
        f"the replicas set the buffer {f'{path}.{buffer.name}'.lstrip('.')!r} to shapes "
        f"{', '.join(map(str, shapes))}{had}, which cannot be merged into one; give it a shape that does not "
        "depend on the rows, or return it as an output of the module"
    )
