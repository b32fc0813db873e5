"""A device whose memory ends: what the error says, and what it leaves."""

import keras
import numpy as np
import pytest

from befit import multi_gpu_model

pytestmark = pytest.mark.backends

X = np.ones((7, 3), "float32")
Y = np.ones((7, 2), "float32")
ADVICE = "pass a smaller batch, or more devices"


class Huge(keras.layers.Layer):
    """Makes, in training or out of it, more numbers than any machine can hold: the allocator refuses."""

    def __init__(self, in_training):
        super().__init__()
        self.in_training = in_training

    def call(self, inputs, training=False):
        if bool(training) != self.in_training:
            return inputs
        return inputs + self.compute(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute(self, inputs):
        backend = keras.config.backend()
        if backend == "torch":
            import torch

            return 0 if inputs.is_meta else torch.empty(2**45, dtype=torch.float64)[0]
        if backend == "tensorflow":
            import tensorflow as tf

            many = tf.cast(tf.reduce_sum(inputs * 0), "int64") + 2**45  # not known to the one who compiles
            return tf.sort(tf.random.uniform([many]))[0]
        import jax

        # As JAX words it. A true one on virtual devices would leave the others waiting for this one.
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 35184372088832 bytes.")


def build(huge):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), huge])


@pytest.mark.parametrize("in_training", [True, False])
def test_the_framework_s_own_error_gets_advice(backend, in_training):
    """Its type stays, and the advice is given once, also where fit has called evaluate."""
    template = build(Huge(in_training))
    parallel = multi_gpu_model(template, gpus=4)
    parallel.compile(keras.optimizers.SGD(0.0), "mse")
    before = template.get_weights()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - RuntimeError, or TensorFlow's own
        parallel.fit(X, Y, batch_size=7, verbose=0, validation_data=(X, Y))
    if backend == "tensorflow":
        assert type(caught.value).__name__ == "ResourceExhaustedError"
    else:  # JAX's own is one; Keras makes a plain one of it where it leaves a layer
        assert isinstance(caught.value, RuntimeError)
    assert [ADVICE in note for note in caught.value.__notes__].count(True) == 1
    assert "each of the 4 replicas (cpu:0, cpu:1, cpu:2, cpu:3)" in "\n".join(caught.value.__notes__)
    if backend == "jax" and in_training:
        return  # as on one device: Keras has taken the values out of the variables
    for left, right in zip(before, template.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


class Fails(keras.layers.Layer):
    """Raises an error in the replica of the last row."""

    error: BaseException

    def call(self, inputs):
        if len(inputs) == 1:
            raise self.error
        return inputs


def test_an_error_of_one_torch_replica_says_which_one_had_how_many_rows(backend):
    if backend != "torch":
        pytest.skip("elsewhere no replica has an error of its own")
    import torch

    layer = Fails()
    template = build(layer)
    parallel = multi_gpu_model(template, gpus=4, engine="threads")
    parallel.compile("sgd", "mse")
    before = template.get_weights()
    for error in (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), MemoryError()):
        layer.error = error
        with pytest.raises(type(error)) as caught:
            parallel.train_on_batch(X, Y)
        assert str(error) in str(caught.value)
        rows, where, advice = caught.value.__notes__
        assert rows == "replica 3 had 1 rows; no weight has changed in this step"
        assert where == "raised in replica 3 of 4, on cpu:3"
        assert ADVICE in advice
    for left, right in zip(before, template.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_other_errors_get_no_advice():
    """Memory has nothing to do with them."""
    parallel = multi_gpu_model(build(keras.layers.Activation("relu")), gpus=2)
    parallel.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"expected shape|incompatible") as caught:
        parallel.train_on_batch(np.ones((4, 5), "float32"), np.ones((4, 2), "float32"))
    assert not any(ADVICE in note for note in getattr(caught.value, "__notes__", ()))
