"""Compressed streams: which decoder, and reading to the very end, where the checksums are.

The decoders of the standard library, isal and zlib-ng share one shape (``Decompressor``), which knows one
stream only. A compressed file may be several, one after the other, as pigz, pbzip2 and ``cat`` write it.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from befit.errors import ArchiveError, MissingDependencyError
from befit.files.member import ByteStream, Chunk

_INPUT = 1 << 16  # bytes that are read at a time
LZMA_MEMORY = 256 << 20  # bytes; `xz -9` needs 65 MiB
_ZSTD_WINDOW = 27  # 128 MiB, as the program zstd takes it without being asked


class Decompressor(Protocol):
    """A decoder of one stream, as ``bz2.BZ2Decompressor`` is one."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended and its checksum was right."""

    @property
    def needs_input(self) -> bool:
        """Whether it has given all that it can from what it was fed."""

    @property
    def unused_data(self) -> bytes:
        """What it was fed behind the end of the stream."""

    def decompress(self, data: Chunk, max_length: int = -1) -> bytes:
        """Take ``data`` and return at most ``max_length`` bytes."""


class Codec(NamedTuple):
    """How to decode one kind of stream, and what that raises for damaged ones."""

    new: Callable[[], Decompressor]
    errors: tuple[type[Exception], ...]

    def feed(self, decoder: Decompressor, data: Chunk, size: int, what: str) -> bytes:
        """Return at most ``size`` bytes of what ``data`` says to ``decoder``.

        Raises:
            ArchiveError: the data is damaged; ``what`` names it.
        """
        try:
            return decoder.decompress(data, size)
        except self.errors as error:
            raise ArchiveError(f"{what} is damaged: {error}") from error


class Decoded:
    """The content of a file that is one or more compressed streams, with zero bytes between and behind."""

    def __init__(self, source: ByteStream, codec: Codec, name: str) -> None:
        self._source = source
        self._codec = codec
        self._name = name
        self._decoder = codec.new()

    def read(self, size: int, /) -> bytes:
        """Return some bytes, at most ``size``; none only at the end.

        Raises:
            ArchiveError: the file is damaged or was cut short. What its own ``read`` raises passes as it is.
        """
        while True:
            data = b""
            if self._decoder.eof:
                data = self._next_stream()
                if not data:
                    return b""
                self._decoder = self._codec.new()
            elif self._decoder.needs_input:
                data = self._source.read(_INPUT)
                if not data:
                    raise ArchiveError(f"{self._name} was cut short")
            if piece := self._codec.feed(self._decoder, data, size, self._name):
                return piece

    def _next_stream(self) -> bytes:
        data = self._decoder.unused_data.lstrip(b"\0")
        while not data:
            more = self._source.read(_INPUT)
            if not more:
                return b""
            data = more.lstrip(b"\0")
        return data


class _Inflate:
    """A ``decompressobj`` of zlib or zlib-ng in the shape of ``Decompressor``."""

    def __init__(self, module: Any, wbits: int) -> None:
        self._inflate = module.decompressobj(wbits)
        self._tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._inflate.eof)

    @property
    def needs_input(self) -> bool:
        return not self._tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inflate.unused_data)

    def decompress(self, data: Chunk, max_length: int = -1) -> bytes:
        found: bytes = self._inflate.decompress(self._tail + data, max(max_length, 0))
        self._tail = self._inflate.unconsumed_tail
        return found


def deflate_codec(*, raw: bool) -> Codec:
    """Return the fastest decoder of gzip that is installed, or of ``raw`` deflate as zip files hold it."""
    try:
        isal = import_module("isal.igzip_lib")
    except ImportError:
        pass
    else:
        flag = isal.DECOMP_DEFLATE if raw else isal.DECOMP_GZIP
        return Codec(lambda: isal.IgzipDecompressor(flag=flag), (isal.error,))
    module: Any = zlib
    with contextlib.suppress(ImportError):
        module = import_module("zlib_ng.zlib_ng")
    return Codec(lambda: _Inflate(module, -15 if raw else 31), (module.error,))


def gzip_codec() -> Codec:
    """Return the decoder of gzip; it compares checksum and length."""
    return deflate_codec(raw=False)


def bzip2_codec() -> Codec:
    """Return the decoder of bzip2."""
    return Codec(bz2.BZ2Decompressor, (OSError, ValueError))


def xz_codec() -> Codec:
    """Return the decoder of xz, with a bound on its memory, which ``lzma.LZMAFile`` cannot be given."""
    return Codec(
        lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=LZMA_MEMORY), (lzma.LZMAError,)
    )


def zstd_codec() -> Codec:
    """Return the decoder of Zstandard, with a bound on its window.

    Raises:
        MissingDependencyError: Python is older than 3.14, and backports.zstd is not installed.
    """
    zstd = _zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
    return Codec(lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError,))


def _zstd_module() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingDependencyError(
        "a Zstandard archive needs the package 'backports.zstd' before Python 3.14, and it is not installed; "
        'write: pip install "befit[files]"',
        name="backports.zstd",
    )
