"""A string given to Keras stands for the object that the open blocks name; on every backend."""

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


class OtherObject(MyObject):
    pass


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


class MyLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


class MyMetric(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(keras.ops.abs(y_true - y_pred), sample_weight)


class MyActivation:
    """An activation with settings, as an object."""

    def __call__(self, x):
        return 3 * x

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def my_act(x):
    return keras.ops.tanh(x) + 1


def my_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred) + 1, axis=-1)


def my_metric(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred, axis=-1)


NAMES = {
    cls.__name__: cls
    for cls in (MyObject, MyConstraint, MyInitializer, MyLayer, MyOptimizer, MyLoss, MyMetric, MyActivation)
} | {"my_act": my_act, "my_loss": my_loss, "my_metric": my_metric}
X = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
Y = np.ones((4, 2), "float32")


def unknown(name: str) -> bool:
    with pytest.raises(ValueError, match=f"Could not interpret .*{name}"):
        keras.layers.Dense(2, kernel_regularizer=name)
    return True


def test_the_example_of_the_documentation():
    with CustomObjectScope({"MyObject": MyObject}):
        layer = keras.layers.Dense(2, kernel_regularizer="MyObject")
    assert type(layer.kernel_regularizer) is MyObject
    assert unknown("MyObject")


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("regularizers", "MyObject", MyObject),
        ("constraints", "MyConstraint", MyConstraint),
        ("initializers", "MyInitializer", MyInitializer),
        ("losses", "MyLoss", MyLoss),
        ("metrics", "MyMetric", MyMetric),
        ("optimizers", "MyOptimizer", MyOptimizer),
        ("activations", "MyActivation", MyActivation),
    ],
)
def test_a_class_by_name_becomes_a_new_instance_each_time(module, name, kind):
    get = getattr(keras, module).get
    with CustomObjectScope(NAMES):
        first, second = get(name), get(name)
    assert type(first) is type(second) is kind
    assert first is not second
    with pytest.raises((ValueError, TypeError)):
        get(name)


@pytest.mark.parametrize("module", ["activations", "losses", "metrics"])
def test_a_function_by_name_is_the_function(module):
    with CustomObjectScope({"f": my_act}):
        assert getattr(keras, module).get("f") is my_act


def test_an_instance_by_name_is_the_instance():
    regularizer = MyObject(0.1)
    with CustomObjectScope({"mine": regularizer}):
        assert keras.layers.Dense(2, kernel_regularizer="mine").kernel_regularizer is regularizer


def test_names_that_a_config_dictionary_gives():
    with CustomObjectScope(NAMES):
        assert keras.regularizers.get({"class_name": "MyObject", "config": {"factor": 0.1}}).factor == 0.1
        assert type(keras.layers.deserialize({"class_name": "MyLayer", "config": {"scale": 3}})) is MyLayer


def test_every_argument_of_a_layer_and_it_trains():
    with CustomObjectScope(NAMES):
        layer = keras.layers.Dense(
            2,
            activation="my_act",
            kernel_initializer="MyInitializer",
            kernel_regularizer="MyObject",
            bias_constraint="MyConstraint",
            activity_regularizer="MyObject",
        )
        model = keras.Sequential([keras.Input((3,)), layer, keras.layers.Activation("my_act")])
        model.compile(optimizer="MyOptimizer", loss="my_loss", metrics=["my_metric", "MyMetric"])
        history = model.fit(X, Y, epochs=1, verbose=0).history
    assert type(model.optimizer) is MyOptimizer
    assert layer.activation is my_act
    assert len(history) == 3  # the loss and two metrics
    assert history["loss"][0] > 1
    assert np.isfinite(model.evaluate(X, Y, verbose=0)).all()  # what has been looked up once stays


def test_loss_as_a_class():
    with CustomObjectScope(NAMES):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(loss="MyLoss")
        loss = model.evaluate(X, Y, verbose=0)
    assert np.isclose(loss, np.mean(np.abs(Y - model.predict(X, verbose=0))), atol=1e-5)


def test_built_in_names_go_on_to_work_inside():
    with CustomObjectScope(NAMES):
        layer = keras.layers.Dense(2, activation="relu", kernel_regularizer="l2")
        assert layer.activation is keras.activations.relu
        assert type(layer.kernel_regularizer) is keras.regularizers.L2
        assert unknown("nothing")


def test_built_in_names_can_be_shadowed_and_come_back():
    with CustomObjectScope({"relu": my_act, "mse": my_loss, "l2": MyObject}):
        assert keras.layers.Dense(2, activation="relu").activation is my_act
        assert keras.losses.get("mse") is my_loss
        assert type(keras.regularizers.get("l2")) is MyObject
        del get_custom_objects()["relu"]
        assert keras.layers.Dense(2, activation="relu").activation is keras.activations.relu
    assert keras.losses.get("mse") is keras.losses.mean_squared_error
    assert type(keras.regularizers.get("l2")) is keras.regularizers.L2


def test_names_written_inside_reach_keras_until_the_end():
    with CustomObjectScope():
        get_custom_objects()["MyObject"] = MyObject
        assert type(keras.regularizers.get("MyObject")) is MyObject
        keras.saving.get_custom_objects()["from_keras"] = MyObject  # Keras' own function is reverted as well
        assert type(keras.regularizers.get("from_keras")) is MyObject
        assert get_custom_objects()["from_keras"] is MyObject
    assert unknown("MyObject")
    assert unknown("from_keras")
    assert keras.saving.get_registered_object("from_keras") is None


def test_deleted_names_are_hidden_from_keras_until_the_end():
    keras.saving.get_custom_objects()["MyObject"] = MyObject
    try:
        assert get_custom_objects()["MyObject"] is MyObject
        with CustomObjectScope():
            assert keras.saving.get_registered_object("MyObject") is MyObject
            del get_custom_objects()["MyObject"]
            assert keras.saving.get_registered_object("MyObject") is None
            assert unknown("MyObject")
        with CustomObjectScope():
            keras.saving.get_custom_objects().clear()
            assert keras.saving.get_registered_object("MyObject") is None
        assert keras.saving.get_registered_object("MyObject") is MyObject
    finally:
        del keras.saving.get_custom_objects()["MyObject"]


def test_a_scope_shadows_the_registry_also_inside_of_nested_configs():
    """Keras 3 lets its process-wide names win over those of a scope there."""
    keras.saving.get_custom_objects()["MyObject"] = OtherObject
    try:
        with CustomObjectScope({"MyObject": MyObject}):
            model = keras.Sequential(
                [keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="MyObject")]
            )
            clone = keras.models.clone_model(model)
        assert type(clone.layers[0].kernel_regularizer) is MyObject
    finally:
        del keras.saving.get_custom_objects()["MyObject"]


def test_outside_of_blocks_a_process_wide_name_reaches_strings_too():
    """The old idiom get_custom_objects().update({'my_act': my_act}); Dense(activation='my_act')."""
    get_custom_objects().update({"my_act": my_act})
    try:
        assert keras.layers.Dense(2, activation="my_act").activation is my_act
        assert keras.saving.get_registered_object("my_act") is my_act
    finally:
        del get_custom_objects()["my_act"]
    with pytest.raises(ValueError, match="my_act"):
        keras.layers.Dense(2, activation="my_act")
