"""Kernels of Theano, against convolutions and correlations in NumPy, on every backend."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from befit.errors import ArgumentError, UnbuiltModelError, UnsupportedObjectError
from befit.legacy import conv_output_length, convert_all_kernels_in_model, convert_kernel

RANDOM = np.random.default_rng(0)


def correlation(x, kernel):
    """Slide a kernel ``(*spatial, in, out)`` over ``(*spatial, in)``, as it is."""
    *spatial, _, out = kernel.shape
    lengths = [size - length + 1 for size, length in zip(x.shape, spatial, strict=False)]
    result = np.zeros((*lengths, out))
    for place in itertools.product(*map(range, lengths)):
        window = x[tuple(slice(at, at + length) for at, length in zip(place, spatial, strict=True))]
        result[place] = np.tensordot(window, kernel, kernel.ndim - 1)
    return result


def convolution(x, kernel):
    """The same, with the kernel read backwards, as Theano did."""
    *spatial, _, out = kernel.shape
    lengths = [size - length + 1 for size, length in zip(x.shape, spatial, strict=False)]
    result = np.zeros((*lengths, out))
    for place in itertools.product(*map(range, lengths)):
        for step in itertools.product(*map(range, spatial)):
            at = tuple(p + length - 1 - s for p, s, length in zip(place, step, spatial, strict=True))
            result[place] += x[at] @ kernel[step]
    return result


@pytest.mark.parametrize("spatial", [(3,), (3, 2), (3, 2, 2)])
def test_a_converted_kernel_convolves_where_it_correlated(spatial):
    x, kernel = RANDOM.normal(size=(*(4 for _ in spatial), 2)), RANDOM.normal(size=(*spatial, 2, 3))
    np.testing.assert_allclose(correlation(x, convert_kernel(kernel)), convolution(x, kernel))
    np.testing.assert_array_equal(convert_kernel(convert_kernel(kernel)), kernel)


def test_a_converted_kernel_is_a_copy_of_the_same_dtype():
    kernel = np.ones((2, 3, 4), "float16")
    converted = convert_kernel(kernel)
    assert converted.dtype == kernel.dtype
    assert not np.shares_memory(kernel, converted)
    assert converted.flags.c_contiguous


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (1,) * 6])
def test_what_is_no_kernel_is_refused(shape):
    with pytest.raises(ArgumentError, match=f"{len(shape)} axes"):
        convert_kernel(np.zeros(shape))


def brute_length(length, size, padding, stride, dilation):
    """Count the places at which the kernel can stand."""
    reach = (size - 1) * dilation
    before = {"valid": 0, "same": reach // 2, "causal": reach, "full": reach}[padding]
    after = {"valid": 0, "same": reach - reach // 2, "causal": 0, "full": reach}[padding]
    return len(range(-before, length + after - reach, stride))


@pytest.mark.parametrize("padding", ["valid", "same", "causal", "full"])
def test_the_output_has_a_value_for_each_place_of_the_kernel(padding):
    for length, size, stride, dilation in itertools.product((5, 8, 13), (1, 2, 3), (1, 2, 3), (1, 2)):
        expected = brute_length(length, size, padding, stride, dilation)
        assert conv_output_length(length, size, padding, stride, dilation) == expected


def test_an_unknown_length_stays_unknown():
    assert conv_output_length(None, 3, "same", 1) is None


@pytest.mark.parametrize(
    "arguments", [(5, 3, "SAME", 1), (5, 0, "same", 1), (5, 3, "same", 0), (5.5, 3, "same", 1)]
)
def test_arguments_that_cannot_be_are_refused(arguments):
    with pytest.raises(ArgumentError, match="write"):
        conv_output_length(*arguments)


def inner_model(keras):
    return keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(2, 3, padding="same")], name="inner")


@pytest.mark.backends
class TestModels:
    @pytest.mark.parametrize("kind", ["Conv1D", "Conv2D", "Conv3D"])
    def test_a_converted_model_convolves(self, kind):
        import keras

        dimensions = int(kind[4])
        x = RANDOM.normal(size=(1, *(4,) * dimensions, 2)).astype("float32")
        model = keras.Sequential(
            [keras.Input(x.shape[1:]), getattr(keras.layers, kind)(3, 2, use_bias=False)]
        )
        (kernel,) = model.get_weights()
        np.testing.assert_allclose(model.predict(x, verbose=0)[0], correlation(x[0], kernel), atol=1e-5)
        convert_all_kernels_in_model(model)
        np.testing.assert_allclose(model.predict(x, verbose=0)[0], convolution(x[0], kernel), atol=1e-5)

    def test_each_convolution_is_converted_once_and_nothing_else(self):
        import keras

        class Own(keras.layers.Conv2D):
            pass

        inner = inner_model(keras)
        x = keras.Input((6, 6, 2))
        y = inner(inner(x))  # a shared layer
        y = Own(2, 3, name="own")(y)
        y = keras.layers.Conv2DTranspose(2, 3, name="transpose")(y)
        y = keras.layers.SeparableConv2D(2, 3, name="separable")(y)
        y = keras.layers.DepthwiseConv2D(3, name="depthwise")(y)
        y = keras.layers.Reshape((1, 2, 2, 2))(y)
        y = keras.layers.TimeDistributed(keras.layers.Conv2D(2, 2, name="timed"))(y)
        y = keras.layers.Dense(1)(keras.layers.Flatten()(y))
        model = keras.Model(x, y)
        before = {weight.path: np.asarray(keras.ops.convert_to_numpy(weight)) for weight in model.weights}
        convert_all_kernels_in_model(model)
        flipped = set()
        for weight in model.weights:
            after, old = keras.ops.convert_to_numpy(weight), before[weight.path]
            if not np.array_equal(after, old):
                flipped.add(weight.path)
                np.testing.assert_array_equal(after, old[::-1, ::-1])
        assert len(flipped) == 4
        assert all(
            any(name in path and path.endswith("kernel") for path in flipped)
            for name in ("inner", "own", "transpose", "time")
        )
        convert_all_kernels_in_model(model)
        for weight in model.weights:
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), before[weight.path])

    def test_a_model_that_cannot_be_converted_is_left_as_it_was(self):
        import keras

        first = inner_model(keras).layers[0]
        model = keras.Sequential([first, keras.layers.Conv2D(1, 2)])
        kernel = first.get_weights()[0]
        model.layers[1].built = False
        with pytest.raises(UnbuiltModelError, match="has no kernel yet"):
            convert_all_kernels_in_model(model)
        np.testing.assert_array_equal(first.get_weights()[0], kernel)

    def test_a_kernel_with_lora_is_refused(self):
        import keras

        model = inner_model(keras)
        model.layers[0].enable_lora(1)
        with pytest.raises(UnsupportedObjectError, match="enable_lora"):
            convert_all_kernels_in_model(model)


def test_what_is_no_keras_model_is_refused():
    with pytest.raises(UnsupportedObjectError, match="list is no Keras model"):
        convert_all_kernels_in_model([])
