"""Keras models on torch with replicas in processes: the contract, and what differs from threads."""

import os
import pickle
import signal

import keras
import numpy as np
import pytest
from keras import layers, ops

from befit import CustomObjectScope, multi_gpu_model
from befit.errors import ArgumentError, ReplicaDiedError
from befit.replicate import simulate_devices
from befit.testing.replica_engine import ReplicaEngineContract

pytestmark = [
    pytest.mark.backends,
    pytest.mark.skipif(os.environ.get("KERAS_BACKEND") != "torch", reason="processes are torch's"),
]

DEVICES = "cpu:0..2"
random = np.random.default_rng(5)
X = random.normal(size=(13, 4)).astype("float32")
Y = random.normal(size=(13, 2)).astype("float32")


@pytest.fixture(scope="module", autouse=True)
def _processes():
    """Start them once; all models of this file share them."""
    simulate_devices(3)
    warm = replicated(keras.Sequential([keras.Input((1,)), layers.Dense(1)]))
    warm.predict_on_batch(np.zeros((3, 1)))
    yield
    warm.release()


def replicated(template):
    return multi_gpu_model(template, devices=DEVICES, engine="processes")


def threaded(template):
    return multi_gpu_model(template, devices=DEVICES, engine="threads")


class TestProcesses(ReplicaEngineContract):
    @pytest.fixture
    def replicate(self):
        return replicated


def dense(units, seed, **settings):
    return layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), **settings)


class Scaled(layers.Layer):
    """Known to this file alone; adds a loss, has a plain attribute and a state."""

    def build(self, input_shape):
        self.factor = 1.0
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, inputs, training=False):
        if training:
            self.add_loss(0.1 * ops.mean(inputs**2))
            self.seen.assign(self.seen + ops.cast(ops.shape(inputs)[0], "float32"))
        return inputs * self.factor


class Subclassed(keras.Model):
    """Has no configuration to be rebuilt from."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.hidden = dense(5, 1, activation="tanh", kernel_regularizer="l2")
        self.scaled = Scaled()
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.5, seed=3)
        self.out = dense(2, 2)

    def call(self, inputs, training=False):
        hidden = self.norm(self.scaled(self.hidden(inputs)), training=training)
        return self.out(self.drop(self.function(hidden), training=training))


def masked():
    tokens = keras.Input((3,), dtype="int32", name="tokens")
    embedded = layers.Embedding(7, 4, mask_zero=True, embeddings_initializer="ones")(tokens)
    hidden = layers.LSTM(3, return_sequences=True, kernel_initializer="ones", recurrent_initializer="ones")(
        embedded
    )
    return keras.Model({"tokens": tokens}, {"each": dense(2, 4)(hidden)})


TOKENS = random.integers(7, size=(13, 3)).astype("int32")
CASES = {
    "subclassed": (lambda: Subclassed(lambda x: x * 2), X, Y, "mse"),
    "masked": (masked, {"tokens": TOKENS}, {"each": random.normal(size=(13, 3, 2))}, {"each": "mse"}),
}


@pytest.mark.parametrize("name", CASES)
def test_training_gives_the_numbers_of_threads(name):
    """Masks, losses, batch statistics, states; and dropout, whose numbers follow from the layer's seed."""
    build, x, y, loss = CASES[name]
    results = []
    for replicate in (threaded, replicated):
        template = build()
        template.predict(x, verbose=0)
        parallel = replicate(template)
        parallel.compile(
            optimizer=keras.optimizers.Adam(0.01), loss=loss, metrics={} if name == "masked" else ["mae"]
        )
        fitted = parallel.fit(x, y, batch_size=5, epochs=2, shuffle=False, verbose=0)
        results.append((fitted.history, parallel.evaluate(x, y, verbose=0), template.get_weights()))
    for expected, actual in zip(*results, strict=True):
        keras.tree.map_structure(
            lambda left, right: np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-6),
            expected,
            actual,
        )


def test_attributes_and_frozen_layers_reach_the_replicas():
    """Attributes at the next step; ``trainable`` with ``compile``, as everywhere in Keras."""
    template = Subclassed(ops.relu)
    template.predict(X, verbose=0)
    parallel = replicated(template)
    np.testing.assert_allclose(parallel.predict(X, verbose=0), template.predict(X, verbose=0), atol=1e-6)
    template.scaled.factor = 3.0
    np.testing.assert_allclose(parallel.predict(X, verbose=0), template.predict(X, verbose=0), atol=1e-6)
    template.hidden.trainable = False
    template.norm.trainable = False
    before = [weight.copy() for layer in (template.hidden, template.norm) for weight in layer.get_weights()]
    parallel.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    parallel.fit(X, Y, batch_size=6, verbose=0)
    after = [weight for layer in (template.hidden, template.norm) for weight in layer.get_weights()]
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(parallel.predict(X, verbose=0), template.predict(X, verbose=0), atol=1e-6)


def test_settings_and_open_scopes_reach_the_replicas():
    def twice(inputs):
        return inputs * 2 * keras.config.epsilon()

    before = keras.config.epsilon()
    with CustomObjectScope({"twice": twice}):

        class Looks(layers.Layer):
            def call(self, inputs):
                return keras.activations.get("twice")(inputs)

        template = keras.Sequential([keras.Input((4,)), Looks()])
        keras.config.set_epsilon(0.25)
        try:
            np.testing.assert_allclose(replicated(template).predict(X, verbose=0), X * 0.5, rtol=1e-6)
        finally:
            keras.config.set_epsilon(before)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        template = keras.Sequential(
            [keras.Input((4,)), dense(6, 1, activation="relu"), dense(2, 2, dtype="float32")]
        )
    finally:
        keras.config.set_dtype_policy("float32")
    losses = []
    for replicate in (threaded, replicated):
        model = keras.models.clone_model(template)
        model.set_weights(template.get_weights())
        parallel = replicate(model)
        parallel.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        losses.append(parallel.fit(X, Y, batch_size=5, epochs=2, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


class Kills(keras.callbacks.Callback):
    """Kills a replica's process after a batch."""

    def __init__(self, parallel):
        super().__init__()
        self.parallel = parallel
        self.batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == 4:
            os.kill(self.parallel.replica_pids[1], signal.SIGKILL)


def test_training_goes_on_from_its_backup_after_a_replica_was_killed(tmp_path):
    """The numbers are those of a training that nothing happened to."""

    def build():
        return keras.Sequential([keras.Input((4,)), dense(6, 1, activation="tanh"), dense(2, 2)])

    def train(model, *callbacks):
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return model.fit(
            X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0, callbacks=[backup, *callbacks]
        ).history["loss"]

    expected = train(build())
    template = build()
    parallel = multi_gpu_model(template, devices=["cpu:1", "cpu:0", "cpu:2"], engine="processes")
    with pytest.raises(ReplicaDiedError, match=r"replica 2, on cpu:2, was killed by SIGKILL"):
        train(parallel, Kills(parallel))
    resumed = train(parallel)
    parallel.release()
    np.testing.assert_allclose(resumed, expected[1:], rtol=1e-5)


def test_release_ends_nothing_that_another_model_uses_and_pickles_are_plain():
    template = keras.Sequential([keras.Input((4,)), dense(2, 1)])
    parallel = replicated(template)
    assert parallel.replica_pids == []
    expected = parallel.predict(X, verbose=0)
    pids = parallel.replica_pids
    assert len(pids) == 2
    assert type(pickle.loads(pickle.dumps(parallel))) is type(template)
    parallel.release()
    assert parallel.replica_pids == []
    np.testing.assert_array_equal(parallel.predict(X, verbose=0), expected)
    assert parallel.replica_pids == pids, "those of the model of this file"


def test_an_unknown_engine():
    with pytest.raises(ArgumentError, match=r"engine='process' is unknown; write one of 'auto', 'processes'"):
        multi_gpu_model(keras.Sequential([keras.Input((4,)), dense(2, 1)]), devices=DEVICES, engine="process")
