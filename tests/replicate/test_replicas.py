"""Each replica on a device of its own, and what happens to statistics and random numbers there."""

import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

from befit import multi_gpu_model
from befit.replicate.split import sub_batch_sizes

pytestmark = pytest.mark.backends


@pytest.fixture
def rows():
    return np.random.default_rng(1).normal(loc=2.0, size=(7, 3)).astype("float32")


def slices_of(rows, backend):
    """Return what one replica sees: on JAX the whole batch, elsewhere its own slice."""
    return [rows] if backend == "jax" else np.split(rows, np.cumsum(sub_batch_sizes(len(rows), 4))[:-1])


class Witness(layers.Layer):
    """Notes where it runs, and on how many rows."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def compute_output_shape(self, input_shape):
        return input_shape

    def call(self, inputs):
        backend = keras.config.backend()
        if backend == "torch":
            if not inputs.is_meta:
                self.seen.add((len(self.seen), len(inputs)))  # one CPU for all: the calls are counted
        elif backend == "tensorflow":
            if hasattr(inputs, "numpy"):
                self.seen.add((inputs.device, len(inputs)))
        else:
            import jax

            jax.debug.inspect_array_sharding(
                inputs,
                callback=lambda sharding: self.seen.update(
                    (str(device), sharding.shard_shape(inputs.shape)[0]) for device in sharding.device_set
                ),
            )
        return inputs


def test_every_replica_runs_on_its_own_device(backend, rows):
    witness = Witness()
    parallel = multi_gpu_model(keras.Sequential([keras.Input((3,)), witness]), gpus=4)
    witness.seen.clear()
    batch = np.concatenate([rows, rows[:1]])
    if backend == "jax":
        parallel.predict_on_batch(batch)
    else:
        parallel(batch)
    assert len({device for device, _ in witness.seen}) == 4, witness.seen
    assert {size for _, size in witness.seen} == {2}


def test_batch_statistics(backend, rows):
    """On JAX they are the whole batch's; elsewhere each replica's, and the moving ones are averaged."""
    template = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(momentum=0.5, epsilon=0.1)])
    parallel = multi_gpu_model(template, gpus=4)
    parallel.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    loss = parallel.train_on_batch(rows, np.zeros_like(rows))
    parts = slices_of(rows, backend)
    normalized = np.concatenate([(part - part.mean(0)) / np.sqrt(part.var(0) + 0.1) for part in parts])
    np.testing.assert_allclose(loss, np.mean(normalized**2), rtol=1e-5)
    shares = [len(part) / len(rows) for part in parts]
    _, _, moving_mean, moving_variance = template.get_weights()
    mean = sum(share * part.mean(0) for share, part in zip(shares, parts, strict=True))
    variance = sum(share * part.var(0) for share, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(moving_mean, 0.5 * mean, rtol=1e-5)
    np.testing.assert_allclose(moving_variance, 0.5 + 0.5 * variance, rtol=1e-5)


def test_evaluation_leaves_statistics_alone(rows):
    template = keras.Sequential([keras.Input((3,)), layers.BatchNormalization()])
    before = template.get_weights()
    multi_gpu_model(template, gpus=4).predict(rows, verbose=0)
    for left, right in zip(before, template.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("count", [4, 8])
def test_replicas_drop_different_units(backend, count):
    """Replica 0 draws what one device would draw for its rows; every other replica draws something else."""

    def build():
        return keras.Sequential([keras.Input((200,)), layers.Dropout(0.5, seed=5)])

    single = build()
    parallel, again = (multi_gpu_model(build(), gpus=count) for _ in range(2))
    rows = np.ones((count, 200), "float32")

    def kept(model):
        return ops.convert_to_numpy(model(rows, training=True)) > 0

    if backend == "jax":
        np.testing.assert_array_equal(kept(parallel), kept(single))
        return
    first, second = kept(parallel), kept(parallel)
    drawn = [*first, *second]
    agreement = [np.mean(drawn[i] == drawn[j]) for i in range(2 * count) for j in range(i)]
    assert max(agreement) < 0.7, "two replicas or two steps drew the same"
    assert 0.48 < np.mean(agreement) < 0.52
    assert 0.45 < np.mean(drawn) < 0.55
    np.testing.assert_array_equal(kept(again), first)
    np.testing.assert_array_equal(first[:1], ops.convert_to_numpy(single(rows[:1], training=True)) > 0)


def test_a_torch_seed_repeats_a_run(backend):
    """Whatever a layer draws from torch's one generator of the CPU."""
    if backend != "torch":
        pytest.skip("the generators of the others belong to layers")
    import torch

    class Noise(layers.Layer):
        def call(self, inputs):
            return sum(torch.rand_like(inputs) for _ in range(20))

    parallel = multi_gpu_model(keras.Sequential([keras.Input((200,)), Noise()]), gpus=4)

    def draw():
        torch.manual_seed(0)
        return ops.convert_to_numpy(parallel(np.ones((8, 200), "float32")))

    expected = draw()
    assert all(np.array_equal(draw(), expected) for _ in range(20))


@pytest.mark.usefixtures("a_thread_for_each")
def test_torch_replicas_on_devices_of_their_own_run_side_by_side(backend):
    if backend != "torch":
        pytest.skip("threads are torch's")
    meeting = threading.Barrier(4, timeout=60)

    class Meets(layers.Layer):
        def call(self, inputs):
            if not inputs.is_meta:
                meeting.wait()  # breaks unless all four replicas run at the same time
            return inputs

    parallel = multi_gpu_model(keras.Sequential([keras.Input((3,)), Meets()]), gpus=4)
    assert parallel(np.ones((7, 3), "float32")).shape == (7, 3)


def test_a_replica_s_error_says_which(backend, rows):
    class Refuses(layers.Layer):
        def call(self, inputs):
            if len(inputs) == 1:
                raise RuntimeError("one row is not enough")
            return inputs

    if backend != "torch":
        pytest.skip("only threads have an error of their own")
    template = keras.Sequential([keras.Input((3,)), Refuses()])
    with pytest.raises(RuntimeError) as caught:
        multi_gpu_model(template, gpus=4).predict_on_batch(rows)
    assert caught.value.__notes__[0] == "raised in replica 3 of 4, on cpu:3"
