"""What a replica has to compute under, wherever it runs: modes, settings, random numbers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Modes:
    """What torch keeps for each thread: whether gradients are wanted, and which types autocast takes."""

    grad: bool
    inference: bool
    autocasts: tuple[tuple[str, Any], ...]

    @staticmethod
    def of_this_thread() -> Modes:
        """Return those of the code that runs."""
        return Modes(
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            tuple(
                (kind, torch.get_autocast_dtype(kind))
                for kind in ("cpu", "cuda")
                if torch.is_autocast_enabled(kind)
            ),
        )

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Compute under them."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(self.inference))
            stack.enter_context(torch.set_grad_enabled(self.grad))
            for kind, dtype in self.autocasts:
                stack.enter_context(torch.autocast(kind, dtype=dtype))
            yield


class TorchSettings:
    """The settings of this process that change results, to be entered in another."""

    contents: Iterable[object] = ()

    def __init__(self) -> None:
        self._dtype = torch.get_default_dtype()
        # Without an index, which differs between replicas.
        self._device = torch.get_default_device().type
        self._precision = torch.get_float32_matmul_precision()
        self._deterministic = torch.are_deterministic_algorithms_enabled()
        self._warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        cudnn = torch.backends.cudnn
        self._cudnn = {name: getattr(cudnn, name) for name in ("allow_tf32", "benchmark", "deterministic")}

    def __enter__(self) -> None:
        torch.set_default_dtype(self._dtype)
        if torch.get_default_device().type != self._device:
            torch.set_default_device(None if self._device == "cpu" else self._device)
        torch.set_float32_matmul_precision(self._precision)
        torch.use_deterministic_algorithms(self._deterministic, warn_only=self._warn_only)
        for name, value in self._cudnn.items():
            setattr(torch.backends.cudnn, name, value)

    def __exit__(self, *error: object) -> None:
        """Leave them: the next ones are set in their place."""


def seed_of_this_thread() -> int:
    """Return a number that follows from the state of torch's generators, which stay as they are.

    So a seed repeats a run of all replicas, and the caller's own replica draws what one device would draw.
    """
    state = torch.get_rng_state().numpy().tobytes()
    if torch.cuda.is_initialized():
        state += torch.cuda.get_rng_state().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(state, digest_size=8).digest(), "little") >> 1
