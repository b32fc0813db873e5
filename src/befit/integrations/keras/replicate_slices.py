"""Replicas that each compute on their own rows of the batch: what the torch and the TensorFlow engine share.

Every replica runs the template inside a ``keras.StatelessScope``: it reads its own copy of each variable, and
what it would assign is collected. Then outputs are concatenated, losses and statistics averaged by rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops
from keras.src import backend

from befit.errors import ReplicationError
from befit.integrations.keras.replicate import ParallelModel
from befit.replicate.advice import is_out_of_memory

# Replica i draws its random numbers from seed + i * this (mod 2**31 - 1): the golden ratio spreads the seeds
# so far apart that no replica repeats, a few steps later, what another one drew.
_SEED_STRIDE = 1_327_217_884
_SEED_LIMIT = 2**31 - 1


@dataclass
class Pass:
    """What one replica's forward pass, or all of them together, came to."""

    outputs: Any
    """The outputs, nested as the template nests them."""
    masks: list[Any]
    """The Keras mask of each output, ``None`` where it has none."""
    losses: list[Any]
    """What ``add_loss`` collected."""
    updates: list[Any]
    """The new value of each state variable, ``None`` where it was left alone."""


@dataclass(frozen=True)
class Variables:
    """The variables of a template, found once for all replicas: Keras goes through all layers for them."""

    every: list[Any]
    state: list[Any]
    """Those that a forward pass may assign: statistics, seeds, counters."""
    seeds: frozenset[int]
    """The ids of those that are states of random generators."""

    @staticmethod
    def of(template: Any) -> Variables:
        """Return the variables of ``template``."""
        seeds = (
            id(generator.state)
            for layer in template._flatten_layers()
            for generator in getattr(layer, "_seed_generators", ())
        )
        return Variables(template.variables, list(template.non_trainable_variables), frozenset(seeds))


class SlicedModel(ParallelModel):
    """A ``ParallelModel`` whose replicas each get a slice of the batch."""

    whole_step: str
    """What ``jit_compile=True`` does that would undo the split."""

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        super().__init__(template, devices)
        self._forward_passes = 0
        stateful = [layer.name for layer in template._flatten_layers() if getattr(layer, "stateful", False)]
        if stateful:
            raise ReplicationError(
                f"layer {stateful[0]!r} keeps a state for each row of the batch (stateful=True), which "
                "cannot be split over devices here; build it with stateful=False, or use the JAX backend"
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Split ``inputs``, run every replica on its rows, and put the results together."""
        self._forward_passes += 1
        if backend.in_stateless_scope() or not self.template.built:  # shapes only, or somebody else's scope
            return self.template(inputs, training=training)
        variables = self._variables()
        merged = self._run_replicas(inputs, training, variables)
        for variable, value in zip(variables.state, merged.updates, strict=True):
            if value is not None:
                variable.assign(value)
        for loss in merged.losses:
            self.add_loss(loss)
        for output, mask in zip(keras.tree.flatten(merged.outputs), merged.masks, strict=True):
            if mask is not None:
                output._keras_mask = mask
        return merged.outputs

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model; ``jit_compile=True`` is refused."""
        if kwargs.get("jit_compile") is True:
            raise ReplicationError(f"jit_compile=True {self.whole_step}; leave jit_compile at 'auto'")
        super().compile(*args, **kwargs)

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on one batch."""
        return self._split_step("train_step", super().train_step, *args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one batch."""
        return self._split_step("test_step", super().test_step, *args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Predict one batch."""
        return self._split_step("predict_step", super().predict_step, *args, **kwargs)

    def _split_step(self, name: str, step: Any, *args: Any, **kwargs: Any) -> Any:
        before = self._forward_passes
        result = step(*args, **kwargs)
        if self._forward_passes == before:
            raise ReplicationError(
                f"{type(self.template).__qualname__}.{name} never calls self(inputs), which is what is split "
                "over the devices; call it there, use the JAX backend, or train the template on one device"
            )
        return result

    def _variables(self) -> Variables:
        return Variables.of(self.template)

    def _run_replicas(self, inputs: Any, training: bool | None, variables: Variables) -> Pass:
        """Return what all replicas came to together. An engine's part."""
        raise NotImplementedError

    def _merge(self, passes: list[Pass], sizes: list[Any], rows: Any, variables: Variables) -> Pass:
        """Put the replicas' results together; ``sizes`` are their rows, ``rows`` the whole batch's."""
        if len(passes) == 1:
            return passes[0]
        for one, size in zip(passes, sizes, strict=True):
            _check_rows(one.outputs, size)
        updates = [
            values[0]
            if values[0] is None
            or id(variable) in variables.seeds
            or not keras.backend.is_float_dtype(variable.dtype)
            else _mean(values, sizes, rows)
            for variable, values in zip(
                variables.state,
                zip(*(one.updates for one in passes), strict=True),
                strict=True,
            )
        ]
        flat = [keras.tree.flatten(one.outputs) for one in passes]
        return Pass(
            outputs=keras.tree.pack_sequence_as(
                passes[0].outputs, [ops.concatenate(parts) for parts in zip(*flat, strict=True)]
            ),
            masks=[
                None if parts[0] is None else ops.concatenate(parts)
                for parts in zip(*(one.masks for one in passes), strict=True)
            ],
            losses=[
                _mean(values, sizes, rows) for values in zip(*(one.losses for one in passes), strict=True)
            ],
            updates=updates,
        )


def run_replica(
    template: Any,
    replica: int,
    inputs: Any,
    training: bool | None,
    copy: Callable[[Any], Any],
    variables: Variables,
) -> Pass:
    """Run ``template`` on ``inputs``; ``copy`` brings a variable's value to the replica's device."""
    with backend.AutocastScope(None):  # mixed precision shows a variable rounded, with another dtype
        values = [copy(variable.value) for variable in variables.every]
        if replica:
            values = [
                _shifted_seed(value, replica) if id(variable) in variables.seeds else value
                for variable, value in zip(variables.every, values, strict=True)
            ]
        scope = keras.StatelessScope(
            state_mapping=list(zip(variables.every, values, strict=True)), collect_losses=True
        )
    before = [scope.get_current_value(variable) for variable in variables.state]
    try:
        with scope:
            outputs = template(inputs, training=training)
    except Exception as error:
        if is_out_of_memory(error):
            rows = batch_tensors(inputs)[0].shape[0]
            error.add_note(f"replica {replica} had {rows} rows; no weight has changed in this step")
        raise
    after = [scope.get_current_value(variable) for variable in variables.state]
    return Pass(
        outputs=outputs,
        masks=[getattr(output, "_keras_mask", None) for output in keras.tree.flatten(outputs)],
        losses=list(scope.losses),
        updates=[None if new is old else new for old, new in zip(before, after, strict=True)],
    )


def batch_tensors(inputs: Any) -> list[Any]:
    """Return the arrays among ``inputs`` that have rows."""
    return [leaf for leaf in keras.tree.flatten(inputs) if _has_rows(leaf)]


def take_rows(inputs: Any, first: Any, end: Any) -> Any:
    """Return rows ``first`` to ``end`` of every array among ``inputs``, with its mask."""

    def take(leaf: Any) -> Any:
        if not _has_rows(leaf):
            return leaf
        part = leaf[first:end]
        mask = getattr(leaf, "_keras_mask", None)
        if mask is not None:
            part._keras_mask = mask[first:end]
        return part

    return keras.tree.map_structure(take, inputs)


def _has_rows(leaf: Any) -> bool:
    return len(getattr(leaf, "shape", ())) > 0


def _mean(values: Any, sizes: list[Any], rows: Any) -> Any:
    """Return the mean of the replicas' values, each weighted by its rows."""
    dtype = values[0].dtype
    total = ops.sum(
        ops.stack(
            [ops.multiply(value, ops.cast(size, dtype)) for value, size in zip(values, sizes, strict=True)]
        ),
        axis=0,
    )
    return ops.divide(total, ops.cast(rows, dtype))


def _shifted_seed(state: Any, replica: int) -> Any:
    seed, counter = ops.unstack(ops.cast(state, "int64"), 2)
    shifted = ops.mod(ops.add(seed, replica * _SEED_STRIDE), _SEED_LIMIT)
    return ops.cast(ops.stack([shifted, counter]), state.dtype)


def _check_rows(outputs: Any, size: Any) -> None:
    for output in keras.tree.flatten(outputs):
        shape = tuple(output.shape)
        if not shape or (isinstance(size, int) and shape[0] is not None and shape[0] != size):
            raise ReplicationError(
                f"a replica was given {size} rows and returned an output of shape {shape}; outputs are "
                "concatenated along axis 0 and need one row per sample"
            )
