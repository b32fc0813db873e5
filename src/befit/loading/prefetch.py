"""Batches on the device, a few ahead of the step that computes on them.

The order of things is here, and the same for every framework; how a batch gets onto its device is the
framework's (``befit/integrations/<framework>/loading.py``).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, NamedTuple, Protocol

from befit._internal.adapters import framework_of, integration
from befit._internal.arguments import as_count
from befit._internal.optional import require
from befit.errors import ArgumentError, UnsupportedObjectError
from befit.typing import Batch

_PROCESSES = ("processes", "ray")  # engines
_PLACES = "a jax.Device, a jax Sharding or a nesting of them, a torch.device or its name, such as 'cuda:0'"


class Transfers(Protocol):
    """How the batches of one epoch come onto the device; made by an integration, used by one iteration."""

    def begin(self, batch: Batch) -> Any:
        """Begin to copy ``batch`` and do not wait for it; what is returned goes to ``finish``.

        The memory of ``batch`` may be overwritten after this call, unless it is nobody else's.
        """

    def finish(self, begun: Any) -> Batch:
        """Return the batch on the device, fit for work that the caller begins from now on."""

    def close(self) -> None:
        """Let go of the memory that copies were made from."""


class _Ahead(NamedTuple):
    """A batch on its way, or the error that came in its place."""

    begun: Any
    error: Exception | None = None


def device_prefetch(loader: Iterable[Batch], target: Any = None, *, depth: int = 2) -> DevicePrefetch:
    """Return an iterable over the batches of ``loader`` on a device, ``depth`` of them ahead.

    While a step computes on one batch, the next ones are on their way. Each iteration is one epoch of the
    loader: the same batches in the same order, each once. ``on_epoch_end`` is called when the last batch was
    used, an exception is raised where its batch is due, and leaving the loop early ends the epoch.

    Arrays of JAX: what JAX has no dtype for (strings, objects) and what is no array stays as it is. torch:
    likewise, as ``Loader.to_torch`` has it. To CUDA devices, batches go by page-locked memory and a stream of
    their own, and the current stream waits for them.

    Args:
        loader: A ``Loader``, or another iterable of batches.
        target: Where to. JAX: a ``jax.Device``, a sharding, or a nesting of those like the batch, with
            ``None`` for the default device; a sharding over the devices of several processes takes the batch
            of each as its part of the whole. torch: a ``torch.device`` or its name. ``None``: the default
            device of Keras' backend, or of JAX or torch, whichever is imported.
        depth: Batches on their way or ready ahead of the one that is used; 0: none.

    Returns:
        An iterable with ``len``, to be iterated over once for each epoch.

    Raises:
        ArgumentError: ``depth`` is out of range, or ``target`` is no device or, being ``None``, says nothing.
        UnsupportedObjectError: ``loader`` cannot be iterated over, or ``target`` is of another kind.
        MissingDependencyError: ``target`` names a device of torch, which is not installed.

    Example:
        >>> import jax
        >>> from befit import Loader, Sequence
        >>> from befit.loading import device_prefetch
        >>> batches = Loader(Sequence.from_arrays([1.0, 2.0, 3.0], batch_size=2), workers=2)
        >>> [float(batch.sum()) for batch in device_prefetch(batches, jax.devices()[0])]
        [3.0, 3.0]
    """
    return DevicePrefetch(loader, target, depth=depth)


class DevicePrefetch:
    """The epochs of a loader on a device; made by ``device_prefetch``."""

    def __init__(self, loader: Iterable[Batch], target: Any = None, *, depth: int = 2) -> None:
        if not isinstance(loader, Iterable):
            raise UnsupportedObjectError(
                f"{type(loader).__qualname__} is no iterable of batches; pass a befit.Loader"
            )
        self.loader = loader
        self.target = target
        self.depth = as_count("depth", depth, minimum=0)
        self._integration = integration(_framework(target), "loading")
        self._place = self._integration.checked_place(target)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self.loader)  # type: ignore[arg-type]  # one without a length says so itself

    def __iter__(self) -> Iterator[Batch]:
        # A batch from a process is nobody else's; any other may be a view of what the sequence overwrites.
        private = getattr(self.loader, "engine", None) in _PROCESSES
        return _epoch(_Source(self.loader), self._integration.Transfers(self._place, private), self.depth)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.loader!r} to {self.target!r}, depth={self.depth}>"


def _epoch(source: _Source, transfers: Transfers, depth: int) -> Iterator[Batch]:
    ahead: deque[_Ahead] = deque()
    try:
        while True:
            while len(ahead) <= depth and source.expects_more():
                ahead.extend(_begun(source, transfers))
            if not ahead:
                # The consumer is done with the last batch, so the loader may end the epoch now.
                ahead.extend(_begun(source, transfers))
                if not ahead:
                    return
            error = ahead[0].error
            if error is not None:
                raise error
            source.pass_on()
            # No name is given to the batch: it is free as soon as the consumer lets it go.
            yield transfers.finish(ahead.popleft().begun)
    finally:
        error = None  # its traceback holds this frame
        source.close()
        transfers.close()


def _begun(source: _Source, transfers: Transfers) -> Iterator[_Ahead]:
    """Give the next batch, begun, or an error, or nothing at the end."""
    try:
        for batch in source.read():
            yield _Ahead(transfers.begin(batch))
    except Exception as error:  # noqa: BLE001 - raised where its batch is due
        source.fail()
        yield _Ahead(None, error)


class _Source:
    """The batches of one epoch of a loader, read ahead, but never past the last one.

    Asking for more after the last batch tells a ``Loader`` that the consumer is done with it.
    """

    def __init__(self, loader: Iterable[Batch]) -> None:
        self._batches = iter(loader)
        self._knows_end = hasattr(self._batches, "all_delivered")  # an epoch of a Loader does
        self._expected = None if self._knows_end or not isinstance(loader, Sized) else len(loader)
        self._is_own = self._batches is not loader  # a generator that was passed is its owner's to close
        self._is_over = False
        self._read = 0
        self._passed_on = 0

    def expects_more(self) -> bool:
        """Return whether another batch may be read without ending the epoch."""
        if self._is_over:
            return False
        if self._knows_end:
            return not self._batches.all_delivered  # type: ignore[attr-defined]
        return self._expected is None or self._read < self._expected

    def read(self) -> Iterator[Batch]:
        """Give the next batch, or nothing at the end."""
        try:
            batch = next(self._batches)
        except StopIteration:
            self._is_over = True
            return
        self._read += 1
        self._note()
        yield batch

    def pass_on(self) -> None:
        """Count a batch as the consumer's."""
        self._passed_on += 1
        self._note()

    def fail(self) -> None:
        """Read no more: an error is due."""
        self._is_over = True

    def close(self) -> None:
        """End the epoch, if it is not over."""
        if self._is_own and hasattr(self._batches, "close"):
            self._batches.close()

    def _note(self) -> None:
        # A Loader's epoch is not complete, and its state does not go on, as long as batches wait here.
        if self._knows_end:
            self._batches.read_ahead = self._read - self._passed_on  # type: ignore[attr-defined]


def _framework(target: Any) -> str:
    if target is None:
        return _default_framework()
    if isinstance(target, str):
        require("torch", extra="torch", purpose=f"device_prefetch(target={target!r})")
        return "torch"
    kinds = {framework_of(leaf) for leaf in _leaves(target) if leaf is not None}
    if kinds == {"jax"} or kinds == {"torch"}:
        return str(kinds.pop())
    raise UnsupportedObjectError(f"target is {target!r}; write {_PLACES}")


def _default_framework() -> str:
    imported = [name for name in ("jax", "torch") if name in sys.modules]
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() in imported:
        return str(keras.config.backend())
    if len(imported) == 1:
        return imported[0]
    which = "JAX and torch are both imported" if imported else "neither JAX nor torch is imported"
    raise ArgumentError(f"target is None and {which}; write a target: {_PLACES}")


def _leaves(target: Any) -> Iterator[Any]:
    if isinstance(target, Mapping):
        target = tuple(target.values())
    if isinstance(target, (tuple, list)):
        for part in target:
            yield from _leaves(part)
    else:
        yield target
