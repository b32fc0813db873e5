"""Reading a file while it is being downloaded: its digest is known when the last byte is there."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from befit.files.plan import Plan

Result = TypeVar("Result")

_WAIT = 1 << 16  # bytes that are waited for
_BUFFER = 1 << 20  # bytes read at once, if they are there


class _GrowingFile(io.RawIOBase):
    """The bytes of a plan, from its start; what is not there yet is waited for."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._plan = plan
        self._file = path.open("rb", buffering=0)
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: lambda: 0, os.SEEK_CUR: self.tell, os.SEEK_END: self._whole}
        self._position = self._file.seek(origins[whence]() + offset)
        return self._position

    def readinto(self, target: Any) -> int:
        front = self._plan.wait(self._position + _WAIT)
        with memoryview(target) as view:
            count = self._file.readinto(view[: max(0, front - self._position)])
        self._position += count or 0
        return count or 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def _whole(self) -> int:
        front = self._plan.front
        while not self._plan.is_whole:
            front = self._plan.wait(front + 1)
        return self._plan.wait(0)


class Follower(Generic[Result]):
    """A thread that does ``work`` on a file as far as it is there."""

    def __init__(self, path: Path, plan: Plan, work: Callable[[io.BufferedReader], Result]) -> None:
        self._path, self._plan, self._work = path, plan, work
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="befit-follow")
        self._thread.start()

    def result(self) -> Result:
        """Wait for the work, and return or raise what it did."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return cast(Result, self._result)

    def abandon(self) -> None:
        """End the plan, and wait until the thread has noticed."""
        self._plan.abandon()
        self._thread.join()

    def _run(self) -> None:
        try:
            with _GrowingFile(self._path, self._plan) as raw, io.BufferedReader(raw, _BUFFER) as file:
                self._result = self._work(cast(io.BufferedReader, file))
        except BaseException as error:  # noqa: BLE001 (raised in `result`)
            self._error = error
