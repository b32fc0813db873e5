"""Eight devices on every backend, and the models that have to give the numbers of one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _eight_torch_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX and TensorFlow have theirs from conftest.py."""
    monkeypatch.setattr("befit.integrations.torch.replicate._virtual_cpus", 8)


@pytest.fixture(scope="module")
def eight_devices() -> Iterator[None]:
    """The same for fixtures of a whole module."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("befit.integrations.torch.replicate._virtual_cpus", 8)
        yield


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation() -> Iterator[None]:
    """These tests compile far more than they compute."""
    if os.environ["KERAS_BACKEND"] != "jax":
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def a_thread_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual CPU devices of torch run side by side, as GPUs do."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(
        "befit.integrations.torch.replicate_threads.torch_device",
        lambda name: torch.device("cpu", int(name.partition(":")[2])),  # unequal, and all the one CPU
    )


@pytest.fixture
def twins() -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Build a model twice, with the same weights."""

    def build_twice(build: Callable[[], Any]) -> tuple[Any, Any]:
        first, second = build(), build()
        second.set_weights(first.get_weights())
        return first, second

    return build_twice
