"""A worker process as the loader sees it: how it is started, what it holds, how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable

from befit.loading.transport import Channel, Kind, Message, encode
from befit.typing import LoadTask

_GRACE = 1.0  # seconds between the request to end and SIGKILL

# A clean interpreter: no fork, which JAX, torch and every lock would suffer from, and no import of __main__,
# which would ask for a main guard in every script.
_START = (
    "import sys; sys.path[:] = sys.argv[3:]; from befit.loading.worker import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)


class WorkerProcess:
    """Owns a process, the loader's end of its socket, and the list of tasks that it has not answered yet."""

    def __init__(self, loader_pid: int) -> None:
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            # A Ctrl-C before the worker ignores it would print a traceback, so it is born with the signal
            # blocked.
            previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process = subprocess.Popen(
                    [*_interpreter(), "-c", _START, str(theirs.fileno()), str(loader_pid), *_import_path()],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel = Channel(ours)
        self.held: OrderedDict[int, LoadTask] = OrderedDict()  # the first is the one in work

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def give(self, task: LoadTask) -> None:
        """Send a task, and hold it to be answered."""
        self.held[task.ticket] = task
        self.channel.post(Kind.TASK, task.ticket, encode(task))

    def received(self) -> list[Message]:
        """Return the messages that have arrived.

        Raises:
            EOFError: there are none, and there will be none.
        """
        messages: list[Message] = []
        try:
            while (message := self.channel.receive()) is not None:
                messages.append(message)
        except EOFError:
            if not messages:
                raise
        return messages

    def death(self) -> str:
        """End the process if it lives without its socket; return in words how it ended."""
        if self._process.poll() is None:
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        code = self._process.wait()
        self.channel.close()
        if code >= 0:
            return f"ended itself with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")

    def ask_to_end(self) -> None:
        """Let it leave when its tasks are done."""
        self.channel.end_sending()

    def end(self, deadline: float) -> None:
        """Wait for the process until ``deadline`` (of ``time.monotonic``), then kill it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.channel.close()


def end_all(workers: Iterable[WorkerProcess], *, grace: float = _GRACE) -> None:
    """End all ``workers``: the idle ones leave when asked, the others are killed after ``grace`` seconds."""
    ending = list(workers)
    for worker in ending:
        worker.ask_to_end()
    deadline = time.monotonic() + grace
    for worker in ending:
        worker.end(deadline)


def _interpreter() -> list[str]:
    optimize = ["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []
    return [sys.executable, "-P", *optimize, *(f"-W{option}" for option in sys.warnoptions)]


def _import_path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str)]
