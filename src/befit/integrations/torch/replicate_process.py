"""The process of one replica, as its caller sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

import torch

from befit._internal.child import end_in_words, start_child
from befit._internal.failure import Failure, restore
from befit.errors import ReplicaDiedError
from befit.integrations.torch import replicate_worker as worker
from befit.integrations.torch.replicate_memory import Block, Boxes, Place, fill, lay_out
from befit.integrations.torch.replicate_threads import torch_device
from befit.integrations.torch.replicate_wire import Wire

_GRACE = 1.0  # seconds between the end of the connection and SIGKILL


class ReplicaProcess:
    """Owns the process of one replica, the socket to it, and the blocks on its device."""

    def __init__(self, number: int, name: str, threads: int) -> None:
        self.number = number
        self.name = name
        self.device = torch_device(name)
        self.boxes = Boxes(self.device)
        self.answers = Block(self.device, 0)
        self.waits_for = 0
        """How many answers are on their way."""
        self.forgotten: list[int] = []
        """Flights whose graphs it may drop, and has not been told yet."""
        self.dropped: list[int] = []
        """Models that it may drop, and has not been told yet."""
        ours, theirs = socket.socketpair()
        # A Ctrl-C before the process ignores it would print a traceback: it is born with the signal blocked.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = start_child(
                "befit.integrations.torch.replicate_worker", [theirs.fileno()], os.getpid(), number, threads
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        self.wire = Wire(ours)

    def put(self, tensors: Sequence[torch.Tensor]) -> tuple[int, list[Place]]:
        """Copy ``tensors`` to the replica's device; return the number of the box, and their places in it."""
        places, nbytes = lay_out(tensors)
        number, block, is_new = self.boxes.take(nbytes)
        fill(block.cut(places), [tensor.detach() for tensor in tensors])
        if is_new:
            self.tell(worker.Attach({number: block.handle}, known=[0, *self.boxes.numbers]), [block])
        return number, places

    def tell(self, message: Any, blocks: Sequence[Block] = ()) -> None:
        """Send ``message``, which has no answer."""
        try:
            self.wire.send(message, [block.descriptor for block in blocks if block.descriptor is not None])
        except OSError as error:
            raise self.death() from error

    def ask(self, message: Any) -> None:
        """Send ``message``; its answer is to be waited for."""
        self.waits_for += 1
        self.tell(message)

    def answer(self) -> Any:
        """Return the answer to the oldest message that has none yet, or the exception that came instead."""
        while True:
            try:
                answer, _ = self.wire.receive()
            except (EOFError, ConnectionResetError) as error:
                raise self.death() from error
            if not isinstance(answer, worker.Room):
                break
            self.answers = Block(self.device, int(answer.nbytes * 1.25))
            self.tell(worker.Attach({0: self.answers.handle}), [self.answers])
        self.waits_for -= 1
        return restore(answer) if isinstance(answer, Failure) else answer

    def death(self) -> ReplicaDiedError:
        """Return the error that says how the process ended."""
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return ReplicaDiedError(
            f"the process of replica {self.number}, on {self.name}, {end_in_words(code)}; the batch in work "
            "is lost, and the weights are those from before it: save them, or call the model again, which "
            "starts new processes"
        )
