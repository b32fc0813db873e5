"""`python -m benchmarks.objects_cost [keras] [torch]`: seconds of a call with these imported, as JSON.

A process of its own, because what is imported cannot be forgotten again. CPU time of the thread: a call takes
microseconds, and a neighbour that takes the processor away for a moment would be most of it.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from befit import CustomObjectScope, get_custom_objects
from benchmarks.interleave import in_turn

ROUNDS = 25
CALLS = 1000

Ways = dict[str, Callable[[], float]]


class MyObject:
    def __call__(self, weights: object) -> object:
        return weights


NAMES = {"MyObject": MyObject}


def cost(frameworks: tuple[str, ...]) -> dict[str, list[float]]:
    """Return what each way costs, by round, measured in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.objects_cost", *frameworks]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    samples: dict[str, list[float]] = json.loads(answer)
    return samples


def measure(frameworks: list[str]) -> dict[str, list[float]]:
    imported = {name: importlib.import_module(name) for name in frameworks}
    ways: Ways = {
        "befit: enter and leave": blocks(lambda: CustomObjectScope(NAMES)),
        "befit: look-up": calls(lambda: get_custom_objects()["MyObject"], CustomObjectScope(NAMES)),
    }
    if "keras" in imported:
        ways |= of_keras(imported["keras"])
    if "torch" in imported:
        allow = imported["torch"].serialization.safe_globals
        ways["torch: enter and leave safe_globals"] = blocks(lambda: allow([MyObject]))
    return in_turn(ways, rounds=ROUNDS)


def of_keras(keras: Any) -> Ways:
    scopes: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
        "befit": lambda: CustomObjectScope(NAMES),
        "keras": lambda: keras.saving.custom_object_scope(NAMES),
        "no scope": nullcontext,
    }
    find, get = keras.saving.get_registered_object, keras.regularizers.get
    ways = {"keras: enter and leave": blocks(scopes["keras"])}
    for name, scope in scopes.items():
        ways[f"{name}: get_registered_object"] = calls(lambda: find("MyObject"), scope())
        ways[f"{name}: regularizers.get"] = calls(lambda: get("l2"), scope())
    return ways


def blocks(scope: Callable[[], AbstractContextManager[object]]) -> Callable[[], float]:
    def block() -> None:
        with scope():
            pass

    return calls(block, nullcontext())


def calls(call: Callable[[], object], around: AbstractContextManager[object]) -> Callable[[], float]:
    """Return a function that tells the seconds of a call inside of ``around``."""

    def seconds() -> float:
        with around:
            started = time.thread_time()
            for _ in range(CALLS):
                call()
            return (time.thread_time() - started) / CALLS

    return seconds


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:])))
