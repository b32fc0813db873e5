"""The processes of the replicas on some devices, and a forward and a backward pass over all of them.

The first replica is the caller's own. Parallel models on the same devices share one crew.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from befit.errors import ReplicaDiedError, ReplicationError
from befit.integrations.torch import replicate_worker as worker
from befit.integrations.torch.replicate_flight import Collect, Flight, Start
from befit.integrations.torch.replicate_memory import cut
from befit.integrations.torch.replicate_modes import Modes, seed_of_this_thread
from befit.integrations.torch.replicate_process import ReplicaProcess
from befit.integrations.torch.replicate_sent import ModelKind, SentModel
from befit.integrations.torch.replicate_threads import torch_device
from befit.integrations.torch.replicate_wire import pack, unpack
from befit.replicate.advice import name_replica

_GRACE = 1.0  # seconds between the end of the connections and SIGKILL


class ReplicaProcesses:
    """Runs one model on parts of a batch: the first part here, each other in the process of its replica.

    The processes start when they are first needed, and belong to the process that started them. They end when
    no model needs them any more: with ``release``, with this object, with their caller.

    Args:
        names: The devices, the caller's own first.
        kind: What there is to know about models of this kind.
    """

    def __init__(self, names: tuple[str, ...], kind: ModelKind) -> None:
        self._names = names
        self._kind = kind
        self._crew: Crew | None = None
        self._sent: SentModel | None = None

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        return self._crew.pids if self._crew is not None and self._crew.is_running else []

    def run(
        self,
        model: Any,
        parts: Sequence[Any],
        local: Callable[[SentModel, Any], Any],
        merge: Callable[[list[Any]], Any] = lambda results: results,
    ) -> Any:
        """Return what ``merge`` makes of what the model makes of each of ``parts``; ``local`` runs the first.

        Tensors in a result of another process lie in memory that the next call writes to, which may be one
        of another thread as soon as ``merge`` has returned.

        Raises:
            ReplicaDiedError: a process ended; the others have been ended too.
        """
        if self._crew is None or not self._crew.is_running:
            self._sent = None
            self._crew = crew_on(self._names)
            self._crew.users.add(self)
        crew = self._crew
        with crew.at_work():
            if self._sent is None or not self._sent.holds(model):
                self._sent = None  # in case that it does not arrive
                self._sent = SentModel(model, self._kind, crew.replicas)
            return merge(crew.run(self._sent, parts, local))

    def send_anew(self) -> None:
        """Send the model again before the next call, whether or not a change can be seen."""
        self._sent = None

    def release(self) -> None:
        """Let the processes go; the next call starts new ones."""
        crew, self._crew, self._sent = self._crew, None, None
        if crew is not None:
            crew.users.discard(self)
            if not crew.users:
                crew.end()


class Crew:
    """Owns the processes of the replicas on ``names``, all but the first."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.users: weakref.WeakSet[ReplicaProcesses] = weakref.WeakSet()
        self.replicas: list[ReplicaProcess] = []
        self._first = torch_device(names[0])
        self._owner = os.getpid()
        self._keys = itertools.count(1)
        self._flights: dict[int, list[tuple[ReplicaProcess, int]]] = {}  # the boxes that a graph looks at
        self._lock = threading.RLock()
        self._is_at_work = False
        self._under_way: weakref.ref[Flight] | None = None  # the backward pass that has asked for gradients
        self._gradient_boxes: list[tuple[ReplicaProcess, int]] = []  # and the boxes that it has sent
        # Replicas on the CPU share its cores: with more threads than cores they would wait for each other.
        threads = _threads_alone()
        share = max(1, threads // len(names))
        self.threads = threads if all(name.startswith("cpu") for name in names) else None
        """How many threads this process had before it left some to the replicas, if it has."""
        self.end = weakref.finalize(self, _end_all, self.replicas, self._owner, self.threads)
        """Ends the processes."""
        try:
            for number, name in enumerate(names[1:], 1):
                self.replicas.append(ReplicaProcess(number, name, share))
                self.replicas[-1].ask(name)
            for replica in self.replicas:
                replica.answer()
        except BaseException:
            self.end()
            raise
        if self.threads is not None:
            torch.set_num_threads(share)

    @property
    def is_running(self) -> bool:
        """Whether the processes can be asked, by this process."""
        return self.end.alive and self._owner == os.getpid()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        return [replica.process.pid for replica in self.replicas]

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the replicas to oneself; they are ended by an error after which they cannot be asked again."""
        with self._lock:
            if self._is_at_work:
                raise ReplicationError(
                    "the forward pass of a replicated model calls another one, which is replicated on the "
                    "same devices, and these are at work; replicate the outer model alone"
                )
            self._is_at_work = True
            try:
                self._receive_gradients()
                yield
            except BaseException as error:
                # Between question and answer a replica cannot be asked anything else.
                if isinstance(error, ReplicaDiedError) or any(one.waits_for for one in self.replicas):
                    self.end()
                raise
            finally:
                self._is_at_work = False

    def run(self, sent: SentModel, parts: Sequence[Any], local: Callable[[SentModel, Any], Any]) -> list[Any]:
        """Return what each replica makes of its part."""
        sent.fill()
        sent.note_attributes()
        modes = Modes.of_this_thread()
        replicas = self.replicas[: len(parts) - 1]
        packed = [pack(part) for part in parts[1:]]
        with_grad = [
            [index for index, tensor in enumerate(tensors) if modes.grad and tensor.requires_grad]
            for _, tensors in packed
        ]
        weights = sent.trained if modes.grad else []
        inputs = [
            tensors[index]
            for (_, tensors), indices in zip(packed, with_grad, strict=True)
            for index in indices
        ]
        flight = Flight(self, sent, next(self._keys), replicas, [tensor.device for tensor in inputs])
        boxes = self._flights[flight.key] = []
        keep_graph = bool(weights or inputs)
        token = Collect.apply(flight, self._first, *weights, *inputs) if keep_graph else None
        seed = seed_of_this_thread()
        for replica, (call, tensors), indices in zip(replicas, packed, with_grad, strict=True):
            box, places = replica.put(tensors)
            boxes.append((replica, box))
            forgotten, replica.forgotten = replica.forgotten, []
            replica.ask(
                worker.Forward(
                    model=sent.key,
                    key=flight.key,
                    call=call,
                    box=box,
                    places=places,
                    with_grad=indices,
                    modes=modes,
                    keep_graph=keep_graph,
                    seed=seed ^ replica.number,
                    attributes=sent.take_attributes(replica),
                    forgotten=forgotten,
                )
            )
        errors: list[BaseException] = []
        results = [_attempt(lambda: local(sent, parts[0]), errors)]
        answers = [replica.answer() for replica in replicas]
        for number, answer in enumerate([*errors, *answers] if errors else [None, *answers]):
            if isinstance(answer, BaseException):
                name_replica(answer, number, len(parts), self.names)
                raise answer
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
        rest = iter(gradients)
        with self.at_work():
            self._under_way = weakref.ref(flight)
            for replica, count in zip(flight.replicas, flight.outputs, strict=True):
                own = [next(rest) for _ in range(count)]
                box, places = replica.put([one for one in own if one is not None])
                self._gradient_boxes.append((replica, box))
                given = iter(places)
                replica.ask(
                    worker.Backward(
                        model=flight.sent.key,
                        key=flight.key,
                        box=box,
                        places=[None if one is None else next(given) for one in own],
                        retain=retain,
                    )
                )

    def collect(self, flight: Flight) -> tuple[list[Any], list[Any]]:
        """Return the sums of the gradients of the weights, and the gradients of the inputs."""
        with self._lock:
            self._check(flight)
            if self._under_way is not None and self._under_way() is flight:
                try:
                    self._receive_gradients()
                except BaseException:
                    self.end()
                    raise
            arrived, flight.arrived = flight.arrived, None
        if isinstance(arrived, BaseException):
            raise arrived
        assert arrived is not None  # Start has run before Collect
        return arrived

    def _receive_gradients(self) -> None:
        """Wait for the gradients that are on their way, and keep them for the backward pass that wants them.

        Others may come first: another thread, a forward pass that a checkpoint repeats on the way back. And
        nobody comes for those of a backward pass that was left in the middle.
        """
        flight = None if self._under_way is None else self._under_way()
        answers = [replica.answer() for replica in self.replicas if replica.waits_for]
        self._under_way = None
        for replica, box in self._gradient_boxes:
            replica.boxes.give_back(box)
        self._gradient_boxes.clear()
        if flight is None:
            return
        with torch.inference_mode(False), torch.no_grad():  # whatever the code that came first is under
            flight.arrived = self._gradients(flight, answers)

    def _gradients(self, flight: Flight, answers: list[Any]) -> tuple[list[Any], list[Any]] | BaseException:
        """Return copies of the gradients of the weights, summed, and of the inputs; or what was raised."""
        for replica, answer in zip(flight.replicas, answers, strict=True):
            if isinstance(answer, BaseException):
                name_replica(answer, replica.number, len(answers) + 1, self.names)
                return answer
        columns = zip(
            *(
                flight.sent.gradients_of(replica, answer.weights)
                for replica, answer in zip(flight.replicas, answers, strict=True)
            ),
            strict=True,
        )
        sums = [
            _sum([one for one in column if one is not None], weight.device)
            for weight, column in zip(flight.sent.trained, columns, strict=True)
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
            replica.forgotten.append(key)

    def _check(self, flight: Flight) -> None:
        if not self.is_running or not flight.sent.is_with(self.replicas):
            raise ReplicationError(
                "the processes that ran this forward pass have been ended since; call the model again before "
                "backward()"
            )


_crews: weakref.WeakValueDictionary[tuple[int, tuple[str, ...]], Crew] = weakref.WeakValueDictionary()


def crew_on(names: tuple[str, ...]) -> Crew:
    """Return the crew of this process on the devices ``names``; start it if it does not run."""
    key = os.getpid(), names
    crew = _crews.get(key)
    if crew is None or not crew.is_running:
        crew = _crews[key] = Crew(names)
    return crew


def _attempt(task: Callable[[], Any], errors: list[BaseException]) -> Any:
    try:
        return task()
    except Exception as error:  # noqa: BLE001 - raised as soon as the other replicas have answered
        errors.append(error)
        return None


def _sum(tensors: list[torch.Tensor], device: torch.device) -> torch.Tensor | None:
    if not tensors:
        return None
    # A copy: autograd may keep what it is given as a .grad, and a replica writes there again.
    total = tensors[0].to(device, copy=True)
    for tensor in tensors[1:]:
        total += tensor.to(device)
    return total


def _threads_alone() -> int:
    """Return how many threads this process has while no replicas share the CPU with it."""
    counts = [crew.threads for crew in list(_crews.values()) if crew.is_running and crew.threads is not None]
    return counts[0] if counts else torch.get_num_threads()


def _end_all(replicas: list[ReplicaProcess], owner: int, threads: int | None) -> None:
    for replica in replicas:
        replica.wire.connection.close()
    if owner != os.getpid():  # a forked child: they are its parent's
        return
    if threads is not None and not any(
        crew.is_running and crew.threads is not None for crew in list(_crews.values())
    ):
        torch.set_num_threads(threads)
    deadline = time.monotonic() + _GRACE
    for replica in replicas:
        try:
            replica.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            replica.process.kill()
            replica.process.wait()
