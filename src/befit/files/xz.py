"""xz files with a bound on memory, which ``lzma.LZMAFile`` cannot be given."""

from __future__ import annotations

import lzma
from typing import BinaryIO

_MEMORY_LIMIT = 256 << 20  # bytes; `xz -9` needs 65 MiB
_CHUNK = 1 << 16


class XzReader:
    """The content of an xz file, read once from start to end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = self._new_decoder()

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end.

        Raises:
            EOFError: the file is damaged or cut short.
        """
        pieces: list[bytes] = []
        have = 0
        while have < size:
            piece = self._piece(size - have)
            if piece is None:
                break
            pieces.append(piece)
            have += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Do nothing: the file below belongs to who opened it."""

    def _piece(self, most: int) -> bytes | None:
        data = b""
        if self._decoder.eof:
            data = self._next_stream()
            if not data:
                return None
            self._decoder = self._new_decoder()
        elif self._decoder.needs_input:
            data = self._file.read(_CHUNK)
            if not data:
                raise EOFError("the xz file was cut short")
        try:
            return self._decoder.decompress(data, most)
        except lzma.LZMAError as error:
            raise EOFError(str(error)) from error

    def _next_stream(self) -> bytes:
        """Return the start of the next stream in the file; between streams lie at most zero bytes."""
        data = self._decoder.unused_data.lstrip(b"\0")
        while not data:
            more = self._file.read(_CHUNK)
            if not more:
                return b""
            data = more.lstrip(b"\0")
        return data

    @staticmethod
    def _new_decoder() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY_LIMIT)
