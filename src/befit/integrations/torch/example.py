"""From an example input, or its shape, to the arguments of a forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from befit.errors import GraphError

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def arguments_for(model: Any, inputs: Any) -> Arguments:
    """Return positional and keyword arguments; a shape becomes float32 zeros on the model's device.

    A tuple or list holds several arguments. A dict whose keys are parameters of ``forward`` holds keyword
    arguments; any other is one argument.

    Raises:
        GraphError: something in ``inputs`` is neither a tensor nor a shape.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.get_default_device())

    def tensor(value: Any) -> Any:
        if is_shape(value):
            return torch.zeros([2 if length is None else length for length in value], device=device)
        if isinstance(value, torch.Tensor):
            return value.detach().clone()  # the pass may write to it
        if hasattr(value, "__array__"):
            return torch.as_tensor(value, device=device).clone()
        return value

    if isinstance(inputs, Mapping):
        values = {key: map_leaves(tensor, value) for key, value in inputs.items()}
        if _are_parameters(model.forward, values):
            return (), values
        return (values,), {}
    if is_shape(inputs) or not isinstance(inputs, (tuple, list)):
        inputs = (inputs,)
    arguments = tuple(map_leaves(tensor, value) for value in inputs)
    if not any(isinstance(value, torch.Tensor) for value in leaves((arguments, {}))):
        raise GraphError(
            f"inputs={inputs!r} holds neither a tensor nor a shape; write a tensor, or a shape with the "
            "batch axis such as (1, 3, 224, 224)"
        )
    return arguments, {}


def is_shape(value: Any) -> bool:
    """Return whether ``value`` is a shape such as ``(None, 10)``: a tuple or list of axis lengths."""
    return (
        isinstance(value, (tuple, list))
        and len(value) > 0
        and all(length is None or type(length) is int for length in value)
    )


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply ``function`` to what is in the tuples, lists and dicts of ``value``; a shape is one thing."""
    if isinstance(value, Mapping):
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)) and not is_shape(value):
        items = [map_leaves(function, item) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return function(value)


def leaves(value: Any) -> Iterator[Any]:
    """Yield what ``map_leaves`` would visit."""
    found: list[Any] = []
    map_leaves(found.append, value)
    yield from found


def named_tensors(model: Any, arguments: Arguments) -> Iterator[tuple[str, Any]]:
    """Yield each tensor in ``arguments`` with the name of its parameter of ``forward`` and its place."""
    args, kwargs = arguments
    parameters = inspect.signature(model.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"input_{number}" for number in range(len(names), len(args))]
    stack = [*reversed(list(kwargs.items())), *reversed(list(zip(names, args, strict=False)))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, torch.Tensor):
            yield name, value
        elif isinstance(value, Mapping):
            stack.extend((f"{name}.{key}", item) for key, item in reversed(list(value.items())))
        elif isinstance(value, (tuple, list)):
            stack.extend((f"{name}.{number}", value[number]) for number in reversed(range(len(value))))


def _are_parameters(forward: Callable[..., Any], values: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(forward).bind(**values)
    except TypeError:
        return False
    return True
