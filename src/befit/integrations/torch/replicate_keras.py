"""How a replica of a Keras model runs on torch, here and in a process of its own."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import keras
import torch

from befit.integrations.keras import travel
from befit.integrations.keras.replicate_slices import Pass, Variables, run_replica
from befit.integrations.torch.replicate_sent import ModelKind

_SIMPLE = (bool, int, float, complex, str, bytes, type(None), torch.dtype)


def run_on_device(
    template: Any, replica: int, device: torch.device, call: tuple[Any, bool | None], variables: Variables
) -> Pass:
    """Run ``template`` as replica number ``replica`` on its device."""
    inputs, training = call
    with keras.device(str(device)):
        # A differentiable copy: on the way back the replicas' gradients are added up.
        return run_replica(template, replica, inputs, training, lambda value: value.to(device), variables)


def with_masks(inputs: Any) -> tuple[Any, list[Any]]:
    """Return ``inputs`` and the Keras mask of each, which is an attribute and would not travel."""
    return inputs, [getattr(leaf, "_keras_mask", None) for leaf in keras.tree.flatten(inputs)]


def as_tuple(one: Pass) -> tuple[Any, ...]:
    """Return a pass in a form that travels."""
    return one.outputs, one.masks, one.losses, one.updates


def _runner(template: Any, replica: int, device: torch.device) -> Callable[[Any], tuple[Any, ...]]:
    """Return what runs the template in the process of a replica."""

    variables = Variables.of(template)

    def run(call: Any) -> tuple[Any, ...]:
        (inputs, masks), training = call
        for leaf, mask in zip(keras.tree.flatten(inputs), masks, strict=True):
            if mask is not None:
                leaf._keras_mask = mask
        return as_tuple(run_on_device(template, replica, device, (inputs, training), variables))

    return run


def _parts(template: Any) -> list[Any]:
    return list(template._flatten_layers())


class FollowedModel:
    """A model's variables, found once; ``compile`` has them looked for anew, as Keras has it everywhere."""

    def __init__(self, template: Any) -> None:
        self.variables = Variables.of(template)
        self.weights = [variable._value for variable in self.variables.every]
        self._collections = [
            collection
            for layer in _parts(template)
            for collection in (layer._layers, layer._trainable_variables, layer._non_trainable_variables)
        ]
        self._count = sum(map(len, self._collections))

    def is_whole(self) -> bool:
        """Return whether the variables have the tensors that they had, and no layer or variable was added."""
        return sum(map(len, self._collections)) == self._count and all(
            map(operator.is_, map(operator.attrgetter("_value"), self.variables.every), self.weights)
        )


def _is_followed(name: str, value: Any) -> bool:
    # A layer may keep what it computed, which is no setting; Keras's own bookkeeping begins with two names.
    return isinstance(value, _SIMPLE) or (
        isinstance(value, tuple) and all(isinstance(one, _SIMPLE) for one in value)
    )


KERAS = ModelKind(
    runner=_runner,
    follow=FollowedModel,
    parts=_parts,
    is_followed=_is_followed,
    settings=lambda: [travel.KerasSettings()],
    without=travel.of_training,
    reduce=travel.reduce,
)
