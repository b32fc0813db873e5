"""The progress bar of Keras 2, by that of Keras 3."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras

__all__ = ["Progbar"]


class Progbar(keras.utils.Progbar):
    """Displays a progress bar whose last line, too, has the averages of all steps.

    Keras 3 shows the values of the last step alone there. Everything else is Keras 3's.

    Args:
        target: Steps, or samples, in all; ``None``: unknown.
        width: Characters of the bar.
        verbose: 0: nothing, 1: a bar, 2: one line at the end.
        interval: Seconds between two displays, at least.
        stateful_metrics: Names of values that are shown as they are, not averaged.

    Source: Keras 2.1, ``keras.utils.generic_utils.Progbar``.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 30,
        verbose: int = 1,
        interval: float = 0.05,
        stateful_metrics: Iterable[str] | None = None,
    ) -> None:
        super().__init__(target, width, verbose, interval, stateful_metrics)

    def update(
        self, current: int, values: Sequence[tuple[str, Any]] | None = None, finalize: bool | None = None
    ) -> None:
        """Show that ``current`` of the target are done.

        Args:
            current: Steps, or samples, that are done.
            values: Names, and values of those that were done since the last call.
            finalize: Whether this is the last call; ``None``: if ``current`` has reached the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        if finalize:
            values = [(name, self._mean(name, value, current)) for name, value in values or ()]
        super().update(current, values, finalize)

    def _mean(self, name: str, value: Any, current: int) -> Any:
        if name in self.stateful_metrics or name not in self._values:
            return value
        total, weight = self._values[name]
        done = max(current - self._seen_so_far, 1)
        return (total + value * done) / (weight + done)
