"""A mesh over the devices of several processes: what each has whole, and what all have together."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from befit.errors import ReplicationError
from befit.integrations.jax.world import exchange, place


class Others:
    """The processes that compute together with this one."""

    def __init__(self, mesh: Mesh) -> None:
        self.local_rank = place()[0]
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._local = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
        self._batches = 0

    def put(self, values: Any) -> Any:
        """Return arrays that every process has whole as arrays of the mesh, without a look at the values."""

        def spread(array: Any) -> Any:
            copies = jax.device_put([array] * len(self._local), self._local)
            return jax.make_array_from_single_device_arrays(array.shape, self._replicated, copies)

        return jax.tree_util.tree_map(spread, values)

    def bring_into_step(self, variables: list[Any]) -> None:
        """Give every process the first one's values.

        Raises:
            ReplicationError: the processes have built different models.
        """
        shapes = exchange([(tuple(variable.shape), str(variable.dtype)) for variable in variables])
        for rank, theirs in enumerate(shapes):
            if theirs != shapes[0]:
                raise ReplicationError(
                    f"process {rank} has built another model than process 0, with {len(theirs)} variables in "
                    f"place of {len(shapes[0])}, or other shapes; build the same one in every process"
                )
        values = multihost_utils.broadcast_one_to_all([np.asarray(variable) for variable in variables])
        for variable, value in zip(variables, values, strict=True):
            variable.assign(np.asarray(value))

    def check_same_batch(self, leaves: list[Any], rows: int) -> None:
        """Raise, in every process, unless all were given the same batch; looks at fewer and fewer of them."""
        self._batches += 1
        if self._batches & (self._batches - 1):
            return
        digest = 0
        for leaf in leaves:
            digest = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), digest)
        batches = exchange((rows, digest))
        if len(set(batches)) > 1:
            lengths = [length for length, _ in batches]
            had = f"of {', '.join(map(str, lengths))} rows" if len(set(lengths)) > 1 else "with other values"
            raise ReplicationError(
                f"the processes were given different batches, {had}; each has to read the whole batch, in "
                "the same order: call befit.replicate.initialize() first, which makes all shuffle alike, or "
                "shuffle with one seed, and give a Loader shard=(0, 1)"
            )


def put_whole(leaf: Any, sharding: NamedSharding) -> Any:
    """Return an array that every process has whole as an array of the mesh."""
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
