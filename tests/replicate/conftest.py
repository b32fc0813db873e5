"""Four devices on every backend, and the models that have to give the numbers of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _four_torch_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX and TensorFlow have theirs from conftest.py."""
    monkeypatch.setattr("befit.integrations.torch.replicate._virtual_cpus", 4)


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
