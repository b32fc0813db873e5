"""Messages between the loader and a worker process: pickle protocol 5 over a socket, large buffers uncopied.

A message is a header, the sizes of its parts, and the parts: one pickle and the buffers that it refers to.
The loader's end never blocks, so that both ends can write at once without waiting for each other for ever;
the worker's end does.
"""

from __future__ import annotations

import enum
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

_HEADER = struct.Struct("<BQI")  # kind, ticket, number of parts
_PARTS_PER_CALL = 64  # of sendmsg; the system's limit is 1024
_SOCKET_BUFFER = 1 << 20


class Kind(enum.IntEnum):
    """What a message says."""

    SOURCE = 1  # to a worker: the source, whole
    CHANGES = 2  # to a worker: attributes that changed, and names of those that are gone
    TASK = 3  # to a worker: compute a batch
    BATCH = 4  # from a worker: the batch
    FAILURE = 5  # from a worker: the exception that came instead
    REFUSED = 6  # from a worker: the source cannot be rebuilt


class Message(NamedTuple):
    """A message that has arrived."""

    kind: Kind
    ticket: int
    parts: list[Any]

    def load(self) -> Any:
        """Return what was encoded."""
        return pickle.loads(self.parts[0], buffers=self.parts[1:])


def encode(value: Any) -> list[Any]:
    """Return ``value`` as a pickle and the buffers that it refers to, which are not copied."""
    try:
        return _encode(value, pickle.dumps)
    except Exception:  # noqa: BLE001 - pickle has no common error; cloudpickle takes classes of __main__ too
        return _encode(value, cloudpickle.dumps)


def _encode(value: Any, dumps: Callable[..., bytes]) -> list[Any]:
    buffers: list[pickle.PickleBuffer] = []
    pickled = dumps(value, protocol=5, buffer_callback=buffers.append)
    return [pickled, *(buffer.raw() for buffer in buffers)]


class Channel:
    """One end of a socket: messages to send, in order, and messages that come."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._connection = connection
        self._unsent: deque[memoryview] = deque()
        self._messages = self._receive_messages()

    def fileno(self) -> int:
        """Return the descriptor of the socket, for ``poll``."""
        return self._connection.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for room in the socket."""
        return bool(self._unsent)

    def post(self, kind: Kind, ticket: int, parts: list[Any]) -> None:
        """Put a message in line, and send what the socket takes.

        Raises:
            OSError: the other end is gone.
        """
        views = [memoryview(part).cast("B") for part in parts]
        sizes = struct.pack(f"<{len(views)}Q", *(view.nbytes for view in views))
        head = memoryview(_HEADER.pack(kind, ticket, len(views)) + sizes)
        self._unsent.extend(view for view in (head, *views) if view.nbytes)
        self.flush()

    def flush(self) -> None:
        """Send until nothing is left, or until a socket that must not block would."""
        while self._unsent:
            try:
                sent = self._connection.sendmsg(list(islice(self._unsent, _PARTS_PER_CALL)))
            except BlockingIOError:
                return
            while sent:
                first = self._unsent[0]
                if sent < first.nbytes:
                    self._unsent[0] = first[sent:]
                    break
                sent -= self._unsent.popleft().nbytes

    def receive(self) -> Message | None:
        """Return the next message; ``None``: it is not there yet, on a socket that must not block.

        Raises:
            EOFError: the other end is gone.
        """
        try:
            return next(self._messages)
        except (ConnectionResetError, StopIteration):
            raise EOFError("the other end of the channel is closed") from None

    def _receive_messages(self) -> Generator[Message | None, None, None]:
        # A generator, because it remembers where in a message it had to stop.
        while True:
            header = bytearray(_HEADER.size)
            yield from self._fill(header)
            kind, ticket, count = _HEADER.unpack(header)
            sizes = bytearray(8 * count)
            yield from self._fill(sizes)
            parts = []
            for size in struct.unpack(f"<{count}Q", sizes):
                part = np.empty(size, np.uint8)  # writable, as the arrays made from it shall be
                yield from self._fill(part)
                parts.append(part)
            yield Message(Kind(kind), ticket, parts)

    def _fill(self, target: Any) -> Generator[None, None, None]:
        view = memoryview(target)
        while view:
            try:
                received = self._connection.recv_into(view)
            except BlockingIOError:
                yield None
                continue
            if received == 0:
                raise EOFError("the other end of the channel is closed")
            view = view[received:]

    def end_sending(self) -> None:
        """Let the other end see the end of the messages."""
        self._unsent.clear()
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone already

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()
