"""How many connections a transfer should have: more of them, as long as they make it faster."""

from __future__ import annotations

_WINDOW = 0.15  # seconds that bytes are counted for
_FIRST_STEP = 4  # connections after one
_GAIN = 1.3  # times as fast at least, or there are enough
_FAST = 120e6  # bytes a second: a whole line of one gigabit, or more than one processor core needs
_WORTH = 1.0  # seconds that a transfer must still take


class Pace:
    """Compares the rate before and after connections were added; told what happens, it has no clock."""

    def __init__(self, most: int) -> None:
        self.wanted = 1
        self._most = most
        self._is_settled = most == 1
        self._rate_before = 0.0
        self._start: tuple[float, int] | None = None
        self._not_before = 0.0

    def look(self, now: float, received: int, remaining: int | None, latency: float) -> None:
        """Look at a transfer at ``now`` (seconds) that has ``received`` bytes, and set ``wanted``."""
        if self._is_settled or remaining is None or now < self._not_before:
            return
        if self._start is None:
            self._start = (now, received)
            return
        seconds = now - self._start[0]
        if seconds < max(_WINDOW, 2 * latency):
            return
        rate = (received - self._start[1]) / seconds
        self._start = (now, received)
        if rate >= _FAST or remaining < rate * _WORTH:
            return
        if rate < _GAIN * self._rate_before:
            self._is_settled = True
            return
        self._rate_before = rate
        self.wanted = min(self._most, _FIRST_STEP if self.wanted == 1 else 2 * self.wanted)
        self._is_settled = self.wanted == self._most
        self._start = None
        self._not_before = now + 3 * latency  # until the new ones have begun

    def settle(self, connections: int) -> None:
        """Want no more than ``connections``: the origin gives no more, or there is nothing left to bring."""
        self.wanted = max(1, min(self.wanted, connections))
        self._is_settled = True
