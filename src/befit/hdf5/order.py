"""In which order an epoch takes the rows of a dataset: a value that seed and epoch decide.

*Chunk order* suits files: the dataset is cut into groups of neighbouring rows (whole chunks), the groups are
shuffled, some of them at a time form a *window*, and the rows of a window are shuffled. A chunk is needed in
one window only, so it is decoded once an epoch. What a window holds is made when it is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.random  # NumPy imports it late; a fork in the middle of that would leave its lock taken

from befit.errors import ArgumentError
from befit.typing import Array

Shuffle = bool | Literal["batch", "chunks"]

_GROUP_BYTES = 64 << 10  # smaller chunks are taken together: disks and networks like it
_WINDOW_BYTES = 32 << 20
_FEWEST_GROUPS = 4  # of a window, however large chunks are
_NEAR = 3  # windows on either side that are remembered


def checked_shuffle(shuffle: object) -> Shuffle:
    """Return ``shuffle`` if it is one of the ways there are.

    Raises:
        ArgumentError: it is not.
    """
    if isinstance(shuffle, str) and shuffle in ("batch", "chunks"):
        return shuffle  # type: ignore[return-value]
    if isinstance(shuffle, bool | np.bool_):
        return bool(shuffle)
    raise ArgumentError(f"shuffle is {shuffle!r}; write True, False, 'batch' or 'chunks'")


@dataclass(frozen=True)
class Window:
    """The blocks (chunks of rows) that chunk order works with at one time."""

    current: Array
    """Those that the rows of a batch are in."""
    coming: Array
    """Those of the next window; empty after the last one, and while a batch ends a window."""
    room: int
    """Blocks of as many windows as are in use at once: loaders ask for batches out of order."""


@dataclass(frozen=True)
class Rows:
    """The rows of a batch."""

    rows: range | Array
    """Numbers in ``[start, end)`` of the dataset, in the order of the batch."""
    window: Window | None = None
    """In chunk order, where they come from."""


class EpochOrder:
    """The batches of one epoch.

    Args:
        start: First row.
        end: Row after the last one.
        batch_size: Rows of a batch.
        shuffle: How they are shuffled.
        seed: With ``epoch`` it decides every order.
        epoch: Number of the epoch.
        block_rows: Rows that are decoded together.
        row_bytes: Bytes of a row.
        window_rows: Rows of a window, about; ``None``: 32 MiB of them.
    """

    def __init__(
        self,
        start: int,
        end: int,
        batch_size: int,
        shuffle: Shuffle,
        seed: int,
        epoch: int,
        *,
        block_rows: int,
        row_bytes: int,
        window_rows: int | None = None,
    ) -> None:
        self._start, self._end = start, end
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = (seed, epoch)
        self._block_rows = block_rows
        self._order: Array | None = None  # of rows, or of batches
        self._windows: dict[int, tuple[Array, Array]] = {}
        rng = _generator(*self._seed, 0)
        if shuffle is True:
            self._order = rng.permutation(end - start)
        elif shuffle == "batch":
            # As Keras did it: a last batch that is not full stays the last.
            self._order = rng.permutation((end - start) // batch_size)
        elif shuffle == "chunks":
            blocks_in_group = max(1, _GROUP_BYTES // (block_rows * row_bytes))
            self._group_rows = blocks_in_group * block_rows
            wanted = window_rows or _WINDOW_BYTES // row_bytes
            in_window = max(_FEWEST_GROUPS if window_rows is None else 1, wanted // self._group_rows)
            first, last = start // self._group_rows, -(-end // self._group_rows)
            groups = rng.permutation(np.arange(first, last))
            in_batch = -(-batch_size // (in_window * self._group_rows))  # windows
            self._room = (2 + in_batch) * in_window * blocks_in_group
            self._group_windows = [groups[i : i + in_window] for i in range(0, len(groups), in_window)]
            sizes = [int((self._clipped(w + 1) - self._clipped(w)).sum()) for w in self._group_windows]
            self._borders = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return math.ceil((self._end - self._start) / self._batch_size)

    def __getitem__(self, index: int) -> Rows:
        """Return batch number ``index``, ``0 <= index < len(self)``."""
        if self._shuffle == "batch":
            assert self._order is not None
            index = int(self._order[index]) if index < len(self._order) else index
        low = index * self._batch_size
        high = min(low + self._batch_size, self._end - self._start)
        if self._shuffle is True:
            assert self._order is not None
            return Rows(self._order[low:high] + self._start)
        if self._shuffle == "chunks":
            return self._from_windows(low, high)
        return Rows(range(self._start + low, self._start + high))

    def _from_windows(self, low: int, high: int) -> Rows:
        first = int(np.searchsorted(self._borders, low, "right")) - 1
        last = int(np.searchsorted(self._borders, high - 1, "right")) - 1
        windows = [self._window(number) for number in range(first, last + 1)]
        rows = windows[0][0] if len(windows) == 1 else np.concatenate([rows for rows, _ in windows])
        offset = int(self._borders[first])
        current = windows[0][1] if len(windows) == 1 else np.concatenate([blocks for _, blocks in windows])
        # A batch that begins in one window and ends in the next needs both; the one after them can wait.
        is_next = first == last and last + 1 < len(self._group_windows)
        coming = self._window(last + 1)[1] if is_next else current[:0]
        window = Window(current, coming, max(self._room, len(current)))
        return Rows(rows[low - offset : high - offset], window)

    def _window(self, number: int) -> tuple[Array, Array]:
        """Return the rows of a window in order, and its blocks."""
        found = self._windows.get(number)
        if found is None:
            groups = self._group_windows[number]
            rows = _joined(self._clipped(groups), self._clipped(groups + 1))
            blocks: Array = np.unique(rows // self._block_rows)
            found = rows, blocks
            _generator(*self._seed, number + 1).shuffle(rows)
            # Batches are mostly asked for in order; a few windows are enough for any engine.
            near = {n: w for n, w in self._windows.items() if abs(n - number) < _NEAR}
            self._windows = near | {number: found}
        return found

    def _clipped(self, groups: Array) -> Array:
        clipped: Array = np.clip(groups * self._group_rows, self._start, self._end)
        return clipped


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, purpose)))


def _joined(starts: Array, stops: Array) -> Array:
    """Return the numbers of all ranges ``[start, stop)``, one after the other."""
    lengths = stops - starts
    ends = np.cumsum(lengths)
    rows: Array = np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])
    return rows
