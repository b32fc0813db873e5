"""Progress bars: on standard error, and only where somebody looks."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from befit._internal import settings


class Progress:
    """A bar for work of ``total`` units (``None``: unknown); a context manager that always cleans up.

    ``enabled=None`` shows it if ``BEFIT_PROGRESS`` says so, else if standard error is a terminal.
    """

    def __init__(
        self, total: int | None, *, description: str, unit: str = "B", enabled: bool | None = None
    ) -> None:
        self._total = total
        self._description = description
        self._unit = unit
        self._enabled = enabled
        self._bar: Any = None

    def __enter__(self) -> Self:
        enabled = self._enabled
        if enabled is None:
            enabled = settings.progress()
        if enabled is None:
            enabled = sys.stderr.isatty()
        if enabled:
            from tqdm import tqdm  # tens of milliseconds, and most calls show nothing

            is_bytes = self._unit == "B"
            self._bar = tqdm(
                total=self._total,
                desc=self._description,
                unit=self._unit,
                unit_scale=is_bytes,
                unit_divisor=1024 if is_bytes else 1000,
                file=sys.stderr,
                leave=True,
            )
        return self

    def advance(self, amount: int) -> None:
        """Count ``amount`` more units as done."""
        if self._bar is not None:
            self._bar.update(amount)

    def reach(self, amount: int, total: int | None) -> None:
        """Show ``amount`` of ``total`` units as done; what was done at the first call took no time."""
        if self._bar is None:
            return
        if self._bar.total != total:
            self._bar.total, self._bar.initial, self._bar.n = total, amount, amount
        self._bar.update(amount - self._bar.n)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
