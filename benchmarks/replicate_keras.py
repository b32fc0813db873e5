"""Contenders that train a Keras model by ``fit``, and Keras's torch guide: a loop of one's own around DDP."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from benchmarks.replicate_models import (
    LEARNING_RATE,
    Clock,
    compiled,
    keras_model,
    least_seconds,
    numbers,
    replica_pids,
)


class Fit:
    """A Keras model, trained by ``fit`` on one device, or on several by befit or by Keras's own means.

    ``how`` is "one", befit's "auto", "processes", "threads" or "group", Keras's "stock", TensorFlow's
    "mirrored".
    """

    def __init__(self, how: str, *, devices: str | list[str], count: int, rank: int) -> None:
        import keras

        self.how, self.count, self.devices, self.rank = how, count, devices, rank
        self.kind = keras.config.backend()
        self.scope: Any = contextlib.nullcontext
        self.parallel: Any = None
        self._numbers: dict[int, Any] = {}
        if self.kind == "torch":
            import torch

            torch.set_num_threads(1)
        if self.kind == "jax":
            import jax

            # With two steps under way each device may wait for the other's part of another one, while no
            # thread is left to run it: XLA gives up after 40 s.
            jax.config.update("jax_cpu_enable_async_dispatch", False)
        if self.kind == "tensorflow":
            self._start_tensorflow()
        elif how in ("auto", "processes", "threads") and "cpu" in str(devices):
            from befit.replicate import simulate_devices

            simulate_devices(count)
        if how == "stock":
            keras.distribution.set_distribution(keras.distribution.DataParallel())
        if how == "group":
            import befit.replicate

            befit.replicate.initialize()

    def _start_tensorflow(self) -> None:
        import tensorflow as tf

        from befit.replicate import simulate_devices

        # One thread per replica: an operation runs in the thread that reaches it.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(self.count)
        if "cpu" in str(self.devices):
            simulate_devices(self.count)
        if self.how == "mirrored":
            names = [device.name for device in tf.config.list_logical_devices("CPU")]
            gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
            self.scope = tf.distribute.MirroredStrategy((gpus or names)[: self.count]).scope

    def build(self, work: str) -> None:
        self.release()
        self.work = work
        self._numbers = {}
        # TensorFlow: the step as a graph for all. Replicas cannot be one XLA program, and on a CPU a graph is
        # the quicker of the two.
        options = {"jit_compile": False} if self.kind == "tensorflow" else {}
        with self.scope():
            self.model = self.template = keras_model(work)
            if self.how in ("auto", "processes", "threads", "group"):
                from befit import multi_gpu_model

                named = {} if self.how == "group" else {"devices": self.devices}
                engine = "auto" if self.how == "group" else self.how
                self.model = self.parallel = multi_gpu_model(self.template, engine=engine, **named)
            compiled(self.model, **options)

    def run(self, steps: int, rows: int, clock: Clock) -> None:
        """Train for one step, and then for ``steps`` while the clock runs."""
        total = (steps + 1) * rows
        if total not in self._numbers:
            self._numbers[total] = numbers(self.work, total)
        x, y = self._numbers[total]
        if self.model.train_function is None:  # fit() makes it, once it has built the optimizer
            self.model.fit(x[:rows], y[:rows], batch_size=rows, shuffle=False, verbose=0)
        step = self.model.train_function
        calls = 0

        # What fit() does before and after its steps is once an epoch, and an epoch here is short.
        def timed(*arguments: Any) -> Any:
            nonlocal calls
            if calls == 1:
                clock.start()
            calls += 1
            result = step(*arguments)
            if calls == steps + 1:
                clock.stop(result)
            return result

        self.model.train_function = timed
        try:
            self.model.fit(x, y, batch_size=rows, shuffle=False, verbose=0)
        finally:
            self.model.train_function = step

    def pids(self) -> list[int]:
        """Return the processes of the replicas, other than this one."""
        return replica_pids(self.parallel, self.how)

    def release(self) -> None:
        if self.parallel is not None:
            self.parallel.release()

    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(variable.shape) for variable in self.template.trainable_variables]

    def optimizer_seconds(self, times: int) -> float:
        """Return what applying gradients costs on one device."""
        import keras
        import numpy as np

        variables = self.template.trainable_variables
        gradients = [keras.ops.convert_to_tensor(np.zeros(shape, "float32")) for shape in self.shapes()]
        optimizer = self.template.optimizer

        def apply() -> None:
            optimizer.apply(gradients, variables)

        if self.kind == "torch":
            import torch

            apply = torch.no_grad()(apply)
        elif self.kind == "tensorflow":
            import tensorflow as tf

            apply = tf.function(apply)
        else:
            return self._jax_optimizer_seconds(gradients, times)
        return least_seconds(apply, times)

    def _jax_optimizer_seconds(self, gradients: list[Any], times: int) -> float:
        import jax

        optimizer = self.template.optimizer
        values = [variable.value for variable in self.template.trainable_variables]
        state = [variable.value for variable in optimizer.variables]
        apply = jax.jit(optimizer.stateless_apply)
        return least_seconds(lambda: jax.block_until_ready(apply(state, gradients, values)), times)

    def collective_seconds(self, times: int) -> float:
        """Return what adding up the gradients over all ranks costs, while they do nothing else."""
        from benchmarks.replicate_torch import sum_seconds

        return sum_seconds(self.shapes(), times)


class Loop:
    """A Keras model in a loop of torch's, as Keras's guide shows it: on one device, or inside DDP."""

    def __init__(self, how: str, *, devices: str | list[str], count: int, rank: int) -> None:
        import torch

        torch.set_num_threads(1)
        del devices
        self.how, self.count, self.rank = how, count, rank
        if how == "ddp":
            torch.distributed.init_process_group("gloo")

    def build(self, work: str) -> None:
        import keras
        import torch

        self.work = work
        self.template = keras_model(work)
        self.model = self.template
        if self.how == "ddp":
            self.model = torch.nn.parallel.DistributedDataParallel(self.template)
        self.optimizer = torch.optim.Adam(self.template.parameters(), LEARNING_RATE, foreach=True)
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def run(self, steps: int, rows: int, clock: Clock) -> None:
        import torch

        own = rows // self.count if self.how == "ddp" else rows
        x, y = map(torch.from_numpy, numbers(self.work, own))
        for done in range(steps + 1):
            if done == 1:
                clock.start()
            self.optimizer.zero_grad()
            self.loss(y, self.model(x)).backward()
            self.optimizer.step()
        clock.stop()

    def pids(self) -> list[int]:
        return []

    def release(self) -> None:
        pass

    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(parameter.shape) for parameter in self.template.parameters()]

    def collective_seconds(self, times: int) -> float:
        from benchmarks.replicate_torch import sum_seconds

        return sum_seconds(self.shapes(), times)


def exchange_seconds(shapes: list[tuple[int, ...]], times: int) -> tuple[float, float]:
    """Return what it costs to copy one replica's gradients to shared memory, and to add them to another's."""
    if os.environ.get("KERAS_BACKEND") == "torch":
        from benchmarks.replicate_torch import exchange_seconds as of_torch

        return of_torch(shapes, times)
    import numpy as np

    ours, theirs, there = ([np.ones(shape, np.float32) for shape in shapes] for _ in range(3))

    def copy() -> None:
        for one, other in zip(there, theirs, strict=True):
            np.copyto(one, other)

    def add() -> None:
        for one, other in zip(ours, there, strict=True):
            np.add(one, other, out=one)

    return least_seconds(copy, times), least_seconds(add, times)
