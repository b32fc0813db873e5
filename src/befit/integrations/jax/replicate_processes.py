"""A mesh over the devices of several processes: what each has whole, and what all have together."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from befit.integrations.jax.world import exchange, place
from befit.integrations.processes import check_batches, check_models, is_compared


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
        check_models(exchange([(tuple(variable.shape), str(variable.dtype)) for variable in variables]))
        values = multihost_utils.broadcast_one_to_all([np.asarray(variable) for variable in variables])
        for variable, value in zip(variables, values, strict=True):
            variable.assign(np.asarray(value))

    def check_same_batch(self, leaves: list[Any], rows: int) -> None:
        """Raise, in every process, unless all were given the same batch; looks at fewer and fewer of them."""
        self._batches += 1
        if not is_compared(self._batches):
            return
        digest = 0
        for leaf in leaves:
            digest = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), digest)
        check_batches(exchange((rows, digest)))


def put_whole(leaf: Any, sharding: NamedSharding) -> Any:
    """Return an array that every process has whole as an array of the mesh."""
    values = np.asarray(leaf)
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])
