"""`to_categorical` and `normalize` beside their peers: CPU seconds, in turn, one thread, float32.

`python -m benchmarks.arrays normalize` runs only that part. befit appears twice: with the compiled loops of
the extra `speed`, and with NumPy alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import sklearn.preprocessing
import torch

import befit
from befit.arrays import OneHotBuffer, categorical, normalization
from benchmarks.files_measure import no_less_than, no_more_than
from benchmarks.hdf5_measure import Samples, cpu, loads, times
from benchmarks.interleave import in_turn, keep
from benchmarks.loading_measure import Verdict, measure, spread

Work = Mapping[str, Callable[[], object]]

ROUNDS = 25
LIMIT = "limit: fresh pages"
COPY = "limit: x.copy()"
COPY_TO = "limit: copyto"


def one_hot() -> list[Verdict]:
    """Ten million elements as 10 and as 1000 classes, into new memory."""
    verdicts = []
    for classes, limit, limit_numpy in ((10, 1.5, 2.0), (1000, 1.0, 1.0)):
        y = labels(10_000_000 // classes, classes)
        table, tensor = np.eye(classes, dtype="float32"), torch.from_numpy(y)
        samples = run(
            {
                LIMIT: lambda y=y, classes=classes: touch(y.size * classes * 4),
                "befit": lambda y=y, classes=classes: befit.to_categorical(y, classes),
                "befit without numba": by_numpy(
                    lambda y=y, classes=classes: befit.to_categorical(y, classes)
                ),
                "Keras": lambda y=y, classes=classes: keras_utils().to_categorical(y, classes),
                "np.eye(classes)[y]": lambda y=y, table=table: table[y],
                "torch one_hot": lambda tensor=tensor, classes=classes: torch.nn.functional.one_hot(
                    tensor, classes
                ),
            }
        )
        name = f"to_categorical, {y.size:,} labels, {classes} classes"
        show(f"arrays one-hot {classes}", samples, LIMIT)
        verdicts.append(no_more_than(name, samples, LIMIT, limit))
        verdicts.append(
            no_more_than(f"{name}, NumPy alone", samples, LIMIT, limit_numpy, befit="befit without numba")
        )
    return verdicts


def reused() -> list[Verdict]:
    """Batches of 10,000 labels of 1000 classes, one after the other, into memory that was used before."""
    batches = [labels(10_000, 1000, seed) for seed in range(8)]
    memory, buffer = np.zeros((10_000, 1000), "float32"), OneHotBuffer((10_000, 1000))

    def each(function: Callable[[np.ndarray[Any, Any]], object]) -> Callable[[], None]:
        def run_batches() -> None:
            for y in batches:
                function(y)

        return run_batches

    samples = run(
        {
            "filling": each(lambda _: memory.fill(0)),
            "befit": each(lambda y: befit.to_categorical(y, 1000, out=buffer)),
            "befit, an array": each(lambda y: befit.to_categorical(y, 1000, out=memory)),
        }
    )
    show("arrays one-hot reused", samples, "befit", note="Eight batches.")
    return [no_less_than("to_categorical, 10,000 labels, 1000 classes, reused", samples, "filling", 20)]


def overhead() -> list[Verdict]:
    """100 labels, a thousand times: what a call costs."""
    y = labels(100, 10)

    def thousand(function: Callable[..., object]) -> Callable[[], None]:
        def repeat() -> None:
            for _ in range(1000):
                function(y, 10)

        return repeat

    samples = run({"befit": thousand(befit.to_categorical), "Keras": thousand(keras_utils().to_categorical)})
    show("arrays one-hot of few", samples, "Keras", note="A thousand calls.")
    return [no_more_than("to_categorical, 100 labels", samples, "Keras", 1.3)]


def normalize() -> list[Verdict]:
    """Ten million float32 values in rows, into new memory and into memory that is there."""
    verdicts = []
    for width in (10, 100, 1008):
        x = np.random.default_rng(0).normal(size=(10_000_000 // width, width)).astype("float32")
        out = np.empty_like(x)
        tensor, tensor_out = torch.from_numpy(x), torch.from_numpy(out)
        fresh = run(
            {
                COPY: lambda x=x: x.copy(),
                "befit": lambda x=x: befit.normalize(x),
                "befit without numba": by_numpy(lambda x=x: befit.normalize(x)),
                "Keras": lambda x=x: keras_utils().normalize(x),
                "scikit-learn": lambda x=x: sklearn.preprocessing.normalize(x),
                "torch": lambda tensor=tensor: torch.nn.functional.normalize(tensor, dim=-1),
            }
        )
        into = run(
            {
                COPY_TO: lambda x=x, out=out: np.copyto(out, x),
                "befit": lambda x=x, out=out: befit.normalize(x, out=out),
                "befit without numba": by_numpy(lambda x=x, out=out: befit.normalize(x, out=out)),
                "torch": lambda tensor=tensor, out=tensor_out: torch.nn.functional.normalize(
                    tensor, dim=-1, out=out
                ),
            }
        )
        show(f"arrays normalize {width}", fresh, COPY)
        show(f"arrays normalize {width} out", into, COPY_TO)
        if width == 100:
            verdicts.append(no_more_than("normalize, rows of 100", fresh, COPY, 1.25))
        if width == 1008:
            verdicts.append(no_more_than("normalize, rows of 1008, out=", into, COPY_TO, 1.15))
        if width > 10:
            name = f"normalize, rows of {width}, NumPy alone"
            verdicts.append(no_more_than(name, fresh, COPY, 2.0, befit="befit without numba"))
    return verdicts


def first_call() -> list[Verdict]:
    """What the first call of a process costs that loads the compiled loops; nothing is promised of it."""
    rows = []
    for name, folder in (("compiled before", None), ("never compiled", "fresh")):
        seconds = [first_seconds(fresh=folder is not None) for _ in range(3)]
        rows.append((name, spread(seconds)))
    keep("arrays first call", ("normalize, 40 MB", "s (least - greatest)"), rows, loads())
    return []


def first_seconds(*, fresh: bool) -> float:
    script = (
        "import time, numpy, befit; x = numpy.ones((100_000, 100), 'float32'); befit.normalize(x[:5]);"
        "started = time.perf_counter(); befit.normalize(x); print(time.perf_counter() - started)"
    )
    environment = dict(os.environ)
    with contextlib.ExitStack() as stack:
        if fresh:
            environment["NUMBA_CACHE_DIR"] = stack.enter_context(tempfile.TemporaryDirectory())
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        )
    return float(done.stdout)


def labels(count: int, classes: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, classes, count)


@functools.cache
def keras_utils() -> ModuleType:
    os.environ.setdefault("KERAS_BACKEND", "jax")  # its NumPy path is the same on each
    return importlib.import_module("keras.utils")


def touch(count: int) -> None:
    """Let the kernel write `count` bytes of fresh pages once."""
    np.zeros(count, "uint8")[::4096] = 1


def by_numpy(function: Callable[[], object]) -> Callable[[], object]:
    def run_by_numpy() -> object:
        with without_numba():
            return function()

    return run_by_numpy


@contextlib.contextmanager
def without_numba() -> Iterator[None]:
    with (
        mock.patch.object(categorical, "_WORTH_COMPILING", sys.maxsize),
        mock.patch.object(normalization, "_WORTH_COMPILING", sys.maxsize),
    ):
        yield


def run(work: Work) -> Samples:
    return in_turn({name: cpu(function) for name, function in work.items()}, rounds=ROUNDS)


def show(title: str, samples: Samples, base: str, note: str = "") -> None:
    rows = [
        (name, spread(seconds, 1e3, 2), f"{times(samples, name, base):.2f}")
        for name, seconds in samples.items()
    ]
    heads = ("", "CPU ms (least - greatest)", f"times {base}")
    keep(title, heads, rows, "\n".join(filter(None, (note, loads()))))


PARTS: dict[str, Callable[[], list[Verdict]]] = {
    "one_hot": one_hot,
    "reused": reused,
    "overhead": overhead,
    "normalize": normalize,
    "first_call": first_call,
}


def main(parts: list[str] | None = None) -> int:
    torch.set_num_threads(1)
    return measure("arrays", PARTS, parts, peer="best peer or limit")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
