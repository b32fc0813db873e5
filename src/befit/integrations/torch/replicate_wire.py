"""Messages between the caller's process and a replica's: a pickle without its tensors, and descriptors.

One of the two asks, the other answers, so that each end may block.
"""

from __future__ import annotations

import array
import io
import pickle
import socket
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from befit._internal.memory import Descriptor
from befit._internal.pickling import ByValuePickler

_HEADER = struct.Struct("<QB")  # bytes of the body, number of descriptors
_MOST = 16  # descriptors in a message


def pack(value: Any) -> tuple[bytes, list[torch.Tensor]]:
    """Return a pickle of ``value`` without its tensors, and them."""
    try:
        packed = _pack(value, _Packer)
    except Exception:  # noqa: BLE001 - pickle has no common error; the other one takes functions too
        return _pack(value, _PackerByValue)
    # The other process has another main module.
    return _pack(value, _PackerByValue) if b"__main__" in packed[0] else packed


def unpack(pickled: bytes, tensors: Sequence[torch.Tensor]) -> Any:
    """Return the value, with ``tensors`` in their places."""
    return _Unpacker(io.BytesIO(pickled), tensors).load()


def _pack(value: Any, packer: Any) -> tuple[bytes, list[torch.Tensor]]:
    stream = io.BytesIO()
    one = packer(stream)
    one.tensors, one.numbers = [], {}
    one.dump(value)
    return stream.getvalue(), one.tensors


def _number(packer: Any, value: Any) -> int | None:
    if type(value) is not torch.Tensor and not isinstance(value, torch.nn.Parameter):
        return None
    number: int = packer.numbers.setdefault(id(value), len(packer.tensors))
    if number == len(packer.tensors):
        packer.tensors.append(value)
    return number


def _reduce(value: Any) -> Any:
    """Return how a tensor of a class of its own is pickled: as a plain one, which may have gradients."""
    if not isinstance(value, torch.Tensor) or is_traceable_wrapper_subclass(value):
        return NotImplemented
    with torch._C.DisableTorchFunctionSubclass():
        return _as_subclass, (value.as_subclass(torch.Tensor), type(value), vars(value))


def _as_subclass(tensor: torch.Tensor, cls: Any, attributes: dict[str, Any]) -> Any:
    value = tensor.as_subclass(cls)
    vars(value).update(attributes)
    return value


class _Packer(pickle.Pickler):
    persistent_id = _number

    def reducer_override(self, obj: Any) -> Any:
        return _reduce(obj)


class _PackerByValue(ByValuePickler):
    persistent_id = _number

    def reducer_override(self, obj: Any) -> Any:
        reduced = _reduce(obj)
        return super().reducer_override(obj) if reduced is NotImplemented else reduced


class _Unpacker(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__(stream)
        self._tensors = tensors

    def persistent_load(self, number: Any) -> Any:
        return self._tensors[number]


class Wire:
    """One end of a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, value: Any, descriptors: Sequence[Descriptor] = ()) -> None:
        """Send ``value``, which holds no tensors, and descriptors along with it."""
        body = pickle.dumps(value, 5)
        head = _HEADER.pack(len(body), len(descriptors))
        numbers = array.array("i", [descriptor.fileno() for descriptor in descriptors])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)] if numbers else []
        data = memoryview(head + body)
        sent = self.connection.sendmsg([data], rights)
        self.connection.sendall(data[sent:])

    def receive(self) -> tuple[Any, list[Descriptor]]:
        """Return the next value, and the descriptors that came with it.

        Raises:
            EOFError: the other end is gone.
        """
        head, numbers, _, _ = socket.recv_fds(self.connection, _HEADER.size, _MOST)
        descriptors = [Descriptor(number) for number in numbers]
        head += self._exactly(_HEADER.size - len(head)) if head else b""
        if not head:
            raise EOFError("the other process is gone")
        nbytes, count = _HEADER.unpack(head)
        if count != len(descriptors):
            raise OSError("this process has too many files open for another piece of shared memory")
        return pickle.loads(self._exactly(nbytes)), descriptors

    def _exactly(self, nbytes: int) -> bytearray:
        data = bytearray(nbytes)
        view, filled = memoryview(data), 0
        while filled < nbytes:
            count = self.connection.recv_into(view[filled:])
            if not count:
                raise EOFError("the other process is gone in the middle of a message")
            filled += count
        return data
