"""Messages between the loader and a worker process, over a socket: whole, in order, with descriptors.

A message is a header and a body: the sizes of its parts, and the parts, each at a multiple of 16 bytes. The
loader's end never blocks, so that both ends can write at once without waiting for each other for ever; the
worker's end does.
"""

from __future__ import annotations

import array
import enum
import errno
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from befit._internal.memory import Descriptor

_HEADER = struct.Struct("<BBxxIQQ")  # kind, number of descriptors, number of parts, ticket, bytes of the body
_ALIGNMENT = 16  # of parts in a message: what every allocator gives the body
_SMALL = 64 * 1024  # bytes; what is smaller is put together and sent, or read, in one system call
_PARTS_PER_CALL = 64  # of sendmsg; the system's limit is 1024
_SOCKET_BUFFER = 1 << 20
_ROOM_FOR_DESCRIPTOR = socket.CMSG_SPACE(array.array("i").itemsize)
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_NAP = 0.001  # seconds
_NOTHING = memoryview(b"")


class Kind(enum.IntEnum):
    """What a message says."""

    SOURCE = 1  # to a worker: the source, or what is new of it
    TASKS = 2  # to a worker: compute batches
    BATCH = 3  # from a worker: the batch
    FAILURE = 4  # from a worker: the exception that came instead
    REFUSED = 5  # from a worker: the source cannot be rebuilt
    SEGMENT = 6  # to a worker: shared memory with large arrays of the source
    SURROUNDINGS = 7  # to a worker: what is to be entered around its work, such as custom object scopes


_KINDS = {int(kind): kind for kind in Kind}  # a table, because enum calls are slow


class Message(NamedTuple):
    """A message that has arrived."""

    kind: Kind
    ticket: int
    parts: list[memoryview]
    """The parts, writable; together they own their memory."""
    descriptor: Descriptor | None
    """What was sent along; ``None``: nothing, or this process had no room for another descriptor."""


class Channel:
    """One end of a socket: messages to send, in order, and messages that come."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._connection = connection
        self._waits = connection.getblocking()
        self._is_drained = False  # whether the last look at the socket left nothing in it
        self._unsent: deque[tuple[memoryview, Descriptor | None]] = deque()
        self._inbox = memoryview(bytearray(_SMALL))
        self._read = self._written = 0  # between them stands what has come and belongs to no message yet
        self._descriptors: deque[Descriptor | None] = deque()
        self._head: tuple[int, int, int, int] | None = None  # of the message that is coming in
        self._body = _NOTHING
        self._filled = 0

    def fileno(self) -> int:
        """Return the descriptor of the socket, for ``poll``."""
        return self._connection.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits for room in the socket."""
        return bool(self._unsent)

    def post(
        self,
        kind: Kind,
        ticket: int,
        parts: Sequence[Any],
        descriptor: Descriptor | None = None,
    ) -> None:
        """Put a message in line, and send what the socket takes.

        Args:
            kind: What it says.
            ticket: The task that it is about, or 0.
            parts: Bytes, or arrays, which are not copied if they are large and C-contiguous.
            descriptor: What to send along; it stays open here as long as something refers to it.

        Raises:
            OSError: the other end is gone; or, on a socket that waits, the system has no room for the
                descriptor on its way, and nothing was sent.
        """
        sizes = [len(part) if isinstance(part, bytes) else part.nbytes for part in parts]
        pieces: list[Any] = [_padded(struct.pack(f"<{len(sizes)}Q", *sizes))]
        length = len(pieces[0])
        for part, size in zip(parts, sizes, strict=True):
            pieces.append(part)
            gap = -size % _ALIGNMENT
            if gap:
                pieces.append(bytes(gap))
            length += size + gap
        head = _HEADER.pack(kind, descriptor is not None, len(sizes), ticket, length)
        if length <= _SMALL:
            whole = b"".join([head, *[p if isinstance(p, bytes) else p.tobytes() for p in pieces]])
            self._unsent.append((memoryview(whole), descriptor))
        else:
            self._unsent.append((memoryview(head), descriptor))
            self._unsent.extend((view, None) for piece in pieces if (view := _as_bytes(piece)))
        self.flush()

    def flush(self) -> None:
        """Send until nothing is left, or until a socket that must not block would."""
        while self._unsent:
            first, descriptor = self._unsent[0]
            try:
                if descriptor is not None:
                    sent = self._send_with(descriptor, first)
                elif len(self._unsent) == 1:
                    sent = self._connection.send(first)
                else:
                    sent = self._connection.sendmsg(self._next_views())
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS and not self._waits:
                    time.sleep(_NAP)  # other ends have not read the descriptors that are on their way
                    return
                raise
            while sent:
                first = self._unsent[0][0]
                if sent < first.nbytes:
                    self._unsent[0] = (first[sent:], None)
                    break
                sent -= self._unsent.popleft()[0].nbytes

    def _send_with(self, descriptor: Descriptor, view: memoryview) -> int:
        numbers = array.array("i", [descriptor.fileno()])
        try:
            return self._connection.sendmsg([view], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
        except BlockingIOError:
            raise
        except OSError:
            if self._waits:
                self._unsent.clear()  # all of this message
            raise

    def _next_views(self) -> list[memoryview]:
        views: list[memoryview] = []
        for view, descriptor in self._unsent:
            if descriptor is not None or len(views) == _PARTS_PER_CALL:
                break
            views.append(view)
        return views

    def receive(self) -> Message | None:
        """Return the next message; ``None``: it is not there yet, on a socket that must not block.

        Raises:
            EOFError: the other end is gone.
        """
        while not self._is_complete():
            if not self._read_more():
                return None
        assert self._head is not None
        kind, descriptors, count, ticket = self._head
        body, self._body, self._head = self._body, _NOTHING, None
        sizes = struct.unpack_from(f"<{count}Q", body)
        place = _aligned(8 * count)
        parts = []
        for size in sizes:
            parts.append(body[place : place + size])
            place = _aligned(place + size)
        return Message(_KINDS[kind], ticket, parts, self._descriptors.popleft() if descriptors else None)

    def _is_complete(self) -> bool:
        """Take what the inbox has of the next message; return whether that is all of it."""
        if self._head is None:
            if self._written - self._read < _HEADER.size:
                return False
            *head, length = _HEADER.unpack_from(self._inbox, self._read)
            self._head = (head[0], head[1], head[2], head[3])
            self._read += _HEADER.size
            # Not initialized, for a large one: zeros would be written to memory for nothing.
            body: Any = bytearray(length) if length <= _SMALL else np.empty(length, np.uint8)
            self._body = memoryview(body)
            self._filled = 0
        missing = self._body.nbytes - self._filled
        taken = min(missing, self._written - self._read)
        if taken:
            self._body[self._filled : self._filled + taken] = self._inbox[self._read : self._read + taken]
            self._filled += taken
            self._read += taken
        return taken == missing

    def _read_more(self) -> bool:
        """Read what there is; return whether there was anything."""
        if self._is_drained:
            self._is_drained = False
            return False
        try:
            if self._body.nbytes - self._filled >= _SMALL:  # then the inbox is empty
                received = self._connection.recv_into(self._body[self._filled :])
                self._filled += received
            else:
                received = self._fill_inbox()
        except BlockingIOError:
            return False
        except ConnectionResetError:
            received = 0
        if not received:
            raise EOFError("the other end of the channel is closed")
        return True

    def _fill_inbox(self) -> int:
        left = self._written - self._read
        if left:
            self._inbox[:left] = self._inbox[self._read : self._written]
        self._read, self._written = 0, left
        received, ancillary, flags, _ = self._connection.recvmsg_into(
            [self._inbox[left:]], _ROOM_FOR_DESCRIPTOR, _CLOSE_ON_EXEC
        )
        self._written += received
        self._is_drained = not self._waits and 0 < received < len(self._inbox) - left
        for _, _, numbers in ancillary:
            self._descriptors.extend(Descriptor(number) for number in array.array("i", numbers))
        if flags & socket.MSG_CTRUNC and not ancillary:
            self._descriptors.append(None)
        return received

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


def _aligned(place: int) -> int:
    return (place + _ALIGNMENT - 1) & -_ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)


def _as_bytes(piece: Any) -> memoryview:
    if isinstance(piece, bytes):
        return memoryview(piece)
    if not piece.nbytes:
        return _NOTHING
    flat: Any = np.ascontiguousarray(piece).reshape(-1).view(np.uint8)
    return memoryview(flat)
