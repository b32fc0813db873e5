"""A model as the processes of its replicas have it, and what of it has changed since it was sent."""

from __future__ import annotations

import itertools
import operator
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from befit._internal.carried import surroundings
from befit.integrations.torch import replicate_worker as worker
from befit.integrations.torch.replicate_memory import Block, fill, lay_out
from befit.integrations.torch.replicate_modes import TorchSettings
from befit.integrations.torch.replicate_travel import Reduce, dumps_model

if TYPE_CHECKING:
    from befit.integrations.torch.replicate_process import ReplicaProcess


_keys = itertools.count(1)


class Followed(Protocol):
    """A model's tensors, found once, and whether they are still all there is."""

    weights: list[torch.Tensor]
    """Each tensor once: those that are trained, and those that are the model's state."""

    def is_whole(self) -> bool:
        """Return whether the model has the same tensors and the same structure as then."""


@dataclass(frozen=True)
class ModelKind:
    """What differs between a Keras model and a plain module."""

    runner: worker.Runner
    """Returns what runs the model in the process of a replica."""
    follow: Callable[[Any], Followed]
    """Looks the model over."""
    parts: Callable[[Any], list[Any]]
    """Returns the parts of the model that have attributes, always in one order."""
    is_followed: Callable[[str, Any], bool]
    """Whether a new value of an attribute is sent to the replicas."""
    settings: Callable[[], list[Any]] = list
    """Returns context managers for settings that change results."""
    without: Callable[[Any], list[Any]] = lambda model: []
    """Returns the objects in the model that a forward pass needs none of."""
    reduce: Reduce = lambda value: NotImplemented


class SentModel:
    """Sends a model when it is made; knows the blocks with its weights and with their gradients."""

    def __init__(self, model: Any, kind: ModelKind, replicas: Sequence[ReplicaProcess]) -> None:
        self.model = model
        self.key = next(_keys)
        self._kind = kind
        self._replicas = list(replicas)
        self._followed = kind.follow(model)
        self._weights = self._followed.weights
        self._as_sent = _look(self._weights)
        requires_grad = self._as_sent[-1]
        self.trained = [weight for weight in self._weights if weight.requires_grad]
        """The weights that are trained."""
        self._news: dict[int, list[bytes]] = {replica.number: [] for replica in replicas}
        parts = kind.parts(model)
        self._classes = {cls for part in parts for cls in type(part).__mro__}
        self._attributes = _Attributes(parts, kind.is_followed)
        places, self._nbytes = lay_out(self._weights)
        self._trained_places = [place for place, needed in zip(places, requires_grad, strict=True) if needed]
        self._targets: dict[torch.device, tuple[Block, list[torch.Tensor]]] = {}
        self._gradients: dict[int, _Gradients] = {}
        settings = _settings(kind)
        self._settings = [vars(one) for one in settings]
        around: list[Any] = [*settings, *surroundings()]
        pickled = dumps_model(
            model,
            self._weights,
            classes=self._classes,
            without=kind.without(model),
            reduce=kind.reduce,
        )
        pickled_around = dumps_model(around, classes=[one for carried in around for one in carried.contents])
        # Before anything of it is sent: a replica that cannot take it drops what it has of it, too.
        weakref.finalize(self, _drop, self.key, self._replicas).atexit = False
        for replica in replicas:
            if replica.device not in self._targets:
                block = Block(replica.device, self._nbytes)
                self._targets[replica.device] = block, block.cut(places)
            weights = self._targets[replica.device][0]
            replica.tell(worker.Attach(weights={self.key: weights.handle}), [weights])
            self._gradients[replica.number] = self._new_gradients(replica)
            dropped, replica.dropped = replica.dropped, []
            replica.ask(
                worker.Model(
                    key=self.key,
                    pickled=pickled,
                    runner=kind.runner,
                    parts=kind.parts,
                    weights=places,
                    requires_grad=requires_grad,
                    kinds=[type(weight) for weight in self._weights],
                    surroundings=pickled_around,
                    dropped=dropped,
                )
            )
        for answer in [replica.answer() for replica in replicas]:
            if isinstance(answer, BaseException):
                raise answer

    def is_with(self, replicas: Sequence[ReplicaProcess]) -> bool:
        """Whether it was sent to ``replicas``."""
        return len(replicas) == len(self._replicas) and all(map(operator.is_, replicas, self._replicas))

    def holds(self, model: Any) -> bool:
        """Whether the replicas have this model, with these tensors for weights, and the present settings."""
        return (
            model is self.model
            and self._followed.is_whole()
            and _look(self._weights) == self._as_sent
            and [vars(one) for one in _settings(self._kind)] == self._settings
        )

    def is_on(self, device: torch.device) -> bool:
        """Whether the model itself is on ``device``, all of it."""
        return all(weight.device == device for weight in self._weights)

    def fill(self) -> None:
        """Copy the values of the weights, as they are now, to the replicas' devices."""
        # Every time: an assignment to .data does not count as a version, and a replica must not miss it.
        for _, targets in self._targets.values():
            fill(targets, self._weights)

    def gradients_of(self, replica: ReplicaProcess, has: list[bool]) -> list[torch.Tensor | None]:
        """Return the gradients of each weight that is trained, where the replica will write the next ones."""
        targets = self._gradients[replica.number].targets
        return [target if one else None for target, one in zip(targets, has, strict=True)]

    def _new_gradients(self, replica: ReplicaProcess) -> _Gradients:
        block = Block(replica.device, self._nbytes)
        replica.tell(worker.Attach(gradients={self.key: block.handle}), [block])
        return _Gradients(block, block.cut(self._trained_places))

    def note_attributes(self) -> None:
        """Look which attributes have other values than the replicas know."""
        changed = self._attributes.changed()
        if changed:
            pickled = dumps_model(changed, self._weights, classes=self._classes, reduce=self._kind.reduce)
            for replica in self._replicas:  # also those that have no rows this time
                self._news[replica.number].append(pickled)

    def take_attributes(self, replica: ReplicaProcess) -> list[bytes]:
        """Return what a replica has not been told yet."""
        news, self._news[replica.number] = self._news[replica.number], []
        return news


@dataclass
class _Gradients:
    """A block for the gradients of one replica, and the tensors in it."""

    block: Block
    targets: list[torch.Tensor]


def _settings(kind: ModelKind) -> list[Any]:
    return [TorchSettings(), *kind.settings()]


def _drop(key: int, replicas: Sequence[ReplicaProcess]) -> None:
    for replica in replicas:
        replica.dropped.append(key)


def _look(weights: list[torch.Tensor]) -> tuple[list[Any], ...]:
    """Return what a replica must know of tensors, besides their values."""
    return (
        [weight.dtype for weight in weights],
        [weight.shape for weight in weights],
        [weight.device for weight in weights],
        [weight.requires_grad for weight in weights],
    )


class _Attributes:
    """The attributes of a model's parts, as they were last sent."""

    def __init__(self, parts: list[Any], is_followed: Callable[[str, Any], bool]) -> None:
        self._is_followed = is_followed
        self._parts = [vars(part) for part in parts]
        self._seen = [dict(attributes) for attributes in self._parts]
        # Compared first, because nearly always nothing has changed; no two objects that live have one id.
        self._ids = [list(map(id, attributes.values())) for attributes in self._parts]

    def changed(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the number of each part that has other attributes now, and their values."""
        found = []
        for index, (attributes, ids) in enumerate(zip(self._parts, self._ids, strict=True)):
            now = list(map(id, attributes.values()))
            if now == ids:
                continue
            seen = self._seen[index]
            changed = {
                name: value
                for name, value in attributes.items()
                if (name not in seen or seen[name] is not value) and self._is_followed(name, value)
            }
            self._seen[index], self._ids[index] = dict(attributes), now
            if changed:
                found.append((index, changed))
        return found
