"""What ``multi_gpu_model`` has to know about processes that compute together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Processes:
    """The processes of one program, as one of them sees them."""

    size: int
    local_size: int
    """How many of them run on this machine."""
    device_count: int
    """How many devices each of them computes on."""
    names: tuple[str, ...]
    """One name for each replica."""

    @property
    def counts(self) -> set[int]:
        """The numbers that a script may call the devices by: everywhere, or here."""
        return {self.size, self.local_size, self.local_size * self.device_count, len(self.names)}
