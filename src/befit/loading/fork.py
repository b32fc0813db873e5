"""A process that is forked: a copy of this one, with all that it holds, and locks in whatever state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

_LONGEST_NAP = 0.02  # seconds between two looks at a process that is about to end


class ForkedProcess:
    """Runs ``work`` in a forked child; has the part of ``subprocess.Popen`` that ``WorkerProcess`` needs."""

    def __init__(self, work: Callable[[], None]) -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # else the child would print it again
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run(work)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or ``None`` while the process runs."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                pid, status = self.pid, 0  # somebody else has waited for it
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code.

        Raises:
            subprocess.TimeoutExpired: the process still runs after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        nap = 0.0005
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"forked worker {self.pid}", timeout or 0.0)
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)
        return code

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _run(work: Callable[[], None]) -> None:
    """Run in the child, and never return into the code that forked it."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing above this may go on in the child
        traceback.print_exc()
    finally:
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        finally:
            os._exit(code)
