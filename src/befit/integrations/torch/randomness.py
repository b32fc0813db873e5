"""torch's generator of the CPU, seeded for one batch."""

from __future__ import annotations

from typing import Any

import torch


def get_state() -> Any:
    """Return the state of the default generator."""
    return torch.default_generator.get_state()


def set_state(state: Any) -> None:
    """Put the default generator back into ``state``."""
    torch.default_generator.set_state(state)


def seed(number: int) -> None:
    """Seed the default generator; ``torch.manual_seed`` would visit every device, at fifty times the cost."""
    torch.default_generator.manual_seed(number)
