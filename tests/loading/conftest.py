"""Sources that tell who asked for what, and loaders on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from befit import Loader, Sequence

SAMPLES, BATCH, BATCHES = 33, 5, 7
ENGINES = {"inline": 0, "threads": 2, "processes": 2}


class Numbered(Sequence):
    """Batch ``i`` is ``[i, epoch]``; knows how often an epoch ended."""

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, idx: int) -> Any:
        return np.array([idx, self.epoch])

    def on_epoch_end(self) -> None:
        self.epoch += 1


@pytest.fixture
def numbered() -> type[Numbered]:
    return Numbered


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make_loader(engine: str) -> Iterator[Callable[..., Loader]]:
    """Make loaders on the engine under test; all are closed after the test."""
    loaders: list[Loader] = []

    def make(source: Any, **settings: Any) -> Loader:
        loader = Loader(source, **{"workers": ENGINES[engine], "engine": engine, **settings})
        loaders.append(loader)
        return loader

    yield make
    for loader in loaders:
        loader.close()


class Ids(Sequence):
    """Samples are their own numbers; the sequence knows what was asked of it."""

    def __init__(self, samples=SAMPLES, batch=BATCH):
        self.samples, self.batch = samples, batch
        self.ended = 0
        self.loaded = []

    def __len__(self):
        return math.ceil(self.samples / self.batch)

    def __getitem__(self, idx):
        self.loaded.append(idx)
        ids = np.arange(idx * self.batch, min((idx + 1) * self.batch, self.samples), dtype="float32")
        return ids[:, None], ids[:, None]

    def on_epoch_end(self):
        self.ended += 1


@pytest.fixture
def ids() -> type[Ids]:
    return Ids


@pytest.fixture
def on():
    """Make the data for a model from a sequence, as it is or on an engine; loaders are closed afterwards."""
    loaders = []

    def make(engine, source, **settings):
        if engine == "sequence":
            return source
        workers = 0 if engine == "inline" else 2
        loaders.append(Loader(source, workers=workers, engine=engine, **settings))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


@pytest.fixture
def make_model() -> Callable[..., Any]:
    """Make a Keras model that learns nothing, and the metric that counts how often it saw each sample."""
    import keras
    from keras import ops

    class Counts(keras.metrics.Metric):
        def __init__(self, samples):
            super().__init__(name="samples")
            self.counts = self.add_weight(shape=(samples,), initializer="zeros", name="counts")

        def update_state(self, y_true, y_pred, sample_weight=None):
            ids = ops.cast(ops.reshape(y_true, (-1,)), "int32")
            weights = ops.ones((1,)) if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
            hot = ops.one_hot(ids, self.counts.shape[0])
            self.counts.assign_add(ops.sum(hot * ops.cast(weights, hot.dtype), axis=0))

        def result(self):
            return ops.sum(self.counts)

        def by_sample(self):
            return np.array(ops.convert_to_numpy(self.counts))

    def make(*, built=False, weighted=False, samples=SAMPLES, **settings):
        model = keras.Sequential([keras.layers.Dense(1)])
        counts = Counts(samples)
        where = "weighted_metrics" if weighted else "metrics"
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse", **{where: [counts]}, **settings)
        if built:
            model.build((None, 1))
        return model, counts

    return make


@pytest.fixture
def history() -> Callable[..., Any]:
    """Make a callback that keeps the counts of each epoch."""
    import keras

    class History(keras.callbacks.Callback):
        def __init__(self, counts):
            super().__init__()
            self.counts = counts
            self.epochs = []

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append(self.counts.by_sample())

    return History
