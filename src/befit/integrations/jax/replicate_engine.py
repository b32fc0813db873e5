"""Replicas of a Keras model on the JAX backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from keras.src import backend

from befit.errors import ReplicationError
from befit.integrations.jax.replicate import find_devices
from befit.integrations.jax.replicate_processes import Others, put_whole
from befit.integrations.keras.replicate import ParallelModel, refuse_engine
from befit.replicate.split import common_length


@partial(jax.tree_util.register_dataclass, data_fields=["data"], meta_fields=["rows"])
@dataclass(frozen=True)
class ShardedBatch:
    """A batch that lies on the devices in equal shards, padded where its rows do not divide."""

    data: Any
    rows: int
    """The rows without the padding. Known when the step is compiled, so that slicing them costs nothing."""

    def unpadded(self) -> Any:
        """Return the batch as it was."""
        return jax.tree_util.tree_map(lambda leaf: leaf[: self.rows] if leaf.ndim else leaf, self.data)


class JaxParallelModel(ParallelModel):
    """Computes each step as one program over a mesh of its own: replicated state, sharded batch.

    The program is the one that Keras compiles for one device, and so are its results, batch statistics and
    random numbers included. Between calls the variables are back on JAX's default device.
    """

    train_function: Any
    test_function: Any
    predict_function: Any
    _jax_state: Any

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        super().__init__(template, devices)
        mesh = Mesh(np.array(find_devices(devices)), ("batch",))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._sharded = NamedSharding(mesh, PartitionSpec("batch"))
        (self._home,) = jnp.zeros(()).devices()
        self._jax_state = None
        self._others = Others(mesh) if jax.process_count() > 1 else None
        self._writes = self._others is None or self._others.local_rank == 0
        self._bring_into_step()

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Run the template; called outside fit, evaluate and predict, on one device."""
        if not (self.template.built and backend.in_stateless_scope()):
            return self.template(inputs, training=training)
        # Keras's steps run a model by its call(), not by __call__(): what the latter does around it (it
        # starts the list of add_loss anew, for one) would make other numbers than on one device.
        arguments = {"training": training} if self.template._call_has_training_arg else {}
        return self.template.call(inputs, **arguments)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model; in several processes its steps have to be compiled programs."""
        super().compile(*args, **kwargs)
        if self._others is not None and (self.run_eagerly or not self.jit_compile):
            raise ReplicationError(
                "run_eagerly=True and jit_compile=False compute in one process, and this program has "
                f"{jax.process_count()}; leave both out"
            )
        if self.optimizer is not None and self.optimizer.built:  # with states of an earlier training
            self._bring_into_step()

    def release(self) -> None:
        """Drop the compiled programs, and with them what they hold on the devices; the next step compiles."""
        self.train_function = self.test_function = self.predict_function = None
        self._jax_state = None

    def _share(self, variables: list[Any]) -> None:
        if self._others is not None:
            self._others.bring_into_step(variables)

    def train_step(self, state: Any, data: Any) -> Any:
        """Train on one batch."""
        logs, state = super().train_step(state, _unpadded(data))
        return self._keep_replicated((logs, state))

    def test_step(self, state: Any, data: Any) -> Any:
        """Evaluate one batch."""
        logs, state = super().test_step(state, _unpadded(data))
        return self._keep_replicated((logs, state))

    def predict_step(self, state: Any, data: Any) -> Any:
        """Predict one batch."""
        outputs, state = super().predict_step(state, _unpadded(data))
        if self._others is not None:  # within one process Keras fetches them as they lie
            outputs = self._keep_replicated(outputs)
        return outputs, self._keep_replicated(state)

    def make_train_function(self, force: bool = False) -> None:
        """Make the function that trains on the next batch of an iterator."""
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = self._on_sharded_batches(self.train_function)

    def make_test_function(self, force: bool = False) -> None:
        """Make the function that evaluates the next batch of an iterator."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = self._on_sharded_batches(self.test_function)

    def make_predict_function(self, force: bool = False) -> None:
        """Make the function that predicts the next batch of an iterator."""
        if self.predict_function is None or force:
            super().make_predict_function(force)
            self.predict_function = self._on_sharded_batches(self.predict_function)

    def _on_sharded_batches(self, function: Callable[[Any, Any], Any]) -> Callable[[Any, Iterator[Any]], Any]:
        # Here, and not in the step: padding to another shape has to happen outside the compiled program.
        return lambda state, iterator: function(state, map(self._shard, iterator))

    def _shard(self, batch: Any) -> ShardedBatch:
        rows = common_length(
            (leaf.shape[0] for leaf in keras.tree.flatten(batch) if leaf is not None and len(np.shape(leaf))),
            "the arrays of a batch",
        )
        padding = -rows % len(self.devices)
        leaves, structure = jax.tree_util.tree_flatten(batch)
        if self._others is not None:
            self._others.check_same_batch(leaves, rows)
        shardings = []
        for index, leaf in enumerate(leaves):
            has_rows = len(np.shape(leaf)) > 0
            shardings.append(self._sharded if has_rows else self._replicated)
            if padding and has_rows:
                # The last row again: valid values, whose results are cut off.
                leaves[index] = np.concatenate([leaf, np.repeat(leaf[-1:], padding, axis=0)])
        if self._others is None:
            leaves = jax.device_put(leaves, shardings)
        else:
            leaves = list(map(put_whole, leaves, shardings))
        return ShardedBatch(jax.tree_util.tree_unflatten(structure, leaves), rows)

    # Keras takes the variables' values out before the first step, and puts them back after the last one or
    # when a callback asks for the model. These two are where they go to the mesh and come home.

    def _get_jax_state(self, **which: Any) -> Any:
        state = super()._get_jax_state(**which)
        return jax.device_put(state, self._replicated) if self._others is None else self._others.put(state)

    def jax_state_sync(self) -> None:
        """Put the values of a running step into the variables, on JAX's default device."""
        if self._jax_state is not None and not self._jax_state_synced:
            # Plain containers: Keras wraps what is assigned to a model in tracking ones, unknown to JAX.
            values = {part: list(arrays) for part, arrays in self._jax_state.items()}
            if self._others is not None:
                values = jax.tree_util.tree_map(lambda array: array.addressable_data(0), values)
            self._jax_state = jax.device_put(values, self._home)
        super().jax_state_sync()

    def _keep_replicated(self, state: Any) -> Any:
        return jax.lax.with_sharding_constraint(state, self._replicated)


def _unpadded(data: Any) -> Any:
    return data.unpadded() if isinstance(data, ShardedBatch) else data


def parallel_class(names: tuple[str, ...], engine: str) -> type[ParallelModel]:
    """Return the class of parallel models; there is one."""
    del names
    refuse_engine(engine)
    return JaxParallelModel
