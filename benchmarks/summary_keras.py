"""Keras models: befit's summary beside `Model.summary`."""

from __future__ import annotations

import sys
from typing import Any

import befit
from benchmarks.hdf5_measure import times
from benchmarks.loading_measure import Verdict
from benchmarks.summary_measure import cpu_seconds, milliseconds, show

ROUNDS = 7
TARGET = 20


def of_resnet() -> list[Verdict]:
    import keras

    return _compared("ResNet50", keras.applications.ResNet50(weights=None))


def of_chain() -> list[Verdict]:
    """A thousand layers; Keras recurses to build such a model."""
    import keras

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        inputs = x = keras.Input((8,))
        for _ in range(1000):
            x = keras.layers.Dense(8)(x)
        return _compared("1,000 layers", keras.Model(inputs, x))
    finally:
        sys.setrecursionlimit(limit)


def _compared(name: str, model: Any) -> list[Verdict]:
    samples = cpu_seconds(
        {
            "befit": lambda: str(befit.summary(model)),
            "befit, the graph alone": lambda: befit.model_graph(model),
            "keras": lambda: model.summary(print_fn=lambda text, line_break=None: None),
        },
        rounds=ROUNDS,
    )
    show(f"summary, {name}", samples, "Time of the processor, all threads.")
    ratio = times(samples, "keras", "befit")
    return [
        Verdict(
            name,
            milliseconds(samples["befit"]),
            f"keras {milliseconds(samples['keras'])}",
            f"{ratio:.1f}",
            f">= {TARGET}",
            ratio >= TARGET,
        )
    ]
