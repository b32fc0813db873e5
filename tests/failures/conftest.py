"""Loaders on worker processes, and a look at the processes that there are."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from befit import Loader, Sequence

DEADLINE = 60  # seconds until a test gives up waiting for something that must happen


def exists(pid: int) -> bool:
    """Whether a process runs (a zombie, which only waits for its parent to look, does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """Return a function that returns the processes that this one started and that run."""

    def running() -> set[int]:
        listed = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        return {int(pid) for path in listed for pid in path.read_text().split() if exists(int(pid))}

    return running


@pytest.fixture
def wait_until_gone() -> Callable[[set[int]], None]:
    """Return a function that waits until none of some processes is left."""

    def wait(pids: set[int]) -> None:
        until = time.monotonic() + DEADLINE
        while (left := [pid for pid in pids if exists(pid)]) and time.monotonic() < until:
            select.select([], [], [], 0.02)
        assert not left, f"processes {left} are still there"

    return wait


@pytest.fixture
def processes() -> Iterator[Callable[..., Loader]]:
    """Make loaders on two worker processes."""
    loaders: list[Loader] = []

    def make(source: Any, **settings: Any) -> Loader:
        loaders.append(Loader(source, **{"workers": 2, "engine": "processes", **settings}))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


@pytest.fixture
def numbered_pids() -> type[Sequence]:
    """Batch ``i`` is ``(i, process id of the worker)``."""

    class NumberedPids(Sequence):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, idx: int) -> tuple[int, int]:
            return idx, os.getpid()

    return NumberedPids
