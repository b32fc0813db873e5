"""A model as the processes of its replicas have it, and what of it has changed since it was sent."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from befit._internal.carried import surroundings
from befit._internal.pickling import dumps
from befit.integrations.torch import replicate_worker as worker
from befit.integrations.torch.replicate_memory import Block, fill, lay_out
from befit.integrations.torch.replicate_modes import TorchSettings
from befit.integrations.torch.replicate_travel import Reduce, dumps_model

if TYPE_CHECKING:
    from befit.integrations.torch.replicate_processes import ReplicaProcess


@dataclass(frozen=True)
class ModelKind:
    """What differs between a Keras model and a plain module."""

    runner: worker.Runner
    """Returns what runs the model in the process of a replica."""
    weights: Callable[[Any], list[torch.Tensor]]
    """Returns the model's tensors, each once: those that are trained, and those that are its state."""
    modules: Callable[[Any], list[Any]]
    """Returns the parts of the model that have attributes."""
    is_followed: Callable[[str, Any], bool]
    """Whether a new value of an attribute is sent to the replicas."""
    structure: Callable[[Any], Any] = lambda model: None
    """Returns what has to be as it was, or else the model is sent anew."""
    settings: Callable[[], list[Any]] = list
    """Returns context managers for settings that change results."""
    without: Callable[[Any], list[Any]] = lambda model: []
    """Returns the objects in the model that a forward pass needs none of."""
    reduce: Reduce = lambda value: NotImplemented


class SentModel:
    """Sends a model when it is made; knows the blocks with its weights and with their gradients."""

    def __init__(self, model: Any, kind: ModelKind, replicas: Sequence[ReplicaProcess]) -> None:
        self._model = model
        self._kind = kind
        self._weights = kind.weights(model)
        self._requires_grad = [weight.requires_grad for weight in self._weights]
        self._structure = kind.structure(model)
        self._seen = _Attributes(kind.modules(model), kind.is_followed)
        self._places, nbytes = lay_out(self._weights)
        self._targets: dict[torch.device, tuple[Block, list[torch.Tensor]]] = {}
        self._gradients: dict[int, _Gradients] = {}
        self._nbytes = nbytes
        self._trained = [
            place for place, needed in zip(self._places, self._requires_grad, strict=True) if needed
        ]
        message = worker.Model(
            pickled=dumps_model(model, self._weights, kind.without(model), kind.reduce),
            runner=kind.runner,
            modules=kind.modules,
            weights=self._places,
            requires_grad=self._requires_grad,
            kinds=[type(weight) for weight in self._weights],
            surroundings=dumps([TorchSettings(), *kind.settings(), *surroundings()]),
        )
        for replica in replicas:
            replica.attributes, replica.forgotten = [], []
            if replica.device not in self._targets:
                block = Block(replica.device, nbytes)
                self._targets[replica.device] = block, block.cut(self._places)
            weights = self._targets[replica.device][0]
            replica.tell(worker.Attach({}, [0, *replica.boxes.numbers], weights=weights.handle), [weights])
            self._gradients[replica.number] = self._new_gradients(replica)
            replica.ask(message)
        for answer in [replica.answer() for replica in replicas]:
            if isinstance(answer, BaseException):
                raise answer

    def holds(self, model: Any) -> bool:
        """Whether the replicas have this model, with these tensors for weights."""
        if model is not self._model or self._kind.structure(model) != self._structure:
            return False
        weights = self._kind.weights(model)
        return len(weights) == len(self._weights) and all(
            now is sent
            and now.dtype is place.dtype
            and now.requires_grad == needed
            and tuple(now.shape) == place.shape
            for now, sent, place, needed in zip(
                weights, self._weights, self._places, self._requires_grad, strict=True
            )
        )

    def fill(self) -> None:
        """Copy the values of the weights, as they are now, to the replicas' devices."""
        # Every time: an assignment to .data does not count as a version, and a replica must not miss it.
        for _, targets in self._targets.values():
            fill(targets, self._weights)

    def trained(self) -> list[torch.Tensor]:
        """Return the weights that are trained."""
        return [weight for weight, needed in zip(self._weights, self._requires_grad, strict=True) if needed]

    def make_room(self, replica: ReplicaProcess) -> None:
        """Make sure that the replica may write gradients: nobody looks any more at those of the last time."""
        gradients = self._gradients[replica.number]
        if any(view() is not None for view in gradients.views):
            self._gradients[replica.number] = self._new_gradients(replica)

    def gradients_of(self, replica: ReplicaProcess, has: list[bool]) -> list[torch.Tensor | None]:
        """Return the gradients that a replica has written, of each weight that is trained."""
        gradients = self._gradients[replica.number]
        views = iter(
            gradients.block.cut([place for place, one in zip(self._trained, has, strict=True) if one])
        )
        found = [next(views) if one else None for one in has]
        gradients.views = [weakref.ref(view) for view in found if view is not None]
        return found

    def _new_gradients(self, replica: ReplicaProcess) -> _Gradients:
        block = Block(replica.device, self._nbytes)
        replica.tell(worker.Attach({}, [0, *replica.boxes.numbers], gradients=block.handle), [block])
        return _Gradients(block)

    def changed_attributes(self) -> bytes:
        """Return, pickled, the attributes whose values the replicas do not know; empty: there are none."""
        changed = self._seen.changed()
        return dumps_model(changed, self._weights, [], self._kind.reduce) if changed else b""


@dataclass
class _Gradients:
    """A block for the gradients of one replica, and the tensors in it that were handed out last."""

    block: Block
    views: list[Any] = field(default_factory=list)


class _Attributes:
    """The attributes of a model's modules, as they were last sent."""

    def __init__(self, modules: list[Any], is_followed: Callable[[str, Any], bool]) -> None:
        self._is_followed = is_followed
        self._seen = [(module, dict(vars(module))) for module in modules]

    def changed(self) -> list[tuple[int, dict[str, Any]]]:
        found = []
        for index, (module, seen) in enumerate(self._seen):
            now = vars(module)
            changed = {
                name: value
                for name, value in now.items()
                if (name not in seen or seen[name] is not value) and self._is_followed(name, value)
            }
            if changed:
                seen.update(changed)
                found.append((index, changed))
        return found
