"""Subclassed Keras models that are awkward to read: they loop, draw random numbers, ask for shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from befit.graph.reading import model_graph

pytestmark = pytest.mark.backends


def make(keras: Any, kind: str) -> tuple[Any, tuple[int, ...], list[str]]:
    """Return a model, the shape of an input, and the types of the layers that it calls."""

    class Reshaping(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="reshaping")
            self.dense = keras.layers.Dense(4)

        def call(self, x: Any) -> Any:
            return keras.ops.reshape(self.dense(x), (keras.ops.shape(x)[0], 2, 2))

    class Drawing(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="drawing")
            self.dense, self.seed = keras.layers.Dense(4), keras.random.SeedGenerator(1)

        def call(self, x: Any) -> Any:
            y = self.dense(x)
            return y + keras.random.normal(keras.ops.shape(y)[1:], seed=self.seed)

    class Looping(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__(name="looping")
            self.first, self.again = keras.layers.Dense(4), keras.layers.Dense(4)

        def call(self, x: Any) -> Any:
            x = self.first(x)
            for _ in range(3):
                x = self.again(x)
            return {"out": x}

    kinds = {
        "reshaping": (Reshaping, (2, 3), ["Dense"]),
        "drawing": (Drawing, (2, 3), ["Dense"]),
        "looping": (Looping, (2, 3), ["Dense", "Dense", "Dense", "Dense"]),
    }
    build, shape, types = kinds[kind]
    return build(), shape, types


@pytest.mark.parametrize("kind", ["reshaping", "drawing", "looping"])
def test_code_is_followed_and_nothing_stays(keras: Any, kind: str) -> None:
    """Nodes, weights and the state of the random numbers are those of before."""
    model, shape, types = make(keras, kind)
    model(np.ones(shape, "float32"))
    layers = model._flatten_layers()
    before = [(list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers]
    values = [variable.numpy().copy() for variable in model.variables]
    graph = model_graph(model)
    assert graph.is_traced
    assert [graph.layer_of(node).type for node in graph.nodes if node.inputs and node.macs] == types
    assert [(list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers] == before
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(values, model.variables, strict=True))


def test_a_wrapper_shows_the_settings_of_the_layer_inside(keras: Any) -> None:
    """Else two of them, around layers that differ, would look alike."""
    layers = keras.layers
    inputs = keras.Input((5, 3))
    x = layers.TimeDistributed(layers.Dense(3, activation="tanh"), name="each")(inputs)
    x = layers.Bidirectional(layers.GRU(2), merge_mode="sum", name="both")(x)
    graph = model_graph(keras.Model(inputs, x))
    assert graph.layers["each"].config["layer.activation"] == "tanh"
    assert graph.layers["both"].config["merge_mode"] == "sum"
    assert graph.layers["both"].config["layer.return_sequences"] is False
