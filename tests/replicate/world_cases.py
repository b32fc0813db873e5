"""Models and modules that several processes and one have to make the same numbers of.

Each process that ``world_launch.py`` starts runs them, and so do the tests in one process.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import layers

from befit import multi_gpu_model
from befit.replicate import World

ROWS = 25
BATCH = 6  # in three processes 2 + 2 + 2 rows, and a last batch of one row
_random = np.random.default_rng(5)


def normal(*shape):
    return _random.normal(size=(ROWS, *shape)).astype("float32")


X, Y, IMAGES = normal(5), normal(3), normal(6, 6, 2)
TOKENS = _random.integers(7, size=(ROWS, 4)).astype("int32")
SEQUENCES = normal(4, 2)
WEIGHTS = np.linspace(0.5, 2.0, ROWS).astype("float32")


def dense(units, seed, **settings):
    return layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), **settings)


def mlp(middle=None):
    inputs = keras.Input((5,))
    hidden = dense(8, 1, activation="tanh", kernel_regularizer="l2", activity_regularizer="l2")(inputs)
    hidden = hidden if middle is None else middle(hidden)
    return keras.Model(inputs, dense(3, 2)(hidden))


def conv():
    images = keras.Input((6, 6, 2))
    kernel = keras.initializers.GlorotUniform(seed=3)
    hidden = layers.Conv2D(3, 3, use_bias=False, kernel_initializer=kernel)(images)
    hidden = layers.BatchNormalization(momentum=0.5)(hidden)
    return keras.Model(images, dense(3, 4)(layers.Flatten()(layers.ReLU()(hidden))))


def dictionaries():
    inputs = {"age": keras.Input((5,), name="age"), "size": keras.Input((3,), name="size")}
    both = layers.Concatenate()([inputs["age"], inputs["size"]])
    return keras.Model(
        inputs, {"price": dense(2, 5, name="price")(both), "kind": dense(1, 6, name="kind")(both)}
    )


def masked():
    tokens = keras.Input((4,), dtype="int32")
    vectors = keras.initializers.RandomUniform(seed=1)
    return keras.Model(
        tokens, dense(2, 7)(layers.Embedding(7, 4, mask_zero=True, embeddings_initializer=vectors)(tokens))
    )


class Awkward(keras.Model):
    """Not built before its first batch, adds a loss of its own, and leaves out a layer every other time."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.hidden, self.sometimes, self.out = dense(6, 8), dense(6, 9), dense(3, 10)
        self.never = dense(6, 11, kernel_regularizer="l2")
        self.never.build((None, 5))

    def call(self, inputs, training=False):
        hidden = self.hidden(inputs)
        if training:
            self.calls += 1
            self.add_loss(0.1 * keras.ops.mean(hidden**2))
        if self.calls % 2 or not self.sometimes.built:
            hidden = hidden + self.sometimes(inputs)
        return self.out(hidden)


class Alternating(keras.Model):
    """Trains one half of its layers after the other, as adversarial networks are."""

    def __init__(self):
        super().__init__()
        self.first, self.second = dense(4, 12, activation="tanh"), dense(3, 13)
        self.build((None, 5))

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build((None, 4))
        self.built = True

    def call(self, inputs):
        return self.second(self.first(inputs))

    def train_step(self, data):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        for layer in (self.first, self.second):
            self.zero_grad()
            loss = self.compute_loss(x=x, y=y, y_pred=self(x))
            values = [variable.value for variable in layer.trainable_variables]
            loss.backward(inputs=values)
            self.optimizer.apply([value.grad for value in values], layer.trainable_variables)
        self._loss_tracker.update_state(loss)
        return {"loss": self._loss_tracker.result()}


class Session:
    """Runs cases in this process of a world, or in the only one, with the replicas that there would be."""

    def __init__(self, world, count):
        self.world, self.count, self.results = world, count, {}

    def replicate(self, model, *, like_replicas=False):
        if self.world.size > 1:
            return multi_gpu_model(model, gpus=self.count)
        if like_replicas:
            return multi_gpu_model(model, devices=f"cpu:0..{self.count - 1}", engine="threads")
        return model

    def keep(self, name, value):
        for index, leaf in enumerate(keras.tree.flatten(value)):
            if hasattr(leaf, "detach"):
                leaf = leaf.detach().cpu()
            self.results[f"{name} {index}"] = np.asarray(leaf)

    def train(self, name, build, x, y, loss="mse", *, like_replicas=False, epochs=2, **settings):
        keras.utils.set_random_seed(11)
        model = self.replicate(build(), like_replicas=like_replicas)
        metrics = None if isinstance(y, dict) else ["mae"]
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss, metrics=metrics)
        fitted = model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, **settings)
        for key, values in sorted(fitted.history.items()):
            self.keep(f"{name} history {key}", values)
        self.keep(f"{name} predictions", model.predict(x, batch_size=BATCH, verbose=0))
        self.keep(f"{name} evaluation", model.evaluate(x, y, batch_size=BATCH, verbose=0))
        self.keep(f"{name} weights", model.get_weights())
        return model

    def run_jax(self):
        """Batch statistics and dropout are those of one device."""

        def both():
            hidden = layers.BatchNormalization()
            return mlp(lambda inputs: layers.Dropout(0.4)(hidden(inputs)))

        model = self.train("both", both, X, Y, sample_weight=WEIGHTS)
        for rows in (1, 6):
            self.keep(f"both train on {rows}", model.train_on_batch(X[:rows], Y[:rows]))
            self.keep(f"both test on {rows}", model.test_on_batch(X[:rows], Y[:rows]))
            self.keep(f"both predict on {rows}", model.predict_on_batch(X[:rows]))
        self.keep("both weights", model.get_weights())

    def run_torch(self):
        model = self.train("mlp", mlp, X, Y, sample_weight=WEIGHTS, validation_data=(X[:7], Y[:7]))
        for rows in (1, 2, 7):
            self.keep(f"mlp train on {rows}", model.train_on_batch(X[:rows], Y[:rows]))
            self.keep(f"mlp test on {rows}", model.test_on_batch(X[:rows], Y[:rows]))
            self.keep(f"mlp predict on {rows}", model.predict_on_batch(X[:rows]))
        model.layers[1].trainable = False
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        self.keep("frozen history", model.fit(X, Y, batch_size=BATCH, verbose=0).history["loss"])
        self.keep("frozen weights", model.get_weights())
        self.train("conv", conv, IMAGES, Y, like_replicas=True)
        self.train("dropout", lambda: mlp(layers.Dropout(0.4, seed=3)), X, Y, like_replicas=True)
        self.train(
            "dictionaries",
            dictionaries,
            {"age": X, "size": Y},
            {"price": X[:, :2], "kind": Y[:, :1]},
            {"price": "mse", "kind": "log_cosh"},
        )
        self.train("masked", masked, TOKENS, SEQUENCES)

    def save(self, folder):
        """Only the first process of a machine writes; the file opens as the plain model, and goes on."""
        model = self.replicate(mlp())
        model.compile(optimizer="adam", loss="mse")
        model.fit(X[:24], Y[:24], batch_size=BATCH, shuffle=False, verbose=0)
        path = Path(folder) / f"rank-{self.world.rank}.keras"
        model.save(path)
        model.save_weights(path.with_suffix(".weights.h5"))
        assert path.exists() == path.with_suffix(".weights.h5").exists() == (self.world.local_rank == 0)
        self.world.barrier(60)
        first = Path(folder) / "rank-0.keras"
        loaded = keras.models.load_model(first)
        assert type(loaded) is type(mlp())
        for one in (model, loaded):
            one.fit(X[:24], Y[:24], batch_size=BATCH, shuffle=False, verbose=0)
        self.keep("saved resumed", loaded.get_weights())
        for left, right in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
        own = first.with_suffix(".weights.h5")
        if self.world.rank:  # each machine may have its own file; those of the first process are everybody's
            other = mlp()
            other.compile(optimizer="adam", loss="mse")
            other.optimizer.build(other.trainable_variables)
            own = Path(folder) / f"own-{self.world.rank}.weights.h5"
            other.save_weights(own)
        model.load_weights(own)
        self.keep("saved loaded", model.get_weights())
        self.keep("saved loaded optimizer", [variable.numpy() for variable in model.optimizer.variables])


def run(world, count, folder):
    """Return the numbers of all cases of this backend, by name."""
    session = Session(world, count)
    session.save(folder)
    if keras.config.backend() == "jax":
        session.run_jax()
    else:
        session.run_torch()
        from world_cases_torch import run_torch

        run_torch(session, Awkward, Alternating)
    return session.results


def run_alone(count):
    """Return what one process makes of all cases."""
    with tempfile.TemporaryDirectory() as folder:
        return run(World(), count, folder)
