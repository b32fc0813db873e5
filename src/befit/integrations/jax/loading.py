"""Batches on the devices of JAX (contract ``befit.loading.prefetch.Transfers``)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from befit.errors import ArgumentError, UnsupportedObjectError


def checked_place(target: Any) -> Any:
    """Return ``target``, a device, a sharding, ``None``, or a nesting of those."""
    for leaf in jax.tree.leaves(target):
        if not isinstance(leaf, (jax.Device, Sharding)):
            raise UnsupportedObjectError(
                f"target holds {leaf!r}; write a jax.Device, a jax.sharding.Sharding, or None for the "
                "default device"
            )
    return target


class Transfers:
    """``jax.device_put`` returns at once, so a transfer has begun when the array is there."""

    def __init__(self, place: Any, private: bool) -> None:
        self._place = place
        self._private = private

    def begin(self, batch: Any) -> Any:
        """Return the batch in arrays of JAX, whose values may still be on their way."""
        try:
            return jax.tree.map(self._move_part, self._place, batch, is_leaf=lambda place: place is None)
        except ValueError as error:
            if not str(error).startswith("pytree structure error"):
                raise
            raise ArgumentError(f"the nesting of target is not that of the batch: {error}") from error

    def finish(self, begun: Any) -> Any:
        """Return the batch: whatever computes on it waits for its values by itself."""
        return begun

    def close(self) -> None:
        """Nothing to let go of: an array of JAX keeps the memory that it came from."""

    def _move_part(self, place: Any, part: Any) -> Any:
        return jax.tree.map(lambda leaf: self._moved(leaf, place), part)

    def _moved(self, leaf: Any, place: Any) -> Any:
        if isinstance(leaf, (np.ndarray, np.generic)):
            if not _has_dtype_in_jax(leaf.dtype):
                return leaf
            leaf = self._safe(leaf)
        elif not isinstance(leaf, jax.Array):
            return leaf
        try:
            if isinstance(place, Sharding) and not place.is_fully_addressable:
                return jax.make_array_from_process_local_data(place, leaf)
            return jax.device_put(leaf, place)
        except ValueError as error:
            error.add_note(
                f"befit: while moving an array of shape {leaf.shape} to {place}; a last batch that is "
                "smaller than the others has to be left out or padded"
            )
            raise

    def _safe(self, leaf: Any) -> Any:
        """Return ``leaf`` in memory that nobody overwrites, in a byte order that JAX takes."""
        native = leaf.dtype.newbyteorder("=")
        if leaf.dtype != native:
            return leaf.astype(native)
        # On the CPU, device_put may share the memory of a NumPy array for good; elsewhere it reads it later.
        return leaf if self._private else leaf.copy()


def _has_dtype_in_jax(dtype: np.dtype[Any]) -> bool:
    if dtype in (np.longdouble, np.clongdouble):
        return dtype in (np.float64, np.complex128)  # where C has no longer ones
    return dtype == np.bool_ or jnp.issubdtype(dtype, jnp.number)
