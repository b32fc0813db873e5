"""Replicas in processes of their own, as their caller sees them: all but the first, which is the caller's."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from befit._internal.child import end_in_words, start_child
from befit._internal.failure import Failure, restore
from befit.errors import ReplicaDiedError, ReplicationError
from befit.integrations.torch import replicate_worker as worker
from befit.integrations.torch.replicate_flight import Collect, Flight, Start
from befit.integrations.torch.replicate_memory import Block, Boxes, Place, cut, fill, lay_out
from befit.integrations.torch.replicate_modes import Modes, seed_of_this_thread
from befit.integrations.torch.replicate_sent import ModelKind, SentModel
from befit.integrations.torch.replicate_threads import torch_device
from befit.integrations.torch.replicate_wire import Wire, pack, unpack

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
        self.attributes: list[bytes] = []
        """Changes of attributes that it has not been told yet."""
        self.forgotten: list[int] = []
        """Flights whose graphs it may drop, and has not been told yet."""
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
            self.tell(worker.Attach({number: block.handle}, [0, *self.boxes.numbers]), [block])
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
            self.tell(worker.Attach({0: self.answers.handle}, [0, *self.boxes.numbers]), [self.answers])
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


class ReplicaProcesses:
    """Runs a model on parts of a batch: the first part here, each other in the process of its replica.

    The processes start when they are first needed, and belong to the process that started them. They end with
    this object, with ``release``, and with their caller.

    Args:
        names: The devices, the caller's own first.
        kind: What there is to know about models of this kind.
    """

    def __init__(self, names: tuple[str, ...], kind: ModelKind) -> None:
        self.names = names
        self._kind = kind
        self._replicas: list[ReplicaProcess] = []
        self._owner = 0
        self._end: Any = None
        self._sent: SentModel | None = None
        self._keys = itertools.count(1)
        self._flights: dict[int, list[tuple[ReplicaProcess, int]]] = {}  # the boxes that a graph looks at
        self._lock = threading.RLock()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        return [replica.process.pid for replica in self._replicas] if self._owner == os.getpid() else []

    def run(self, model: Any, parts: Sequence[Any], local: Callable[[Any, Any], Any]) -> list[Any]:
        """Return what the model makes of each of ``parts``; ``local`` runs it on the first.

        Tensors in a result of another process lie in memory that the next call writes to.

        Raises:
            ReplicaDiedError: a process ended; the others have been ended too.
        """
        with self._lock:
            self._start()
            try:
                return self._run(model, parts, local)
            except BaseException as error:
                # Between question and answer a replica cannot be asked anything else.
                if isinstance(error, ReplicaDiedError) or any(one.waits_for for one in self._replicas):
                    self.release()
                raise

    def _run(self, model: Any, parts: Sequence[Any], local: Callable[[Any, Any], Any]) -> list[Any]:
        sent = self._show(model)
        sent.fill()
        changed = sent.changed_attributes()
        if changed:
            for replica in self._replicas:  # also those that have no rows this time
                replica.attributes.append(changed)
        modes = Modes.of_this_thread()
        replicas = self._replicas[: len(parts) - 1]
        packed = [pack(part) for part in parts[1:]]
        with_grad = [
            [index for index, tensor in enumerate(tensors) if modes.grad and tensor.requires_grad]
            for _, tensors in packed
        ]
        weights = sent.trained() if modes.grad else []
        inputs = [
            tensors[index]
            for (_, tensors), indices in zip(packed, with_grad, strict=True)
            for index in indices
        ]
        flight = Flight(self, next(self._keys), replicas, [tensor.device for tensor in inputs])
        boxes = self._flights[flight.key] = []
        keep_graph = bool(weights or inputs)
        token = Collect.apply(flight, *weights, *inputs) if keep_graph else None
        seed = seed_of_this_thread()
        for replica, (call, tensors), indices in zip(replicas, packed, with_grad, strict=True):
            box, places = replica.put(tensors)
            boxes.append((replica, box))
            attributes, replica.attributes = replica.attributes, []
            forgotten, replica.forgotten = replica.forgotten, []
            replica.ask(
                worker.Forward(
                    key=flight.key,
                    call=call,
                    box=box,
                    places=places,
                    with_grad=indices,
                    modes=modes,
                    keep_graph=keep_graph,
                    seed=seed ^ replica.number,
                    attributes=attributes,
                    forgotten=forgotten,
                )
            )
        errors: list[BaseException] = []
        results = [_attempt(lambda: local(model, parts[0]), 0, self.names, errors)]
        answers = [replica.answer() for replica in replicas]
        if errors:
            raise errors[0]
        for replica, answer in zip(replicas, answers, strict=True):
            if isinstance(answer, BaseException):
                raise explained(answer, replica.number, self.names)
        results += self._land(flight, token, answers)
        if not keep_graph:
            self.forget(flight.key)
        return results

    def _land(self, flight: Flight, token: Any, answers: list[worker.Result]) -> list[Any]:
        """Return the values of ``answers``, whose tensors have a history if they have one over there."""
        found = [
            cut(replica.answers.flat, answer.places)
            for replica, answer in zip(flight.replicas, answers, strict=True)
        ]
        flight.outputs = [len(answer.with_grad) for answer in answers]
        if token is not None and any(flight.outputs):
            ends = [
                tensors[index]
                for tensors, answer in zip(found, answers, strict=True)
                for index in answer.with_grad
            ]
            attached = iter(Start.apply(flight, token, *ends))
            for tensors, answer in zip(found, answers, strict=True):
                for index in answer.with_grad:
                    tensors[index] = next(attached)
        return [unpack(answer.value, tensors) for tensors, answer in zip(found, answers, strict=True)]

    def send_back(self, flight: Flight, gradients: Sequence[Any], retain: bool) -> None:
        """Send to each replica the gradients of its outputs."""
        self._check(flight)
        assert self._sent is not None
        rest = iter(gradients)
        for replica, count in zip(flight.replicas, flight.outputs, strict=True):
            own = [next(rest) for _ in range(count)]
            self._sent.make_room(replica)
            box, places = replica.put([one for one in own if one is not None])
            flight.boxes.append((replica, box))
            given = iter(places)
            replica.ask(
                worker.Backward(
                    flight.key, box, [None if one is None else next(given) for one in own], retain
                )
            )

    def collect(self, flight: Flight) -> tuple[list[Any], list[Any]]:
        """Return the sums of the gradients of the weights, and the gradients of the inputs."""
        self._check(flight)
        sent = self._sent
        assert sent is not None
        trained = sent.trained()
        try:
            answers = [replica.answer() for replica in flight.replicas]
        except BaseException:
            self.release()
            raise
        for replica, box in flight.boxes:
            replica.boxes.give_back(box)
        flight.boxes.clear()
        for replica, answer in zip(flight.replicas, answers, strict=True):
            if isinstance(answer, BaseException):
                raise explained(answer, replica.number, self.names)
        views = [
            sent.gradients_of(replica, answer.weights)
            for replica, answer in zip(flight.replicas, answers, strict=True)
        ]
        sums = [
            _sum([one for one in column if one is not None], weight.device)
            for weight, *column in zip(trained, *views, strict=True)
        ]
        inputs: list[Any] = []
        devices = iter(flight.devices)
        for replica, answer in zip(flight.replicas, answers, strict=True):
            given = iter(cut(replica.answers.flat, answer.places))
            inputs += [
                next(given).to(device, copy=True) if has else None
                for has, device in zip(answer.inputs, devices, strict=False)
            ]
        return sums, inputs

    def forget(self, key: int) -> None:
        """Let the replicas drop the graph of a flight."""
        for replica, box in self._flights.pop(key, ()):
            replica.boxes.give_back(box)
        for replica in self._replicas:
            replica.forgotten.append(key)

    def send_anew(self) -> None:
        """Send the model again before the next call, whether or not a change can be seen."""
        self._sent = None

    def release(self) -> None:
        """End the processes; the next call starts new ones."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._forget_all()

    def _forget_all(self) -> None:
        self._replicas, self._end, self._sent = [], None, None
        self._flights.clear()

    def _check(self, flight: Flight) -> None:
        if flight.key not in self._flights:
            raise ReplicationError(
                "the processes that ran this forward pass have been ended, or given another model, since; "
                "call the model again before backward()"
            )

    def _start(self) -> None:
        if self._replicas and self._owner == os.getpid():
            for replica in self._replicas:
                while replica.waits_for:  # an answer that nobody came for: a backward pass that was left
                    replica.answer()
            return
        self._forget_all()
        self._owner = os.getpid()
        share, ours = _threads(self.names)
        before = torch.get_num_threads()
        replicas: list[ReplicaProcess] = []
        self._replicas = replicas
        self._end = weakref.finalize(self, _end_all, replicas, self._owner, before)
        try:
            for number, name in enumerate(self.names[1:], 1):
                replicas.append(ReplicaProcess(number, name, share))
                replicas[-1].ask(name)
            for replica in replicas:
                replica.answer()
        except BaseException:
            self.release()
            raise
        if ours is not None:
            torch.set_num_threads(ours)

    def _show(self, model: Any) -> SentModel:
        """Send the model, unless the replicas have it as it is."""
        if self._sent is None or not self._sent.holds(model):
            self._flights.clear()
            self._sent = None  # in case that it does not arrive
            sent = SentModel(model, self._kind, self._replicas)
            self._sent = sent
        return self._sent


def explained(error: BaseException, replica: int, names: tuple[str, ...]) -> BaseException:
    """Return ``error`` with a note that says which replica raised it."""
    error.add_note(f"raised in replica {replica} of {len(names)}, on {names[replica]}")
    return error


def _attempt(
    task: Callable[[], Any], replica: int, names: tuple[str, ...], errors: list[BaseException]
) -> Any:
    try:
        return task()
    except Exception as error:  # noqa: BLE001 - raised as soon as the other replicas have answered
        errors.append(explained(error, replica, names))
        return None


def _sum(tensors: list[torch.Tensor], device: torch.device) -> torch.Tensor | None:
    total: torch.Tensor | None = None
    for tensor in tensors:
        here = tensor.to(device)
        total = here if total is None else total + here
    return total


def _threads(names: tuple[str, ...]) -> tuple[int, int | None]:
    """Return how many threads each other process shall have, and this one, or ``None`` to leave it alone.

    Replicas on the CPU share its cores: with more threads than cores they would wait for each other.
    """
    if all(name.startswith("cpu") for name in names):
        share = max(1, torch.get_num_threads() // len(names))
        return share, share
    return max(1, torch.get_num_threads() // len(names)), None


def _end_all(replicas: list[ReplicaProcess], owner: int, threads: int) -> None:
    for replica in replicas:
        replica.wire.connection.close()
    if owner != os.getpid():  # a forked child: they are its parent's
        return
    torch.set_num_threads(threads)
    deadline = time.monotonic() + _GRACE
    for replica in replicas:
        try:
            replica.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            replica.process.kill()
            replica.process.wait()
