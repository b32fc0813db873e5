"""The bytes of an HDF5 file, wherever they are: mapped, read with ``pread``, or far away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from befit.typing import Array


class Storage(Protocol):
    """Reads bytes of one file at given addresses; safe to be used by several threads at once."""

    @property
    def nbytes(self) -> int:
        """Bytes of the file when it was opened."""

    def check(self) -> None:
        """See whether the file still is what it was.

        Raises:
            DatasetError: it has another size or time of change; numbers read from it would be wrong.
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

    def announce(self, addresses: Sequence[int], sizes: Sequence[int]) -> None:
        """Have spans read ahead that will be asked for soon, where that costs nothing if they are not."""
