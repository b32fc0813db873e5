"""What ``fit`` and ``predict`` of Keras 3 hold in memory while they work on a compressed file.

Each backend and each kind of data is measured in an interpreter of its own:
`KERAS_BACKEND=jax python -m benchmarks.hdf5_keras befit FILE shuffle=True` is one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from benchmarks.interleave import keep
from benchmarks.loading_measure import Verdict, process_lines

_BACKENDS = ("jax", "torch", "tensorflow")
_ROWS, _FEATURES, _CHUNK_ROWS = 150_000, 1_000, 32
_CACHE_BYTES = 64 << 20
_TARGET = 250e6  # bytes
_BATCH = 128
_EPOCHS = 2


def _matrix(path: str, name: str) -> Any:
    from befit import HDF5Matrix

    return HDF5Matrix(path, name, cache_bytes=_CACHE_BYTES)


def _dataset(path: str, name: str) -> Any:
    return h5py.File(path)[name]


def _array(path: str, name: str) -> Any:
    return h5py.File(path)[name][:]


_DATA: dict[str, Callable[[str, str], Any]] = {"befit": _matrix, "h5py": _dataset, "memory": _array}
"""Who gives ``fit`` its data: a matrix, an ``h5py.Dataset``, which Keras loads whole, an array in memory."""

_WAYS: dict[str, dict[str, Any]] = {
    "shuffle=True": {"shuffle": True},
    "shuffle='chunks'": {"shuffle": "chunks"},
    "validation_split=0.2": {"shuffle": True, "validation_split": 0.2},
}


def keras_memory() -> list[Verdict]:
    """``fit`` for two epochs and ``predict``, on a file of 600 MB; all three backends."""
    rows, verdicts = [], []
    with tempfile.TemporaryDirectory(prefix="befit-hdf5-", dir="/var/tmp") as folder:
        path = os.path.join(folder, "lzf.h5")
        _write(path)
        for backend in _BACKENDS:
            found = {name: _alone(backend, name, path, "shuffle=True") for name in _DATA}
            ways = {way: _alone(backend, "befit", path, way) for way in _WAYS if way != "shuffle=True"}
            rows += [(backend, name, "shuffle=True", *_cells(cost)) for name, cost in found.items()]
            rows += [(backend, "befit", way, *_cells(cost)) for way, cost in ways.items()]
            most = max(cost["bytes"] for cost in (found["befit"], *ways.values()))
            verdicts.append(
                Verdict(
                    f"fit + predict, {backend}",
                    f"{most / 1e6:+.0f} MB",
                    f"h5py {found['h5py']['bytes'] / 1e6:+.0f} MB",
                    f"{most / found['h5py']['bytes']:.2f}",
                    f"<= {_TARGET / 1e6:.0f} MB",
                    most <= _TARGET,
                )
            )
        size = os.path.getsize(path) / 1e6
    keep(
        "hdf5 keras memory",
        ("backend", "data", "order", "MB more", "wall s", "CPU s"),
        rows,
        f"{_ROWS * _FEATURES * 4 / 1e6:.0f} MB of float32 in a file of {size:.0f} MB (lzf, chunks of "
        f"{_CHUNK_ROWS} rows), cache_bytes=64 MiB. MB more: anonymous and shared memory at its highest, "
        "above what the same process held with the model compiled and run.",
    )
    return verdicts


def _cells(cost: dict[str, float]) -> tuple[str, str, str]:
    return f"{cost['bytes'] / 1e6:+.0f}", f"{cost['wall']:.1f}", f"{cost['cpu']:.1f}"


def _write(path: str) -> None:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        x = file.create_dataset(
            "x", (_ROWS, _FEATURES), "f4", chunks=(_CHUNK_ROWS, _FEATURES), compression="lzf"
        )
        for start in range(0, _ROWS, 10_000):
            block = rng.standard_normal((10_000, _FEATURES), dtype=np.float32)
            x[start : start + 10_000] = np.maximum(block, 0)  # as the outputs of many layers: half zeros
        file["y"] = rng.integers(0, 2, _ROWS).astype("f4")


def _alone(backend: str, data: str, path: str, way: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.hdf5_keras", data, path, way]
    # With more threads than idle processors torch spends its time waiting for them.
    environment = {**os.environ, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


def _held() -> int:
    lines = dict(process_lines(os.getpid(), "status"))
    return lines["RssAnon"] + lines["RssShmem"]


@contextmanager
def _highest() -> Iterator[list[int]]:
    """Give a list whose one number is the most that this process held meanwhile."""
    most, over = [_held()], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], _held())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _measure(data: str, path: str, way: str) -> dict[str, float]:
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((_FEATURES,)), *layers])
    model.compile("sgd", "binary_crossentropy")
    few, labels = np.zeros((_BATCH + 1, _FEATURES), "f4"), np.zeros(_BATCH + 1, "f4")
    model.fit(few, labels, batch_size=_BATCH, validation_data=(few, labels), verbose=0)
    model.predict(few, batch_size=_BATCH, verbose=0)
    before = _held()
    started, used = time.perf_counter(), time.process_time()
    with _highest() as most:
        x, y = _DATA[data](path, "x"), _array(path, "y")
        model.fit(x, y, batch_size=_BATCH, epochs=_EPOCHS, verbose=0, **_WAYS[way])
        model.predict(x, batch_size=_BATCH, verbose=0)
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    return {"bytes": most[0] - before, "wall": wall, "cpu": cpu}


if __name__ == "__main__":
    print(json.dumps(_measure(*sys.argv[1:])))
