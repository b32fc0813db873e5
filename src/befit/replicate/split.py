"""How many rows of a batch each replica gets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, pairwise

from befit.errors import ReplicationError


def sub_batch_sizes(rows: int, replicas: int) -> list[int]:
    """Return the sizes of the sub-batches: as even as possible, none empty unless the batch is.

    >>> sub_batch_sizes(64, 2), sub_batch_sizes(7, 4), sub_batch_sizes(1, 4)
    ([32, 32], [2, 2, 2, 1], [1])
    """
    count = max(1, min(rows, replicas))
    size, remainder = divmod(rows, count)
    return [size + (index < remainder) for index in range(count)]


def row_ranges(sizes: list[int]) -> list[tuple[int, int]]:
    """Return first row and end of each sub-batch.

    >>> row_ranges([2, 2, 1])
    [(0, 2), (2, 4), (4, 5)]
    """
    return list(pairwise(accumulate(sizes, initial=0)))


def common_length(lengths: Iterable[int], of: str) -> int:
    """Return the number that all ``lengths``, which are the rows ``of`` something, agree on.

    Raises:
        ReplicationError: they do not, or there are none.
    """
    found = sorted(set(lengths))
    if len(found) != 1:
        raise ReplicationError(
            f"{of} have {' and '.join(map(str, found)) or 'no'} rows; all need the same number"
        )
    return found[0]
