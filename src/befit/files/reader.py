"""A buffer over a stream of bytes: small pieces are cut out of it without being copied again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from befit.errors import ArchiveError
from befit.files.member import ByteStream

_CHUNK = 1 << 16  # bytes; larger ones are mapped anew each time, and leave the processor's cache


class Reader:
    """A stream, read from start to end; ``name`` stands for it in errors."""

    def __init__(
        self, stream: ByteStream, name: str, count: Callable[[int], None] = lambda size: None
    ) -> None:
        self._stream = stream
        self._name = name
        self._count = count  # is told of all bytes before they are used
        self._start = 0  # where in the stream the buffer lies
        self._buffer = b""
        self._view = memoryview(b"")
        self._at = 0

    @property
    def position(self) -> int:
        """Where in the stream the next byte lies."""
        return self._start + self._at

    def take(self, size: int) -> bytes:
        """Return ``size`` bytes; fewer only at the end."""
        if self._at + size > len(self._buffer):
            self._extend(size)
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece

    def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes.

        Raises:
            ArchiveError: there are not so many.
        """
        end = self._at + size
        if end <= len(self._buffer):
            piece = self._buffer[self._at : end]
            self._at = end
            return piece
        piece = self.take(size)
        if len(piece) < size:
            raise self.cut_short()
        return piece

    def cut_short(self) -> ArchiveError:
        """Return the error for a stream that ends where it should not."""
        return ArchiveError(f"{self._name} was cut short")

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes and leave them there; fewer only at the end."""
        piece = self.take(size)
        self._at -= len(piece)
        return piece

    def chunks(self, size: int) -> Iterable[memoryview]:
        """Return the next ``size`` bytes in pieces; to be read before anything else is.

        Raises:
            ArchiveError: there are not so many.
        """
        end = self._at + size
        if end > len(self._buffer):
            return self._pieces(size)
        piece = self._view[self._at : end]
        self._at = end
        return (piece,)

    def skip_to(self, position: int) -> None:
        """Go forward to ``position``.

        Raises:
            ArchiveError: the stream ends before it.
        """
        at = position - self._start
        if at <= len(self._buffer):
            self._at = at
            return
        for _ in self._pieces(at - self._at):
            pass

    def _pieces(self, size: int) -> Iterator[memoryview]:
        while size:
            if self._at == len(self._buffer) and not self._next():
                raise self.cut_short()
            piece = self._view[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def _next(self) -> bool:
        """Replace the buffer, all of which was read; return whether there was more."""
        return self._replace(b"", self._stream.read(_CHUNK))

    def _extend(self, size: int) -> None:
        """Have ``size`` bytes in the buffer behind the place, if there are so many."""
        while len(self._buffer) - self._at < size:
            more = self._stream.read(_CHUNK)
            if not self._replace(self._buffer[self._at :], more):
                break

    def _replace(self, rest: bytes, more: bytes) -> bool:
        self._count(len(more))
        self._start += self._at
        self._buffer = rest + more if rest else more
        self._view = memoryview(self._buffer)
        self._at = 0
        return bool(more)


class SeekingReader(Reader):
    """A file, read at any place."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        super().__init__(file, name)
        self._file = file
        file.seek(0)

    def seek(self, position: int) -> None:
        """Go to ``position``."""
        at = position - self._start
        if 0 <= at <= len(self._buffer):
            self._at = at
            return
        self._file.seek(position)
        self._start, self._buffer, self._view, self._at = position, b"", memoryview(b""), 0

    def end(self) -> int:
        """Go to the end of the file and return its place."""
        end = self._file.seek(0, 2)
        self._start, self._buffer, self._view, self._at = end, b"", memoryview(b""), 0
        return end
