"""Stream: the batches of a generator as data for models, each of them exactly once, in order."""

from __future__ import annotations

import contextvars
import weakref
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from befit._internal.arguments import as_count
from befit._internal.keras_input import KerasInput
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.loading.read_ahead import END, ReadAhead
from befit.typing import Batch

__all__ = ["Stream", "StreamPass"]


class Stream(KerasInput):
    """The batches of a generator or another iterator, for ``fit``, ``evaluate`` and ``predict`` of Keras 3.

    A generator makes one batch after the other, so one thread at a time reads it, ahead of the model; what
    should be made in parallel belongs into a ``Sequence``, and a ``Loader`` around it.

    - Nothing is lost: with ``steps_per_epoch``, ``validation_steps`` or ``steps`` the iterator is never asked
      for more than the epoch in hand needs. So several calls, or a call and a ``next()`` of your own, use
      each batch once. A call that is left within an epoch leaves what was read ahead in the stream.
    - ``fit`` and ``evaluate`` take a batch as ``(x, y)`` or ``(x, y, sample_weight)``, tuple or list, or as x
      alone; ``predict`` takes tuples so, ``(x,)`` included, and uses their x, and a list as several inputs.
      In these, a list is several inputs or outputs, and a list of numbers is an array; floats are cast to
      Keras' ``floatx()``. Batches that are ``None`` are left out. ``class_weight`` works for ``(x, y)``.
    - An exception in the iterator is raised after the batches before it are used, with its own type.
    - Where the iterator ends, the epoch ends. In ``fit`` it is then the last one, with a warning if more was
      asked for; validation without a batch is an error. Without ``steps_per_epoch`` an epoch is all there is.
    - No thread outlives ``fit``, but for the batch in its hand where ``fit`` raises.

    Iterating over a stream gives its batches as they are, from where it is. One iteration runs at a time: a
    new one ends the one before and goes on in its place.

    Args:
        source: A generator, or any object with ``__next__``.
        prefetch: Batches that are read ahead, at most; 0: each is made when it is asked for, by the caller.
            Their NumPy arrays are copied: a generator may use an array again for its next batch.

    Raises:
        ArgumentError: ``prefetch`` is no number; (``fit`` …) the iterator has no batch.
        UnsupportedObjectError: ``source`` is no iterator.

    Example:
        >>> from befit.loading import Stream
        >>> stream = Stream(number**2 for number in range(6))
        >>> list(stream.take(2)), list(stream.take(3)), list(stream)
        ([0, 1], [4, 9, 16], [25])

    Source: Keras 2.1, ``Model.fit_generator``: what a generator yields, and how much of it is used.
    """

    def __init__(self, source: Iterator[Batch], *, prefetch: int = 10) -> None:
        if not hasattr(source, "__next__"):
            raise UnsupportedObjectError(
                f"{type(source).__qualname__} is no iterator; write Stream(iter(...)), or "
                "befit.Loader(...) around a Sequence"
            )
        self.source = source
        self.prefetch = as_count("prefetch", prefetch, minimum=0)
        self._ahead = ReadAhead(source, self.prefetch, _copied)

    def __iter__(self) -> StreamPass:
        return self.take()

    def take(self, count: int | None = None, *, context: contextvars.Context | None = None) -> StreamPass:
        """Return an iterator over the next ``count`` batches, or all that there are.

        Args:
            count: How many; the iterator of this stream is not asked for more.
            context: The context that the iterator's code sees, such as an open ``custom_object_scope``;
                ``None``: the caller's.

        Raises:
            ArgumentError: ``count`` is no number.
        """
        count = None if count is None else as_count("count", count, minimum=0)
        return StreamPass(self._ahead, count, context)

    def peek(self, count: int = 1) -> list[Batch]:
        """Return the next batches, and leave them where they are.

        Args:
            count: How many; fewer come where the iterator ends or fails after them.

        Raises:
            ArgumentError: there is none: the iterator has ended.
            Exception: the iterator raised it where its next batch was due.

        Example:
            >>> from befit.loading import Stream
            >>> stream = Stream(iter("abc"))
            >>> stream.peek(2), list(stream)
            (['a', 'b'], ['a', 'b', 'c'])
        """
        batches = self._ahead.look(as_count("count", count))
        if not batches:
            next(self.take(1), None)  # raises what stands there, if it is an error
            raise ArgumentError(
                f"{type(self.source).__qualname__} has no batches, or none any more; a generator runs once: "
                "make a new one, or let it repeat its data"
            )
        return batches

    def put_back(self, batches: Sequence[Batch]) -> None:
        """Let the next iteration begin with ``batches``; the one that runs, if any, is over."""
        self._ahead.put_back(batches)

    def close(self, timeout: float | None = None) -> None:
        """End the iteration that runs, if any, and wait for its thread; what was read stays.

        Args:
            timeout: Seconds to wait for the batch in its hand, at most; ``None``: as long as it takes.
        """
        self._ahead.stop(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {type(self.source).__qualname__}, prefetch={self.prefetch}>"


class StreamPass(Iterator[Batch]):
    """What ``Stream.take`` returns: an iterator over some batches of a stream."""

    def __init__(self, ahead: ReadAhead, count: int | None, context: contextvars.Context | None) -> None:
        self._ahead = ahead
        self._life = ahead.begin(count, context)
        # An iteration that is dropped lets its thread go; the thread refers to the items, not to this.
        weakref.finalize(self, ahead.end, self._life).atexit = False

    def __next__(self) -> Batch:
        try:
            batch = self._ahead.take(self._life)
        except BaseException:
            self.close()
            raise
        if batch is END:
            self.close()
            raise StopIteration
        return batch

    def close(self) -> None:
        """End the iteration; what was read ahead is the next one's."""
        self._ahead.end(self._life)


def _copied(batch: Batch) -> Batch:
    """Return a batch whose arrays are copies; anything else in it is the same."""
    if isinstance(batch, np.ndarray):
        return batch.copy()
    if type(batch) in (list, tuple):
        return type(batch)(_copied(part) for part in batch)
    if type(batch) is dict:
        return {key: _copied(part) for key, part in batch.items()}
    return batch
