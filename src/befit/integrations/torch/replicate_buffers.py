"""The buffers of replicas: copies of the template's, and what becomes of those that a replica changed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from befit.errors import ReplicationError

Place: TypeAlias = tuple[int, str]
"""The number of a module in the order of ``modules()`` of the model, and the name of its buffer."""


@dataclass(frozen=True)
class Given:
    """A buffer as a replica was given it."""

    tensor: Any
    version: int
    old: Any
    """Its value from before, which the replica does not write to; ``None`` where values are not compared."""


class BufferCopies:
    """A replica's copies of the template's buffers; buffers that are one tensor stay one."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._copies: dict[Any, Given] = {}
        self.given: dict[Place, Given] = {}

    def copy(self, place: Place, buffer: Any) -> Any:
        """Return the copy of ``buffer``, which is at ``place``, on the replica's device."""
        if buffer not in self._copies:
            with torch.inference_mode(False):  # an inference tensor would count no versions
                own = buffer if buffer.is_leaf else buffer.detach()  # a leaf may want a gradient
                copy = own.to(self._device, copy=True)
            self._copies[buffer] = Given(copy, copy._version, buffer)
        self.given[place] = self._copies[buffer]
        return self._copies[buffer].tensor


def given_itself(modules: Sequence[Any]) -> dict[Place, Given]:
    """Return the buffers of ``modules``, which are about to run themselves, with copies of their values."""
    found: dict[Place, Given] = {}
    copies: dict[int, Given] = {}
    for number, module in enumerate(modules):
        for name, buffer in module._buffers.items():
            if buffer is None:
                continue
            if id(buffer) not in copies:
                with torch.inference_mode(False):
                    copies[id(buffer)] = Given(buffer, buffer._version, buffer.detach().clone())
            found[number, name] = copies[id(buffer)]
    return found


@dataclass(frozen=True)
class Change:
    """What became of a buffer in a replica."""

    how: str
    """``"replaced"`` by another object, ``"written"`` as its version counter tells, ``"unseen"``: past it."""
    value: Any


def changes(modules: Sequence[Any], given: Mapping[Place, Given]) -> dict[Place, Change]:
    """Return what became of the buffers of ``modules``, which have run with those that were ``given``."""
    found, unclear = {}, {}
    now = {
        (number, name): buffer
        for number, module in enumerate(modules)
        for name, buffer in module._buffers.items()
    }
    for place in {**given, **now}:
        before: Given | None = given.get(place)
        value: Any = now.get(place)
        if before is None or value is not before.tensor:
            if before is not None or value is not None:
                found[place] = Change("replaced", value)
        elif value._version != before.version:
            found[place] = Change("written", value)
        elif value.layout is torch.strided:
            unclear[place] = before.old, value
    # Batch normalization writes its statistics past the version counter, and so does whoever writes to .data.
    if unclear:
        with torch.no_grad():
            answers = [_differs(value, old) for old, value in unclear.values()]
            # Fetched together: a GPU is waited for once.
            fetched = torch.stack([answer.to(answers[0].device) for answer in answers]).tolist()
        for (place, (_, value)), is_other in zip(unclear.items(), fetched, strict=True):
            if is_other:
                found[place] = Change("unseen", value)
    return found


def merge_buffers(
    template: Any,
    changed: Sequence[Mapping[Place, Change]],
    given: Mapping[Place, Given],
    sizes: list[int],
    first_device: Any,
) -> None:
    """Give the template what the replicas changed of its buffers: means of statistics, else replica 0's.

    The others are not touched: a write that changes nothing still spoils every graph that autograd has saved
    the buffer in.

    Args:
        template: The template.
        changed: What each replica changed.
        given: What the first one was given.
        sizes: The rows of each.
        first_device: Where to put a buffer of a template that has no tensors.
    """
    if not any(changed):
        return
    modules = list(template.modules())
    merged = []
    for number, name in dict.fromkeys(place for one in changed for place in one):
        module = modules[number]
        old = given[number, name].old if (number, name) in given else None
        here = [one.get((number, name)) for one in changed]
        buffer = _Buffer(module, name, old, [old if change is None else change.value for change in here])
        ways = {change.how for change in here if change is not None}
        merged.append((buffer, ways, _merge(template, buffer, sizes, first_device)))
    with torch.no_grad():  # from here on nothing is refused any more
        for buffer, ways, value in merged:
            if "replaced" in ways:
                buffer.module._buffers[buffer.name] = value
            elif "written" in ways:
                buffer.module._buffers[buffer.name].copy_(value)
            else:  # past the counter here too, as the template alone would have done
                buffer.module._buffers[buffer.name].data.copy_(value)


@dataclass
class _Buffer:
    """A buffer by its place in the template, and what each replica has there."""

    module: Any
    name: str
    old: Any
    values: list[Any]


def _differs(value: Any, old: Any) -> Any:
    here = old.to(value.device)
    # NaN is NaN here: a buffer that holds one has not changed.
    return ((value != here) & ((value == value) | (here == here))).any()


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
