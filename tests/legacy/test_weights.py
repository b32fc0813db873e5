"""``count_params`` against Keras, and ``Dense`` weights against models of both data formats."""

from __future__ import annotations

import numpy as np
import pytest

from befit.errors import ArgumentError, UnbuiltModelError, UnsupportedObjectError
from befit.legacy import convert_dense_weights_data_format, count_params

RANDOM = np.random.default_rng(0)


@pytest.fixture
def dense():
    """Make a ``Dense`` layer with weights."""
    import keras

    def make(inputs, use_bias=True):
        layer = keras.layers.Dense(4, use_bias=use_bias)
        layer.build((None, inputs))
        layer.set_weights([RANDOM.normal(size=weight.shape).astype("float32") for weight in layer.weights])
        return layer

    return make


@pytest.mark.backends
@pytest.mark.parametrize("spatial", [(3,), (3, 2), (2, 3, 2)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_flattened_map_of_the_other_format_gives_the_same(dense, spatial, use_bias):
    channels, layer = 5, dense(5 * np.prod(spatial), use_bias)
    x = RANDOM.normal(size=(7, *spatial, channels)).astype("float32")
    first = np.moveaxis(x, -1, 1)
    before, weights = layer(x.reshape(7, -1)), layer.get_weights()

    convert_dense_weights_data_format(layer, (channels, *spatial))
    np.testing.assert_allclose(numbers(layer(first.reshape(7, -1))), numbers(before), rtol=1e-4, atol=1e-4)
    convert_dense_weights_data_format(layer, (*spatial, channels), "channels_last")
    for now, then in zip(layer.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


def numbers(tensor):
    import keras

    return keras.ops.convert_to_numpy(tensor)


def test_a_format_that_does_not_exist_is_refused(dense):
    with pytest.raises(ArgumentError, match="write 'channels_first' or 'channels_last'"):
        convert_dense_weights_data_format(dense(6), (2, 3, 1), "th")


@pytest.mark.parametrize("shape", [(2, 3, 2), (6,), ()])
def test_a_shape_that_does_not_fit_is_refused(dense, shape):
    with pytest.raises(ArgumentError, match="goes into the Flatten layer"):
        convert_dense_weights_data_format(dense(6), shape)


def test_a_layer_without_weights_is_refused():
    import keras

    with pytest.raises(UnbuiltModelError, match="has no weights yet"):
        convert_dense_weights_data_format(keras.layers.Dense(4), (2, 3, 1))


@pytest.mark.backends
def test_the_numbers_in_a_model_are_counted():
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    assert count_params(model.weights) == model.count_params() == 27 + 12
    assert count_params(model.trainable_weights) == 27 + 6
    assert count_params([*model.weights, *model.weights]) == model.count_params()
    assert count_params(weight.value for weight in model.weights) == model.count_params()


def test_equal_arrays_are_two_arrays_and_scalars_are_one_number():
    assert count_params([np.zeros(3), np.zeros(3)]) == 6
    assert count_params([np.zeros(()), np.zeros((0, 4))]) == 1
    assert count_params([]) == 0


def test_what_has_no_shape_is_refused():
    with pytest.raises(UnsupportedObjectError, match=r"list is no weight.*model\.weights"):
        count_params([[1.0, 2.0]])
