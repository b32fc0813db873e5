"""Replicas of a Keras model on the TensorFlow backend."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from befit.errors import ReplicationError
from befit.integrations.keras.replicate import ParallelModel, refuse_engine
from befit.integrations.keras.replicate_slices import (
    Pass,
    SlicedModel,
    Variables,
    batch_tensors,
    run_replica,
    take_rows,
)
from befit.replicate.split import row_ranges, sub_batch_sizes


class TensorFlowParallelModel(SlicedModel):
    """Runs each replica under the ``tf.device`` of its own, within the one function that Keras traces."""

    whole_step = "makes the whole step one XLA program, and TensorFlow runs such a program on one device"

    def __init__(self, template: Any, devices: tuple[str, ...]) -> None:
        if tf.distribute.has_strategy():
            raise ReplicationError(
                "this is inside the scope of a tf.distribute.Strategy, which distributes the model itself; "
                "leave the scope, or train the template under it"
            )
        super().__init__(template, devices)
        self._tf_devices = tuple(f"/{name.upper()}" for name in devices)
        self.supports_jit = False

    def release(self) -> None:
        """Drop the compiled steps and what they hold on the devices; the next call makes new ones."""
        self.train_function = self.test_function = self.predict_function = None

    def _run_replicas(self, inputs: Any, training: bool | None, variables: Variables) -> Pass:
        tensors = batch_tensors(inputs)
        if not tensors:
            raise ReplicationError("no input has rows, so there is nothing to split")
        count = len(self.devices)
        known = tensors[0].shape[0]
        if known is not None:
            return self._run_slices(inputs, training, sub_batch_sizes(known, count), known, variables)
        rows = tf.shape(tensors[0])[0]
        # A batch with fewer rows than devices would leave replicas with empty slices, and statistics over
        # nothing are NaN: it runs on the first device.
        return self._run_either(
            rows >= count,
            lambda: self._run_slices(inputs, training, _dynamic_sizes(rows, count), rows, variables),
            lambda: self._run_slices(inputs, training, [rows], rows, variables),
        )

    def _run_slices(
        self, inputs: Any, training: bool | None, sizes: list[Any], rows: Any, variables: Variables
    ) -> Pass:
        passes = []
        ranges = row_ranges(sizes)
        for replica, device in enumerate(self._tf_devices[: len(sizes)]):
            with tf.device(device):
                passes.append(
                    run_replica(
                        self.template,
                        replica,
                        take_rows(inputs, *ranges[replica]),
                        training,
                        tf.identity,
                        variables,
                    )
                )
        with tf.device(self._tf_devices[0]):
            return self._merge(passes, sizes, rows, variables)

    def _run_either(self, condition: Any, run_split: Any, run_whole: Any) -> Pass:
        """Return the result of one of two passes, chosen when the graph runs."""
        forms: list[Pass] = []

        def tensors_of(run: Any) -> Any:
            one = run()
            forms.append(one)
            return [leaf for leaf in keras.tree.flatten(_parts(one)) if leaf is not None]

        tensors = iter(tf.cond(condition, lambda: tensors_of(run_split), lambda: tensors_of(run_whole)))
        # tf.cond knows tensors only; where there was None, None goes back.
        return Pass(
            *keras.tree.map_structure(lambda leaf: None if leaf is None else next(tensors), _parts(forms[0]))
        )


def _parts(one: Pass) -> tuple[Any, ...]:
    return one.outputs, one.masks, one.losses, one.updates


def _dynamic_sizes(rows: Any, count: int) -> list[Any]:
    size, remainder = rows // count, rows % count
    return [size + tf.cast(index < remainder, rows.dtype) for index in range(count)]


def parallel_class(names: tuple[str, ...], engine: str) -> type[ParallelModel]:
    """Return the class of parallel models; there is one."""
    del names
    refuse_engine(engine)
    return TensorFlowParallelModel
