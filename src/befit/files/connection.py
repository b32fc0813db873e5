"""One connection of a transfer: a thread that asks for bytes and writes them where they belong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from befit.files.origin import Body, DisagreementError, NoRangesError, Origin
from befit.files.part import Part
from befit.files.plan import Plan, Segment
from befit.files.retry import TransientError

CHUNK = 1 << 20  # bytes read at once; a quarter of it costs half as much again
_SEGMENT_SECONDS = 2.0  # what a request costs is small beside it
SMALLEST = 1 << 20  # bytes of a segment
_LARGEST = 1 << 25


class Connection:
    """Brings bytes until there are none left to bring, or something fails.

    Args:
        begin: called with the first answer of a file of which no byte is there; makes the plan, and returns
            what to bring first.
        segment: what to bring first; ``None`` if there is no plan yet.
        ended: set at the end.
    """

    def __init__(
        self,
        origin: Origin,
        url: str,
        part: Part,
        begin: Callable[[Body], Segment | None],
        segment: Segment | None,
        ended: threading.Event,
        *,
        is_extra: bool,
    ) -> None:
        self._origin, self._url, self._part, self._begin, self._ended = origin, url, part, begin, ended
        self.segment = segment
        self.is_extra = is_extra
        """Whether others brought bytes when it began, so that it may fail without harm."""

        self.error: BaseException | None = None
        self.latency = 0.0
        """Seconds until the first answer began."""

        self.has_ended = False
        """Whether it brings nothing more; ``error`` then says why, if it is not because nothing was left."""

        self.last_byte = time.monotonic()
        self._plan = part.plan
        self._body: Body | None = None
        self._is_stopped = False
        self._touching = threading.Lock()  # held while the part is changed; after `stop` that is over
        self._started = self.last_byte
        self._received = 0
        # A thread that waits for a header that never ends must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._run, name="befit-download", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Bring nothing more: what is on its way is dropped."""
        with self._touching:
            self._is_stopped = True
        if self.segment is not None:
            self._plan.release(self.segment)
        body = self._body
        if body is not None:
            body.cancel()

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to bring nothing more."""
        return self._is_stopped

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            if self.segment is None:
                with self._origin.open(0, None, None) as body:
                    self._first(body)
            while not self._is_stopped and self._take():
                segment = self.segment
                assert segment is not None, "just taken"
                with self._origin.open(segment.position, segment.end, self._part.version) as body:
                    with self._touching:
                        is_accepted = not self._is_stopped and self._part.accept(body.version)
                    if not is_accepted and body.version.validator is None:
                        raise NoRangesError(f"{self._url} does not say of which version its part is")
                    if not is_accepted:
                        raise DisagreementError(f"the file at {self._url} has changed since its start came")
                    self._bring(body, segment)
        except BaseException as error:  # noqa: BLE001 (whoever started it raises it)
            if not self._is_stopped:  # else it is the answer that was cancelled
                self.error = error
        finally:
            self._body = None
            if self.segment is not None:
                self._plan.release(self.segment)
            self.has_ended = True
            self._ended.set()

    def _first(self, body: Body) -> None:
        with self._touching:
            if self._is_stopped:
                return
            self.segment = self._begin(body)
            self._plan = self._part.plan
        if self.segment is not None:
            self._bring(body, self.segment)

    def _take(self) -> bool:
        """Make sure that there is a segment to bring; return whether there is."""
        if self.segment is None:
            self.segment = take(self._plan, self._rate())
        return self.segment is not None

    def _bring(self, body: Body, segment: Segment) -> None:
        """Write what ``body`` brings, to the end of the segment and on behind it while nobody else does."""
        self.latency = self.latency or time.monotonic() - self._started
        self._body = body
        limit = body.end
        segment.reads_on = limit is not None and limit > segment.end
        with open(self._part.path, "r+b", buffering=0) as file:
            file.seek(segment.position)
            while not self._is_stopped:
                if segment.position >= segment.end and not (
                    limit is not None and self._plan.extend(segment, SMALLEST, limit)
                ):
                    break
                if limit is not None and segment.position >= limit:
                    break  # a shorter part than asked for; the rest is asked for again
                if not self._write(body.read(min(CHUNK, segment.end - segment.position)), segment, file):
                    break
        self._body = None
        self._plan.release(segment)
        self.segment = None

    def _write(self, data: bytes, segment: Segment, file: BinaryIO) -> bool:
        """Write what came; return whether to go on."""
        with self._touching:
            if self._is_stopped:
                return False  # the bytes may be another connection's by now, or no bytes of the file
            if not data:
                if self._plan.total is not None:
                    raise TransientError(f"the answer of {self._url} broke off at byte {segment.position:,}")
                self._plan.finish(segment.position)
                return False
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            self._received += len(data)
            self.last_byte = time.monotonic()
            return self._plan.advance(segment, len(data))

    def _rate(self) -> float:
        return self._received / max(time.monotonic() - self._started, 1e-3)


def take(plan: Plan, rate: float) -> Segment | None:
    """Return bytes for a connection that is expected to bring ``rate`` bytes a second, if any are left."""
    size = int(min(max(rate * _SEGMENT_SECONDS, SMALLEST), _LARGEST))
    return plan.claim(size, CHUNK) or plan.split(max(CHUNK, int(rate * 0.2)))
