"""How Keras' models take a ``Sequence``, a ``Loader`` or an ``HDF5Matrix`` that inherit no class of Keras.

``KerasInput``. Keras accepts an object as data if it is one of its ``DataAdapter``s, and asks the object
itself for batches. A ``Sequence`` must not be one: Keras may not even be installed, and Keras calls a method
``on_epoch_end`` on its adapters that is not the documented one. So the two questions that Keras asks first
are answered here:

1. ``isinstance(source, DataAdapter)`` reads ``source.__class__``. Keras' trainers, and nobody else, read
   ``DataAdapter`` there.
2. ``source.num_batches`` is read next, by Keras' iterator over epochs, which has just kept ``source`` as its
   ``data_adapter``. ``befit.integrations.keras.loading`` puts a real adapter in that place.

``KerasArray``. Keras accepts anything with ``__array__`` among its arrays, and loads it whole, once or more
an epoch. Before it does, its ``ArrayDataAdapter`` reads ``__class__`` to learn what kind of array it is.
``befit.integrations.keras.hdf5`` then lets that adapter read batches.

Nothing of Keras is replaced or patched, and Keras is not imported: who asks is seen from the calling frame.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from befit._internal.adapters import integration

_TRAINERS = "keras.src.trainers"


def _is_keras(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return isinstance(name, str) and f"{name}.".startswith(f"{_TRAINERS}.")


class _NumBatches:
    """The attribute that Keras reads; to everyone else it is whatever the subclass assigns, or not there."""

    def __get__(self, source: Any, owner: type) -> Any:
        if source is None:
            return self
        caller = sys._getframe(1)
        if _is_keras(caller):
            return integration("keras", "loading").take_over(source, caller)
        try:
            return vars(source)["num_batches"]
        except KeyError:
            raise AttributeError(f"{owner.__name__!r} object has no attribute 'num_batches'") from None

    def __set__(self, source: Any, value: Any) -> None:
        vars(source)["num_batches"] = value

    def __delete__(self, source: Any) -> None:
        del vars(source)["num_batches"]


class KerasInput:
    """A base of what ``fit``, ``evaluate`` and ``predict`` of Keras 3 take as data."""

    num_batches = _NumBatches()

    @property  # type: ignore[misc]  # nothing assigns to __class__
    def __class__(self) -> Any:
        caller = sys._getframe(1)
        if not _is_keras(caller):
            # abc reads this for isinstance, before anything that it remembers: torch's DataLoader is asking
            # whether this is an IterableDataset, or somebody else something else.
            if caller.f_globals.get("__name__") == "abc" and "torch.utils.data" in sys.modules:
                self._meet_torch()
            return type(self)
        if type(self).num_batches is not KerasInput.num_batches:
            raise TypeError(
                f"{type(self).__qualname__} defines num_batches, a name that Keras asks befit by; rename it, "
                f"or pass Loader({type(self).__qualname__}(...)) to the model"
            )
        return integration("keras", "loading").DataAdapter

    def _meet_torch(self) -> None:
        """Torch is there and asks for datasets; a ``Loader`` is one, a ``Sequence`` is indexed."""


class _AsType:
    """The method that Keras calls on arrays of other floats than its own; nobody else sees it.

    It does so before it splits them; their batches are cast when they are read.
    """

    def __get__(self, array: Any, owner: type) -> Any:
        if array is None:
            return self
        if _is_keras(sys._getframe(1)):
            return lambda dtype: array
        raise AttributeError(f"{owner.__name__!r} object has no attribute 'astype'")


class KerasArray:
    """A base of what Keras 3 takes wherever it takes arrays, and reads a batch at a time.

    A subclass has ``shape``, ``dtype``, ``__array__``, and ``__getitem__`` for slices and arrays of rows.
    """

    astype = _AsType()

    @property  # type: ignore[misc]  # nothing assigns to __class__
    def __class__(self) -> Any:
        caller = sys._getframe(1)
        if _is_keras(caller):
            return integration("keras", "hdf5").introduce(self, caller)
        return type(self)

    def _is_split_by_keras(self) -> bool:
        """Return whether ``__getitem__``, which calls this, is to give a part that is not read yet."""
        caller = sys._getframe(2)
        return _is_keras(caller) and bool(integration("keras", "hdf5").splits(caller))
