"""Memory on a replica's device that two processes see: the caller's, which makes it, and the replica's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch

from befit._internal.memory import Descriptor, Memory, create

_ALIGNMENT = 256  # bytes: what kernels on GPUs like, and a multiple of every element's size
_GROWTH = 1.25  # a box that is made has room for a somewhat larger batch


@dataclass(frozen=True)
class Place:
    """Where in a block a tensor lies."""

    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def lay_out(tensors: Iterable[torch.Tensor]) -> tuple[list[Place], int]:
    """Return a place for each tensor, one after the other, and the bytes that all of them need."""
    places, end = [], 0
    for tensor in tensors:
        places.append(Place(end, tuple(tensor.shape), tensor.dtype))
        nbytes = tensor.numel() * tensor.element_size()
        end += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
    return places, end


class Block:
    """A flat tensor of bytes that both processes see; the caller's owns it."""

    def __init__(self, device: torch.device, nbytes: int) -> None:
        self.nbytes = max(nbytes, _ALIGNMENT)
        self.descriptor: Descriptor | None = None
        self.handle: Any = self.nbytes
        if device.type == "cpu":
            self.descriptor = create(self.nbytes)
            self.flat = _mapped(self.descriptor, self.nbytes)
        else:
            self.flat = torch.empty(self.nbytes, dtype=torch.uint8, device=device)
            self.handle = bytes(ForkingPickler.dumps(self.flat))  # a handle for CUDA's IPC

    def cut(self, places: Iterable[Place]) -> list[torch.Tensor]:
        """Return the tensors at ``places``."""
        return cut(self.flat, places)


def open_block(handle: Any, descriptor: Descriptor | None) -> torch.Tensor:
    """Return, in the replica's process, the flat tensor of a block."""
    if descriptor is not None:
        return _mapped(descriptor, handle)
    flat: torch.Tensor = ForkingPickler.loads(handle)
    return flat


def cut(flat: torch.Tensor, places: Iterable[Place]) -> list[torch.Tensor]:
    """Return the tensors at ``places`` of a block's flat tensor."""
    return [
        flat[place.offset : place.offset + place.dtype.itemsize * math.prod(place.shape)]
        .view(place.dtype)
        .view(place.shape)
        for place in places
    ]


def fill(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    """Copy ``sources`` to ``targets``, and wait until they are there."""
    with torch.no_grad():
        if targets:  # one call: a loop takes as long as a launch-bound model
            torch._foreach_copy_(list(targets), list(sources), non_blocking=True)
    wait_for(targets)


def wait_for(tensors: Iterable[torch.Tensor]) -> None:
    """Wait until what was begun with ``tensors`` is done: no other process knows this one's streams."""
    for device in {tensor.device for tensor in tensors}:
        if device.type == "cuda":
            torch.cuda.synchronize(device)


class Boxes:
    """Blocks for the tensors of messages, each in use until it is given back."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._free: list[int] = []
        self._blocks: dict[int, Block] = {}
        self._made = 0

    def take(self, nbytes: int) -> tuple[int, Block, bool]:
        """Return a box with room for ``nbytes`` bytes: its number, its block, and whether it is new."""
        fitting = [number for number in self._free if self._blocks[number].nbytes >= nbytes]
        if fitting:
            number = min(fitting, key=lambda number: self._blocks[number].nbytes)
            self._free.remove(number)
            return number, self._blocks[number], False
        # Those that are free are too small, and so would be after the next batch of this size.
        for number in self._free:
            del self._blocks[number]
        self._free.clear()
        self._made += 1
        self._blocks[self._made] = Block(self._device, int(nbytes * _GROWTH))
        return self._made, self._blocks[self._made], True

    def give_back(self, number: int) -> None:
        """Note that nobody looks at the box any more."""
        if number in self._blocks:
            self._free.append(number)

    @property
    def numbers(self) -> list[int]:
        """The boxes that exist; a replica forgets the others."""
        return list(self._blocks)


def _mapped(descriptor: Descriptor, nbytes: int) -> torch.Tensor:
    return torch.frombuffer(Memory(descriptor, nbytes).lease(), dtype=torch.uint8, count=nbytes)
