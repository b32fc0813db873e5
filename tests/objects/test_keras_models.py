"""Saved, cloned and rebuilt models find their custom objects by name; on every backend."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from befit.objects import CustomObjectScope, get_custom_objects

pytestmark = pytest.mark.backends


class MyObject(keras.regularizers.Regularizer):
    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, weights):
        return self.factor * keras.ops.sum(keras.ops.abs(weights))

    def get_config(self):
        return {"factor": self.factor}


class MyConstraint(keras.constraints.Constraint):
    def __call__(self, weights):
        return keras.ops.clip(weights, -1, 1)


class MyInitializer(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, 0.25, dtype=dtype)


class MyLayer(keras.layers.Layer):
    def __init__(self, scale=2.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        return inputs * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape  # TimeDistributed asks for it when a model is built from its config

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class MyOptimizer(keras.optimizers.SGD):
    pass


def my_act(x):
    return keras.ops.tanh(x) + 1


def my_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred) + 1, axis=-1)


def my_metric(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred, axis=-1)


NAMES = {
    cls.__name__: cls
    for cls in (
        MyObject,
        MyConstraint,
        MyInitializer,
        MyLayer,
        MyOptimizer,
    )
} | {"my_act": my_act, "my_loss": my_loss, "my_metric": my_metric}


def make_model():
    inner = keras.layers.Dense(
        4, activation="my_act", kernel_regularizer="MyObject", bias_constraint="MyConstraint"
    )
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            MyLayer(3.0),
            keras.layers.TimeDistributed(inner),
            keras.layers.TimeDistributed(MyLayer(0.5)),
            keras.layers.Dense(
                2, activation=my_act, kernel_initializer="MyInitializer", kernel_regularizer=MyObject(2)
            ),
        ]
    )


def assert_same_model(model, expected):
    data = np.linspace(-1, 1, 30, dtype="float32").reshape(2, 5, 3)
    assert np.allclose(model.predict(data, verbose=0), expected.predict(data, verbose=0), atol=1e-6)
    wrapped = model.layers[1].layer
    assert (type(wrapped.kernel_regularizer), wrapped.activation) == (MyObject, my_act)
    assert type(wrapped.bias_constraint) is MyConstraint
    assert (type(model.layers[2].layer), model.layers[2].layer.scale) == (MyLayer, 0.5)
    assert model.layers[3].kernel_regularizer.factor == 2
    assert type(model.layers[3].kernel_initializer) is MyInitializer


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_saved_model_is_loaded(ending, nested, tmp_path):
    path = tmp_path / f"model.{ending}"
    with CustomObjectScope(NAMES):
        model = make_model()
        model.compile(optimizer="MyOptimizer", loss="my_loss", metrics=["my_metric"])
        data, target = np.ones((2, 5, 3), "float32"), np.zeros((2, 5, 2), "float32")
        expected = model.evaluate(data, target, verbose=0)
    model.save(path)
    first = {"MyLayer": MyLayer, "MyConstraint": MyConstraint, "my_act": my_act, "my_metric": my_metric}
    rest = {name: obj for name, obj in NAMES.items() if name not in first}
    outer, inner = (first, rest) if nested else (NAMES, {})
    with CustomObjectScope(outer), CustomObjectScope(inner):
        loaded = keras.models.load_model(path)
    assert_same_model(loaded, model)
    assert type(loaded.optimizer) is MyOptimizer
    assert np.allclose(loaded.evaluate(data, target, verbose=0), expected)
    with pytest.raises((TypeError, ValueError)):
        keras.models.load_model(path)


def test_names_written_inside_reach_load_model_until_the_end(tmp_path):
    path = tmp_path / "model.keras"
    with CustomObjectScope(NAMES):
        model = make_model()
    model.save(path)
    with CustomObjectScope():
        get_custom_objects().update(NAMES)
        assert_same_model(keras.models.load_model(path), model)
        del get_custom_objects()["MyLayer"]
        with pytest.raises(TypeError, match="MyLayer"):
            keras.models.load_model(path)
    with CustomObjectScope(NAMES), CustomObjectScope():
        get_custom_objects().clear()
        with pytest.raises(TypeError, match="MyLayer"):
            keras.models.load_model(path)
    with CustomObjectScope(NAMES):
        assert_same_model(keras.models.load_model(path), model)


def test_clone_and_config_and_json():
    classes = {name: obj for name, obj in NAMES.items() if name.startswith("My")}
    with CustomObjectScope(classes), CustomObjectScope({"my_act": my_act}):
        model = make_model()
        copies = [
            keras.models.clone_model(model),
            keras.Sequential.from_config(model.get_config()),
            keras.models.model_from_json(model.to_json()),
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model)),
        ]
    for copy in copies:
        copy.set_weights(model.get_weights())
        assert_same_model(copy, model)


def test_functional_model_with_a_custom_class_of_its_own():
    class MyModel(keras.Model):
        pass

    inputs = keras.Input((3,))
    with CustomObjectScope(NAMES, {"MyModel": MyModel}):
        model = MyModel(inputs, keras.layers.Dense(2, activation="my_act")(inputs))
        copy = keras.models.clone_model(model)
        assert type(keras.models.model_from_json(model.to_json())) is MyModel
    assert copy.layers[1].activation is my_act
