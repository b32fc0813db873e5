"""What stands under an old name, where that is not just the object of today."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import befit
from befit.keras2.hints import hint
from befit.legacy.names import OldName

__all__ = ["face_of"]


class Sequence(befit.Sequence):
    """``befit.Sequence``, which also takes the arguments that Keras 3 documents for its class of this name.

    Args:
        workers: How many batches ``fit``, ``evaluate`` and ``predict`` have made at a time.
        use_multiprocessing: Make them in processes.
        max_queue_size: Batches that are in work or ready ahead of the model.
    """

    workers = 0
    use_multiprocessing = False
    max_queue_size = 10

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size


def face_of(row: OldName) -> Any:
    """Return the object that stands under an old name."""
    if row.name == "Sequence":
        return Sequence
    module, _, name = row.today.rpartition(".")
    value = getattr(importlib.import_module(module), name)
    return _renaming(value, row.name, row.arguments) if row.arguments else value


def _renaming(function: Callable[..., Any], name: str, arguments: Mapping[str, str]) -> Callable[..., Any]:
    """Return ``function``, which takes some arguments by an old name too."""

    @functools.wraps(function)
    def renaming(*args: Any, **kwargs: Any) -> Any:
        for old, today in arguments.items():
            if old in kwargs and kwargs.get(today) is None:  # with both, the function decides
                hint(f"{name}({old}=...) is called {today} today; write: {name}({today}=...)")
                kwargs[today] = kwargs.pop(old)
        return function(*args, **kwargs)

    return renaming
