"""Four devices on every backend, and the models that have to give the numbers of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from befit.replicate import simulate_devices


@pytest.fixture(autouse=True)
def _four_torch_devices() -> Iterator[None]:
    """JAX and TensorFlow have theirs from tests/conftest.py."""
    simulate_devices(4, framework="torch")
    yield
    simulate_devices(1, framework="torch")


@pytest.fixture
def twins() -> Callable[[Callable[[], Any]], tuple[Any, Any]]:
    """Build a model twice, with the same weights."""

    def build_twice(build: Callable[[], Any]) -> tuple[Any, Any]:
        first, second = build(), build()
        second.set_weights(first.get_weights())
        return first, second

    return build_twice
