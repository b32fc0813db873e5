"""Decoders of the compressors that need no HDF5 plugin: deflate by the best library there is, and lzf.

Those called by ctypes run without the GIL.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from h5py import h5z

from befit.hdf5.layout import Filter
from befit.typing import Array

POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t


class UnavailableError(Exception):
    """What a decoder lacks here, in words that follow the name of the filter."""


class Decoder(Protocol):
    """Decompresses chunks; threads may share it."""

    name: str
    """Whose code it is."""

    def __call__(self, stored: Array, out: Array) -> bool:
        """Fill ``out`` from ``stored``, both ``uint8``.

        Returns ``False`` for damaged bytes, and where not exactly ``len(out)`` bytes come.
        """


def source(array: Array) -> int | bytes:
    """Return what ctypes takes as the address of ``array``."""
    # Asking NumPy for an address takes longer than copying this much.
    return array.tobytes() if len(array) <= 16 << 10 else int(array.ctypes.data)


def target(array: Array, offset: int = 0) -> Any:
    """Return what ctypes takes as an address in ``array``, which is not empty."""
    return ctypes.byref(ctypes.c_char.from_buffer(array), offset)  # type: ignore[arg-type]


class _Memory:
    """What a C library allocated, given back with this object."""

    def __init__(self, address: int | None, free: Callable[[int], None]) -> None:
        self._free = free
        self.address = address
        if not address:
            raise MemoryError

    def __del__(self) -> None:
        if self.address:
            self._free(self.address)


class PerThread:
    """The state that a C library needs while it decodes, one for each thread."""

    def __init__(self, allocate: Any, free: Any) -> None:
        allocate.restype = POINTER
        allocate.argtypes = []
        free.argtypes = [POINTER]
        self._allocate, self._free = allocate, free
        self._local = threading.local()

    @property
    def address(self) -> int:
        """Where this thread's state is."""
        memory: _Memory | None = getattr(self._local, "memory", None)
        if memory is None:
            memory = self._local.memory = _Memory(self._allocate(), self._free)
        assert memory.address is not None
        return memory.address


class Libdeflate:
    """The library in the package ``deflate``, called around its Python functions: no copy."""

    name = "libdeflate"

    def __init__(self) -> None:
        library = ctypes.CDLL(importlib.import_module("deflate._deflate").__file__)
        self._decompress = library.libdeflate_zlib_decompress
        self._decompress.argtypes = [POINTER, POINTER, SIZE, POINTER, SIZE, POINTER]
        self._state = PerThread(library.libdeflate_alloc_decompressor, library.libdeflate_free_decompressor)

    def __call__(self, stored: Array, out: Array) -> bool:
        """Decode."""
        # Without a place for the number of bytes that came, another one than len(out) is an error.
        return not self._decompress(
            self._state.address, source(stored), len(stored), target(out), len(out), None
        )

    def decode_each(self, sources: list[int], sizes: list[int], targets: list[int], nbytes: int) -> int:
        """Decode streams at addresses to addresses, each to ``nbytes`` bytes.

        Returns how many were decoded: all of them, or those before the first that is damaged.
        """
        decompress, state = self._decompress, self._state.address
        for number, (source, size, target) in enumerate(zip(sources, sizes, targets, strict=True)):
            if decompress(state, source, size, target, nbytes, None):
                return number
        return len(sources)


class PythonInflate:
    """A function of a module that returns what it decompressed.

    The defaults are those of the standard library's ``zlib`` and of the modules made after it.
    """

    def __init__(
        self, module: str, function: str = "decompress", error: str = "error", size: str = "bufsize"
    ) -> None:
        found = importlib.import_module(module)
        self._decompress: Callable[..., bytes] = getattr(found, function)
        self._error: type[Exception] = getattr(found, error)
        self._size = size
        self.name = module.partition(".")[0]

    def __call__(self, stored: Array, out: Array) -> bool:
        """Decode."""
        try:
            data = self._decompress(stored, **{self._size: len(out)})
        except self._error:
            return False
        if len(data) != len(out):
            return False
        out[:] = np.frombuffer(data, np.uint8)
        return True


INFLATE: tuple[Callable[[], Decoder], ...] = (
    Libdeflate,
    functools.partial(PythonInflate, "deflate", "zlib_decompress", "DeflateError", "originalsize"),
    functools.partial(PythonInflate, "isal.isal_zlib"),
    functools.partial(PythonInflate, "zlib_ng.zlib_ng"),
    functools.partial(PythonInflate, "zlib"),
)
"""The fastest first; the last one is always there."""


def deflate(_filter: Filter) -> Decoder:
    """Return the first of ``INFLATE`` that works here."""
    for make in INFLATE:
        try:
            return make()
        except (ImportError, OSError, AttributeError):  # not installed, or its functions are hidden
            continue
    raise UnavailableError("needs the module zlib")


class Lzf:
    """The compressor that h5py brings."""

    name = "h5py"

    def __init__(self, _filter: Filter) -> None:
        try:
            self._decompress = ctypes.CDLL(h5z.__file__).lzf_decompress
        except (OSError, AttributeError):
            raise UnavailableError("is hidden in this build of h5py") from None
        self._decompress.restype = ctypes.c_uint
        self._decompress.argtypes = [POINTER, ctypes.c_uint, POINTER, ctypes.c_uint]

    def __call__(self, stored: Array, out: Array) -> bool:
        """Decode."""
        if not len(stored) or max(len(stored), len(out)) >> 32:  # it takes 32 bits
            return False
        count: int = self._decompress(source(stored), len(stored), target(out), len(out))
        return count == len(out)
