"""The transfer of one file from one origin: connections, attempts, and what is done with the bytes meanwhile.

One thread, the caller's, decides; ``Connection`` threads bring bytes, ``Follower`` threads read behind them.
A connection that fails while others bring bytes is not missed; when the last one fails, that is a failed
attempt. Attempts are counted from the last one that got further than any before it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from io import BufferedReader
from typing import Any

from befit._internal.progress import Progress
from befit.errors import DownloadError
from befit.files.connection import SMALLEST, Connection, take
from befit.files.follow import Follower
from befit.files.options import TransferOptions
from befit.files.origin import Body, DisagreementError, NoRangesError, Origin
from befit.files.pace import Pace
from befit.files.part import Part
from befit.files.plan import Segment
from befit.files.retry import TransientError, wait
from befit.files.url import shown

logger = logging.getLogger(__name__)

Work = Callable[[BufferedReader], Any]

_TICK = 0.05  # seconds between two looks at the connections
_SAVE_EVERY = 1.0  # seconds
_PROGRESS = 1 << 16  # bytes further than any attempt before
_MOST_RESTARTS = 3
_SLOWEST = 1000.0  # bytes a second …
_SLOW_FOR = 30.0  # … over so many seconds
_STALLED_AFTER = 5.0  # seconds without a byte, while other connections bring some
_JOIN = 5.0  # seconds for a thread to notice that it is to stop


class Transfer:
    """Brings a file into ``part``, and gives it to each of ``works`` to read while it comes."""

    def __init__(
        self,
        origin: Origin,
        url: str,
        part: Part,
        works: Sequence[Work],
        options: TransferOptions,
        *,
        description: str,
    ) -> None:
        self._origin, self._url, self._part, self._works = origin, url, part, works
        self._options = options
        self._progress = Progress(None, description=description, enabled=options.progress)
        self._pace = Pace(options.connections)
        self._connections: list[Connection] = []
        self._followers: list[Follower[Any]] = []
        self._ended = threading.Event()
        self._has_ranges = True
        self._best = 0  # bytes that the best attempt had
        self._failures = 0
        self._restarts = 0
        self._latency = 0.0
        self._last_save = self._slow_since = time.monotonic()
        self._slow_from = 0
        self.media_type = ""

    def run(self) -> list[Any]:
        """Bring the file, and return what the works returned.

        Raises:
            DownloadError: every attempt failed, or it makes no sense to try again.
            OSError: the file cannot be written.
        """
        self._part.go_on(self._url)
        try:
            if self._part.is_begun:
                self._follow()
            with self._progress:
                while not self._is_done():
                    self._connect()
                    self._ended.wait(_TICK)
                    self._ended.clear()
                    self._collect()
                    self._look()
                self._progress.reach(self._part.received, self._part.plan.total)
            return [follower.result() for follower in self._followers]
        except BaseException:
            self._part.plan.abandon()  # first: a second Ctrl-C may come meanwhile
            self._stop()
            for follower in self._followers:
                follower.abandon()
            raise

    def _is_done(self) -> bool:
        is_whole = self._part.is_begun and self._part.plan.is_whole
        return is_whole and all(connection.is_stopped for connection in self._connections)

    def _begin(self, body: Body) -> Segment | None:
        """Take the first answer as what the file is; called by the connection that has it.

        Returns what that connection is to bring first.
        """
        self.media_type = body.media_type
        self._has_ranges &= body.has_ranges
        segment = self._part.begin(self._url, body.version, SMALLEST)
        self._follow()
        return segment

    def _follow(self) -> None:
        self._followers = [Follower(self._part.path, self._part.plan, work) for work in self._works]

    def _connect(self) -> None:
        """Start connections, as many as there should be."""
        wanted = self._pace.wanted
        while len(self._connections) < wanted:
            segment = None
            if self._part.is_begun:
                segment = take(self._part.plan, self._rate())
                if segment is None:
                    return
            elif self._connections:
                return
            self._connections.append(
                Connection(
                    self._origin,
                    shown(self._url),
                    self._part,
                    self._begin,
                    segment,
                    self._ended,
                    is_extra=bool(self._connections),
                )
            )

    def _rate(self) -> float:
        seconds = max(time.monotonic() - self._slow_since, 0.1)
        return (self._part.received - self._slow_from) / seconds / max(1, len(self._connections))

    def _collect(self) -> None:
        """See which connections have ended, and why."""
        ended = [connection for connection in self._connections if connection.has_ended]
        self._connections = [connection for connection in self._connections if connection not in ended]
        for connection in ended:
            connection.join(_JOIN)
            self._latency = self._latency or connection.latency
        failed = [(connection.error, connection) for connection in ended if connection.error is not None]
        for error, _ in failed:
            if not isinstance(error, TransientError | DisagreementError | DownloadError):
                raise error
            self._part.is_mixed = True  # what came before it broke off may have been wrong, too
        good = len(self._connections) + len(ended) - len(failed)
        if failed and (good or all(connection.is_extra for _, connection in failed)):
            logger.info("going on with %d connections: %s", max(1, good), failed[0][0])
            self._pace.settle(good)
        elif failed:
            self._failed(min((error for error, _ in failed), key=_seriousness))

    def _failed(self, error: BaseException) -> None:
        """Prepare the next attempt, or give up."""
        received = self._part.received if self._part.is_begun else 0
        if received >= self._best + _PROGRESS:
            self._best, self._failures = received, 0
        if isinstance(error, DisagreementError):
            self._restart(error)
            return
        if not isinstance(error, TransientError):
            raise error
        self._failures += 1
        if self._failures > self._options.retries:
            tried = "once" if self._failures == 1 else f"{self._failures} times"
            raise DownloadError(f"{error} (tried {tried}; retries={self._options.retries})") from error
        if self._has_ranges and self._part.can_resume:
            self._part.save()
        else:
            self._forget()
        logger.info("%s; attempt %d follows", error, self._failures + 1)
        wait(self._failures - 1, error.wait)
        self._slow_since = time.monotonic()
        self._slow_from = self._part.received if self._part.is_begun else 0

    def _restart(self, error: DisagreementError) -> None:
        """Begin again from nothing: the bytes that are there cannot be gone on with."""
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise DownloadError(f"{error} ({self._restarts} times, each time from its start)") from error
        self._has_ranges &= not isinstance(error, NoRangesError)
        logger.info("%s; beginning again", error)
        self._forget()
        if self._restarts > 1:
            wait(self._restarts - 2, None)
        self._slow_since, self._slow_from = time.monotonic(), 0

    def _forget(self) -> None:
        self._part.forget()
        for follower in self._followers:
            follower.abandon()
        self._followers = []

    def _look(self) -> None:
        """See how fast bytes come."""
        now = time.monotonic()
        if not self._part.is_begun:
            received, plan = 0, None
        else:
            received, plan = self._part.received, self._part.plan
            self._progress.reach(received, plan.total)
        if plan is not None and self._has_ranges and self._part.can_resume:
            self._pace.look(now, received, plan.remaining, self._latency)
            self._drop_stalled(now)
        if now - self._last_save >= _SAVE_EVERY:
            self._part.save()
            self._last_save = now
        if now - self._slow_since < max(_SLOW_FOR, 1.1 * self._options.read_timeout):
            return
        if received - self._slow_from < _SLOWEST * (now - self._slow_since) and self._connections:
            self._stop()
            seconds = now - self._slow_since
            self._failed(
                TransientError(
                    f"{shown(self._url)} sent fewer than {_SLOWEST:,.0f} bytes a second for {seconds:.0f} s"
                )
            )
            return
        self._slow_since, self._slow_from = now, received

    def _drop_stalled(self, now: float) -> None:
        """Give the bytes of a connection that brings none to the others."""
        if len(self._connections) == 1:
            return
        for connection in self._connections:
            if now - connection.last_byte > max(_STALLED_AFTER, 10 * self._latency):
                connection.stop()

    def _stop(self) -> None:
        """End all connections."""
        for connection in self._connections:
            connection.stop()
        until = time.monotonic() + _JOIN
        for connection in self._connections:
            connection.join(max(0.0, until - time.monotonic()))
        self._connections = []


def _seriousness(error: BaseException) -> int:
    """Return what counts most when several connections end together: the least that may pass."""
    kinds: tuple[type[BaseException], ...] = (DownloadError, DisagreementError)
    return next((number for number, kind in enumerate(kinds) if isinstance(error, kind)), len(kinds))
