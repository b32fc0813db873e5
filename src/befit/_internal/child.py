"""Child processes that serve this one: a clean interpreter each, which ends when its parent does."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys

_PARENT_CHECK = 1000  # milliseconds

_START = (
    "import importlib, sys; _, module, count, *rest = sys.argv; sys.path[:] = rest[int(count):]; "
    "importlib.import_module(module).main(*map(int, rest[:int(count)]))"
)


def start_child(module: str, descriptors: list[int], *numbers: int) -> subprocess.Popen[bytes]:
    """Start an interpreter that calls ``module.main(*descriptors, *numbers)``; it inherits the descriptors.

    A clean interpreter: no fork, which JAX, torch and every lock would suffer from, and no import of
    ``__main__``, which would ask for a main guard in every script.
    """
    arguments = [str(number) for number in (*descriptors, *numbers)]
    return subprocess.Popen(
        [*_interpreter(), "-c", _START, module, str(len(arguments)), *arguments, *_import_path()],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
    )


def end_with_parent(connection: socket.socket, parent: int) -> None:
    """End this process as soon as the one at the other end of ``connection`` is gone, whatever this one does.

    Meant for a thread of its own.

    Args:
        connection: To the process that is served.
        parent: The id of that process.
    """
    hang_up = select.poll()
    hang_up.register(connection, 0)  # no event but the end of the connection
    # A child that the parent forked may hold its end open, so the parent is looked at too: unless something
    # stands between, such as a script that starts the interpreter.
    started_by_it = os.getppid() == parent
    first = os.getppid()
    while not hang_up.poll(_PARENT_CHECK) and (os.getppid() == first or not started_by_it):
        pass
    os._exit(0)


def end_in_words(code: int) -> str:
    """Return how a process ended, by its exit code, negative for a signal.

    >>> end_in_words(3), end_in_words(-9)
    ('ended itself with exit code 3', 'was killed by SIGKILL (out of memory?)')
    """
    if code >= 0:
        return f"ended itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")


def _interpreter() -> list[str]:
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags, *(["-P"] if "-P" not in flags else [])]


def _import_path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str)]
