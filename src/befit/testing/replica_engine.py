"""What every engine that replicates Keras models has to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

Replicate: TypeAlias = Callable[[Any], Any]

ROWS, FEATURES, CLASSES = 25, 5, 3


class ReplicaEngineContract:
    """Inherit, and provide the fixture ``replicate``: a function from a template to its parallel model.

    Two and more devices are fine; with four, every way to split a batch is met.
    """

    tolerance = 1e-5

    @pytest.fixture
    def replicate(self) -> Replicate:
        """Return the function under test."""
        raise NotImplementedError("the test class provides the fixture `replicate`")

    @pytest.fixture
    def keras(self) -> Any:
        """Return Keras, or skip."""
        return pytest.importorskip("keras")

    @pytest.fixture
    def data(self) -> tuple[Any, Any]:
        """Return ``(rows, features)`` inputs and ``(rows, classes)`` targets."""
        generator = np.random.default_rng(7)
        return (
            generator.normal(size=(ROWS, FEATURES)).astype("float32"),
            generator.normal(size=(ROWS, CLASSES)).astype("float32"),
        )

    @pytest.mark.parametrize(
        "batch_size", [8, 6, 3], ids=["divides", "does-not-divide", "fewer-than-devices"]
    )
    def test_training_gives_the_numbers_of_one_device(
        self, keras: Any, replicate: Replicate, data: tuple[Any, Any], batch_size: int
    ) -> None:
        """25 rows leave one for the last batch, too."""
        single, template = _two_alike(keras)
        parallel = replicate(template)
        histories = []
        for model in (single, parallel):
            model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", metrics=["mae"])
            fitted = model.fit(*data, batch_size=batch_size, epochs=2, shuffle=False, verbose=0)
            histories.append(fitted.history)
        for name, values in histories[0].items():
            np.testing.assert_allclose(histories[1][name], values, rtol=self.tolerance, atol=self.tolerance)
        self._assert_same_weights(single, template)
        np.testing.assert_allclose(
            parallel.evaluate(*data, verbose=0), single.evaluate(*data, verbose=0), rtol=self.tolerance
        )

    def test_outputs_are_in_the_order_of_the_inputs(
        self, keras: Any, replicate: Replicate, data: tuple[Any, Any]
    ) -> None:
        """Concatenated sub-batches are the batch."""
        single, template = _two_alike(keras)
        parallel = replicate(template)
        expected = single.predict(data[0], batch_size=ROWS, verbose=0)
        for batch_size in (ROWS, 4):
            predicted = parallel.predict(data[0], batch_size=batch_size, verbose=0)
            np.testing.assert_allclose(predicted, expected, rtol=self.tolerance, atol=self.tolerance)
        for rows in (1, 2, 7):
            np.testing.assert_allclose(
                parallel.predict_on_batch(data[0][:rows]),
                expected[:rows],
                rtol=self.tolerance,
                atol=self.tolerance,
            )

    def test_single_batches_train_and_evaluate(
        self, keras: Any, replicate: Replicate, data: tuple[Any, Any]
    ) -> None:
        """``train_on_batch`` and ``test_on_batch`` split as ``fit`` does."""
        single, template = _two_alike(keras)
        parallel = replicate(template)
        for model in (single, parallel):
            model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        for rows in (8, 7, 1):
            batch = [array[:rows] for array in data]
            np.testing.assert_allclose(
                parallel.train_on_batch(*batch), single.train_on_batch(*batch), rtol=self.tolerance
            )
            np.testing.assert_allclose(
                parallel.test_on_batch(*batch), single.test_on_batch(*batch), rtol=self.tolerance
            )
        self._assert_same_weights(single, template)

    def test_the_variables_are_the_template_s_own(self, keras: Any, replicate: Replicate) -> None:
        """Not copies: the same objects, in the same order."""
        template = _mlp(keras)
        parallel = replicate(template)
        assert [id(variable) for variable in parallel.trainable_variables] == [
            id(variable) for variable in template.trainable_variables
        ]
        assert len(parallel.weights) == len(template.weights)

    def test_template_and_parallel_model_train_by_turns(
        self, keras: Any, replicate: Replicate, data: tuple[Any, Any]
    ) -> None:
        """What one trains the other has, optimizer included, and no device is in the way."""
        single, template = _two_alike(keras)
        parallel = replicate(template)
        single.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
        parallel.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
        for model in (parallel, template, parallel):
            for trained in (single, model):
                trained.fit(*data, batch_size=8, shuffle=False, verbose=0)
        self._assert_same_weights(single, template)
        np.testing.assert_allclose(
            template.predict(data[0], verbose=0), single.predict(data[0], verbose=0), atol=self.tolerance
        )

    @pytest.mark.parametrize("saved_by", ["template", "parallel"])
    def test_a_saved_file_is_the_plain_model_and_resumes(
        self, keras: Any, replicate: Replicate, data: tuple[Any, Any], tmp_path: Path, saved_by: str
    ) -> None:
        """The file knows nothing of devices, and the optimizer goes on where it was."""
        template = _mlp(keras)
        parallel = replicate(template)
        parallel.compile(optimizer="adam", loss="mse")
        parallel.fit(*data, batch_size=8, shuffle=False, verbose=0)
        path = tmp_path / "model.keras"
        {"template": template, "parallel": parallel}[saved_by].save(path)
        loaded = keras.models.load_model(path)
        assert type(loaded) is type(template)
        np.testing.assert_allclose(
            loaded.predict(data[0], verbose=0), template.predict(data[0], verbose=0), atol=self.tolerance
        )
        for model in (parallel, loaded):
            model.fit(*data, batch_size=8, shuffle=False, verbose=0)
        self._assert_same_weights(loaded, template)

    def _assert_same_weights(self, expected: Any, actual: Any) -> None:
        for left, right in zip(expected.get_weights(), actual.get_weights(), strict=True):
            np.testing.assert_allclose(right, left, rtol=self.tolerance, atol=self.tolerance)


def _mlp(keras: Any) -> Any:
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(6, activation="tanh", kernel_regularizer="l2")(inputs)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))


def _two_alike(keras: Any) -> tuple[Any, Any]:
    first, second = _mlp(keras), _mlp(keras)
    second.set_weights(first.get_weights())
    return first, second
