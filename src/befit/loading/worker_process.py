"""A worker process as the loader sees it: how it is started, what it holds, how it ends."""

from __future__ import annotations

import fcntl
import pickle
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from befit._internal.child import end_in_words, start_child
from befit._internal.memory import Descriptor, create
from befit.loading.batches import SlotViews
from befit.loading.fork import ForkedProcess
from befit.loading.notes import NBYTES, Notes
from befit.loading.randomness import seed_everything
from befit.loading.state import NO_SURROUNDINGS
from befit.loading.transport import Channel, Kind, Message
from befit.typing import BatchSource, LoadTask

_GRACE = 1.0  # seconds between the request to end and SIGKILL
_SLOTS_TO_RETURN = 256  # in one message


class Process(Protocol):
    """The part of ``subprocess.Popen`` that is needed."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code, or ``None`` while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""

    def kill(self) -> None:
        """End it at once."""


class Ends(NamedTuple):
    """What joins the loader and a worker."""

    ours: socket.socket
    theirs: socket.socket
    notes: Notes
    notes_descriptor: Descriptor


Start: TypeAlias = Callable[[Ends], Process]
"""Starts a process that serves the loader."""


class WorkerProcess:
    """Owns a process, the loader's end of its socket, and the list of tasks that it has not answered yet."""

    def __init__(self, start: Start, *, copy: bool) -> None:
        ours, theirs = map(_off_the_standard_streams, socket.socketpair())
        try:
            ours.setblocking(False)
            descriptor = _off_the_standard_streams(create(NBYTES))
            self.notes = Notes(descriptor)
            # A Ctrl-C before the worker ignores it would print a traceback, so it is born with the signal
            # blocked.
            previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process = start(Ends(ours, theirs, self.notes, descriptor))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel = Channel(ours)
        self.slots = SlotViews(copy=copy)
        self.held: dict[int, LoadTask] = {}  # by ticket, in the order in which they were given
        self.segments: set[int] = set()  # numbers of those that it has
        self.surroundings = NO_SURROUNDINGS  # what it has entered
        self._lost: list[int] = []

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def give(self, tasks: Iterable[LoadTask], through_socket: Container[int]) -> None:
        """Send tasks, with the slots that are free again, and hold them to be answered."""
        orders = []
        for task in tasks:
            self.held[task.ticket] = task
            orders.append((task.ticket, task.batch_index, task.seed, task.ticket in through_socket))
        released = self.slots.released
        back = [released.popleft() for _ in range(min(len(released), _SLOTS_TO_RETURN))]
        lost, self._lost = self._lost, []
        # An Order, pickled as the plain tuple that it is, which takes half the time.
        self.channel.post(Kind.TASKS, 0, [pickle.dumps((orders, back, lost), 5)])

    def abandon(self) -> None:
        """Forget the tasks that it holds; it skips those that it has not begun."""
        if self.held:
            self.notes.skip_below = max(self.held) + 1
            self.held.clear()

    def take_in_work(self) -> LoadTask | None:
        """Return the task that it was at when it died, and hold it no longer; ``None``: it was at none."""
        ticket = self.notes.in_work
        return None if ticket is None else self.held.pop(ticket, None)

    def lose(self, slot: int) -> None:
        """Note that a slot of the worker could not be mapped here."""
        self._lost.append(slot)

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
        return end_in_words(code)

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


def spawn(ends: Ends, loader_pid: int, spare_slots: int) -> Process:
    """Start a clean interpreter that serves the loader."""
    return start_child(
        "befit.loading.worker",
        [ends.theirs.fileno(), ends.notes_descriptor.fileno()],
        loader_pid,
        spare_slots,
    )


def fork(
    ends: Ends,
    loader_pid: int,
    spare_slots: int,
    source: BatchSource,
    siblings: Iterable[WorkerProcess],
) -> Process:
    """Fork a process that serves the loader, and has the source already."""

    def work() -> None:
        from befit.loading.worker import serve

        ends.ours.close()  # with the loader's ends open here, no worker would notice that the loader is gone
        for sibling in siblings:
            sibling.channel.close()
        seed_everything(np.random.SeedSequence())  # copies of one generator would give the same numbers
        serve(ends.theirs, ends.notes, loader_pid, spare_slots, source)

    return ForkedProcess(work)


_Open = TypeVar("_Open", socket.socket, Descriptor)


def _off_the_standard_streams(opened: _Open) -> _Open:
    """Return ``opened`` under a number above 2: a daemon that has closed those would hand on a stream."""
    if opened.fileno() > 2:
        return opened
    number = fcntl.fcntl(opened.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    kept: Any = socket.socket(fileno=number) if isinstance(opened, socket.socket) else Descriptor(number)
    opened.close()
    return kept  # type: ignore[no-any-return]
