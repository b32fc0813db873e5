"""The bytes of an HDF5 file, wherever they are: mapped, read with ``pread``, or far away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from befit.typing import Array


class Storage(Protocol):
    """Reads bytes of one file at given addresses; safe to be used by several threads at once.

    Each read first sees whether the file still is what it was when it was opened, and raises a
    ``DatasetError`` if it is not: the numbers would be wrong.
    """

    def rows(self, addresses: Array, nbytes: int) -> Array:
        """Return ``nbytes`` bytes from each address, as a new ``uint8`` array ``(len(addresses), nbytes)``.

        ``addresses`` is ``int64`` of shape ``(n,)``, in any order and with duplicates; every range lies in
        the file.
        """

    def spans(self, addresses: Sequence[int], sizes: Sequence[int]) -> Sequence[Array]:
        """Return the bytes of each span, as ``uint8`` arrays that must not be written to.

        What is returned may be a view of the file.
        """
