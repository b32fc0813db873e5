"""Decoders that the package ``hdf5plugin`` brings, called without HDF5; and the table of all decoders.

They run without the GIL. Stored bytes may be damaged: what a decoder would believe without a check (how long
a block is, how many bytes come out) is compared with what there is beforehand.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import struct
import threading
from collections.abc import Callable

from befit.hdf5.decoders import (
    POINTER,
    SIZE,
    Decoder,
    Lzf,
    PerThread,
    UnavailableError,
    deflate,
    source,
    target,
)
from befit.hdf5.layout import Filter
from befit.typing import Array


def _plugin_library(filter_: Filter) -> ctypes.CDLL:
    if os.name != "posix":
        raise UnavailableError("is decoded by HDF5 only on this system")
    try:
        config = importlib.import_module("hdf5plugin").get_config()
    except ImportError:
        raise UnavailableError("needs the package hdf5plugin") from None
    try:
        return ctypes.CDLL(config.registered_filters[_PLUGINS[filter_.number]])
    except (KeyError, OSError):
        raise UnavailableError("does not come from the package hdf5plugin here") from None


class Zstd:
    """The library in hdf5plugin's filter, around the filter's own copies."""

    name = "hdf5plugin"

    def __init__(self, filter_: Filter) -> None:
        library = _plugin_library(filter_)
        try:
            self._decompress = library.ZSTD_decompressDCtx
            self._state = PerThread(library.ZSTD_createDCtx, library.ZSTD_freeDCtx)
        except AttributeError:
            raise UnavailableError("is hidden in this build of hdf5plugin") from None
        self._decompress.restype = SIZE
        self._decompress.argtypes = [POINTER, POINTER, SIZE, POINTER, SIZE]

    def __call__(self, stored: Array, out: Array) -> bool:
        """Decode."""
        count: int = self._decompress(self._state.address, target(out), len(out), source(stored), len(stored))
        return count == len(out)  # an error is a number near 2**64


class Lz4:
    """The library in hdf5plugin's filter.

    The filter itself uses the function that trusts the stored bytes; this one does not.
    """

    name = "hdf5plugin"

    def __init__(self, filter_: Filter) -> None:
        try:
            self._decompress = _plugin_library(filter_).LZ4_decompress_safe
        except AttributeError:
            raise UnavailableError("is hidden in this build of hdf5plugin") from None
        self._decompress.argtypes = [POINTER, POINTER, ctypes.c_int, ctypes.c_int]

    def __call__(self, stored: Array, out: Array) -> bool:
        """Decode: bytes of all (8), of a block (4), then each block after its length (4), big-endian."""
        if len(stored) < 12:
            return False
        total, block = struct.unpack(">QI", stored[:12].tobytes())
        if total != len(out) or not block:
            return False
        position, done = 12, 0
        while done < total:
            block = min(block, total - done)
            length = int.from_bytes(stored[position : position + 4].tobytes(), "big")
            position += 4
            if position + length > len(stored) or max(length, block) >> 31:
                return False
            data = stored[position : position + length]
            if length == block:  # did not become smaller, is stored as it was
                out[done : done + block] = data
            elif self._decompress(source(data), target(out, done), length, block) != block:
                return False
            position += length
            done += block
        return True


class _FilterClass(ctypes.Structure):
    """``H5Z_class2_t``."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("number", ctypes.c_int),
        ("encodes", ctypes.c_uint),
        ("decodes", ctypes.c_uint),
        ("name_and_callbacks", POINTER * 3),
        ("filter", POINTER),
    )


# Takes flags, options (how many, where), the bytes in the buffer, and where two things stand that the filter
# may replace: the bytes allocated for the buffer, its address. Returns how many bytes came out; 0: an error.
_FilterFunction = ctypes.CFUNCTYPE(SIZE, ctypes.c_uint, SIZE, POINTER, SIZE, POINTER, POINTER)
_REVERSE = 0x0100
_PADDING = 64  # zeros behind the stored bytes and options, some of which filters read without asking

# Blosc keeps state for the whole process, which its first call makes without a lock. Held over a fork, so
# that a child never finds that state half done, or Blosc's own lock taken by a thread that it does not have.
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Plugin:
    """A filter of hdf5plugin, called as libhdf5 would."""

    name = "hdf5plugin"

    def __init__(self, filter_: Filter) -> None:
        library = _plugin_library(filter_)
        library.H5PLget_plugin_info.restype = ctypes.POINTER(_FilterClass)
        self._library = library
        self._filter = _FilterFunction(library.H5PLget_plugin_info()[0].filter)
        self._options = (ctypes.c_uint * (len(filter_.options) + _PADDING))(*filter_.options)
        self._option_count = len(filter_.options)
        self._libc = ctypes.CDLL(None)
        self._libc.malloc.restype = POINTER
        self._libc.malloc.argtypes = [SIZE]
        self._libc.free.argtypes = [POINTER]

    def __call__(self, stored: Array, out: Array) -> bool:
        """Decode."""
        if not self._plausible(stored, out):
            return False
        allocated = ctypes.c_size_t(len(stored) + _PADDING)
        buffer = ctypes.c_void_p(self._libc.malloc(allocated))
        if not buffer:
            raise MemoryError
        try:
            ctypes.memmove(buffer, source(stored), len(stored))
            ctypes.memset((buffer.value or 0) + len(stored), 0, _PADDING)
            count = self._call(len(stored), allocated, buffer)
            if count != len(out) or count > allocated.value:
                return False
            ctypes.memmove(target(out), buffer, count)
            return True
        finally:
            self._libc.free(buffer)

    def _plausible(self, stored: Array, out: Array) -> bool:
        """Return whether the filter may see these bytes."""
        return len(stored) > 0

    def _call(self, nbytes: int, allocated: ctypes.c_size_t, buffer: ctypes.c_void_p) -> int:
        return self._filter(  # type: ignore[no-any-return]
            _REVERSE,
            self._option_count,
            ctypes.byref(self._options),
            nbytes,
            ctypes.byref(allocated),
            ctypes.byref(buffer),
        )


class Blosc(Plugin):
    """Blosc 1; decodes one chunk at a time, whatever the number of threads."""

    def _plausible(self, stored: Array, out: Array) -> bool:
        if len(stored) < 16:
            return False
        nbytes, _, stored_bytes = struct.unpack("<III", stored[4:16].tobytes())
        return bool(nbytes == len(out) and 16 <= stored_bytes <= len(stored))

    def _call(self, nbytes: int, allocated: ctypes.c_size_t, buffer: ctypes.c_void_p) -> int:
        with _lock:
            return super()._call(nbytes, allocated, buffer)


class Blosc2(Plugin):
    """Blosc 2: its state is made by the first call, and thrown away by one that fails."""

    _settled = False

    def _call(self, nbytes: int, allocated: ctypes.c_size_t, buffer: ctypes.c_void_p) -> int:
        if Blosc2._settled:
            count = super()._call(nbytes, allocated, buffer)
        else:
            with _lock:
                count = super()._call(nbytes, allocated, buffer)
        Blosc2._settled = count > 0
        return count


class Bitshuffle(Plugin):
    """Bitshuffle, with or without a compressor."""

    def __init__(self, filter_: Filter) -> None:
        super().__init__(filter_)
        self._itemsize, _, compressor = self._options[2:5]
        self._compressed = compressor in (2, 3)  # LZ4, Zstandard
        if self._option_count < 3 or not self._itemsize:
            raise UnavailableError("has no size of items")

    def _plausible(self, stored: Array, out: Array) -> bool:
        """Follow the lengths of the blocks: like those of ``Lz4``, the last items behind them."""
        if not self._compressed:
            return len(stored) == len(out)
        if len(stored) < 12:
            return False
        total, block_bytes = struct.unpack(">QI", stored[:12].tobytes())
        block = block_bytes // self._itemsize
        if total != len(out) or not block or block % 8:
            return False
        items = total // self._itemsize
        blocks = items // block + (items % block >= 8)
        position = 12
        view = memoryview(stored)  # type: ignore[arg-type]
        for _ in range(blocks):
            position += 4 + int.from_bytes(view[position : position + 4], "big")
            if position > len(stored):
                return False
        return bool(position + items % 8 * self._itemsize <= len(stored))


_PLUGINS = {32001: "blosc", 32004: "lz4", 32008: "bshuf", 32015: "zstd", 32026: "blosc2"}

COMPRESSORS: dict[int, Callable[[Filter], Decoder]] = {
    1: deflate,
    32000: Lzf,
    32001: Blosc,
    32004: Lz4,
    32008: Bitshuffle,
    32015: Zstd,
    32026: Blosc2,
}
"""Make the decoder of a filter; raise ``UnavailableError``."""
