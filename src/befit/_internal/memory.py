"""Memory that processes share: no name, no place in /dev/shm, no descriptor while it is mapped.

The kernel frees it when the last process that maps it is gone, however that process ended.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
from typing import Any, TypeAlias

Lease: TypeAlias = Any
"""A ctypes array that arrays in mapped memory refer to: as long as one of them lives, so does the lease."""

_PAGE = mmap.PAGESIZE
_FAILED = ctypes.c_void_p(-1).value


def _system() -> Any:
    """Return the C library; only POSIX systems have this part of it."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    return library


_libc = _system() if os.name == "posix" else None


class Descriptor:
    """An open file descriptor, closed when nothing refers to it any more."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return the number."""
        return self._number

    def close(self) -> None:
        """Close it; a second call does nothing."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __del__(self) -> None:
        self.close()


def create(nbytes: int) -> Descriptor:
    """Return new memory of at least ``nbytes`` bytes, all zero.

    Raises:
        OSError: there is no memory or no descriptor left.
    """
    if sys.platform == "linux":
        descriptor = Descriptor(os.memfd_create("befit", os.MFD_CLOEXEC))
    else:
        with tempfile.TemporaryFile(prefix="befit-") as file:
            descriptor = Descriptor(os.dup(file.fileno()))
    os.ftruncate(descriptor.fileno(), _whole_pages(nbytes))
    return descriptor


def same_bytes(first: int, second: int, nbytes: int) -> bool:
    """Return whether memory at two addresses is equal; ten times as fast as a digest."""
    assert _libc is not None
    return bool(_libc.memcmp(first, second, nbytes) == 0)


def _whole_pages(nbytes: int) -> int:
    return max(_PAGE, -(-nbytes // _PAGE) * _PAGE)


class Memory:
    """A mapping of shared memory, unmapped when neither it nor one of its leases is referred to.

    Not ``mmap.mmap``, which keeps a descriptor open for each mapping: a consumer that keeps a thousand
    batches would run out of them.

    Args:
        descriptor: What ``create`` returned, here or in another process; may be closed afterwards.
        nbytes: How much of it is wanted.
        private: What is written stays in this process.

    Raises:
        OSError: the process has no room for another mapping.
    """

    __slots__ = ("__weakref__", "address", "nbytes")

    def __init__(self, descriptor: Descriptor, nbytes: int, *, private: bool = False) -> None:
        assert _libc is not None
        self.address = 0
        self.nbytes = _whole_pages(nbytes)
        address = _libc.mmap(
            None,
            self.nbytes,
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_PRIVATE if private else mmap.MAP_SHARED,
            descriptor.fileno(),
            0,
        )
        if address in (None, _FAILED):
            code = ctypes.get_errno()
            raise OSError(code, f"cannot map {self.nbytes} bytes of shared memory: {os.strerror(code)}")
        self.address = address

    def lease(self) -> Lease:
        """Return a new lease of all the memory, which keeps it mapped."""
        # A ctypes array and no NumPy array: NumPy lets a view of a view refer to the innermost array, so an
        # array in between may die while its memory is still in use.
        lease: Lease = (ctypes.c_char * self.nbytes).from_address(self.address)
        lease._memory = self
        return lease

    def __del__(self) -> None:
        if self.address and _libc is not None:
            _libc.munmap(self.address, self.nbytes)
