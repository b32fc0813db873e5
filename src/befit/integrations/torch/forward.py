"""Runs a module's forward pass for its calls alone, and leaves the module as it was."""

from __future__ import annotations

import copy
import gc
import logging
import random
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from befit.errors import GraphError
from befit.graph.model_graph import TensorSpec
from befit.integrations.torch.example import Arguments, map_leaves, named_tensors
from befit.integrations.torch.shortcuts import like
from befit.integrations.torch.tracing import Call, CallTracer, paths_of, times_written

logger = logging.getLogger(__name__)


def traced_calls(model: Any, arguments: Arguments) -> list[Call]:
    """Return the calls of one forward pass in eval mode.

    Meta tensors, which have shapes and no values, come first: they cost no computation and no memory, and a
    second pass with one more sample tells which axes follow the batch axis. Code that needs values gets them.

    Raises:
        GraphError: the forward pass fails.
    """
    try:
        if not any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            return _calls_on_meta(model, arguments)
    except Exception as error:  # noqa: BLE001  what a user's code raises without values is not known
        logger.debug("%s needs values: %r", type(model).__name__, error)
    parameters = dict(model.named_parameters())
    with _failures_explained(model), _left_as_found(model), _buffers_kept(model):
        return _follow(model, parameters, arguments)


def initialized_copy(model: Any, arguments: Arguments) -> Any:
    """Return a copy of ``model`` whose lazy modules got their weights from a forward pass.

    Raises:
        GraphError: the forward pass fails.
    """
    # torch copies lazy parameters, but not lazy buffers.
    lazy = [buffer for buffer in model.buffers() if is_lazy(buffer)]
    memo = {id(b): torch.nn.UninitializedBuffer(device=b.device, dtype=b.dtype) for b in lazy}
    model = copy.deepcopy(model, memo)
    args, kwargs = arguments
    with _failures_explained(model), torch.no_grad(), _random_state_kept(model):
        model.eval()(*args, **kwargs)
    return model


@contextmanager
def _failures_explained(model: Any) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise GraphError(
            f"{type(model).__name__} fails on the example input ({type(error).__name__}: {error}); "
            "give inputs that its forward() accepts"
        ) from error


def _calls_on_meta(model: Any, arguments: Arguments) -> list[Call]:
    twins: dict[int, Any] = {}
    made: list[weakref.ref[Any]] = []

    found = _Found(model)

    def calls(more: int) -> list[Call]:
        with _left_as_found(model, found), torch.device("meta"):
            _move_to_meta(model, twins)
            parameters = dict(model.named_parameters())
            return _follow(model, parameters, _on_meta(arguments, more), made, count=not more)

    one = calls(0)
    _warn_of_kept(model, made)
    try:
        other = calls(1)
    except Exception as error:  # noqa: BLE001  code that works for this batch size only
        logger.debug("%s fixes its batch size: %r", type(model).__name__, error)
        return one
    if [_structure(call) for call in one] != [_structure(call) for call in other]:
        return one
    return [_with_free_axes(a, b) for a, b in zip(one, other, strict=True)]


def _warn_of_kept(model: Any, made: list[weakref.ref[Any]]) -> None:
    """Say that code of the model's keeps a tensor without values where nobody can put it back."""
    if any(tensor() is not None for tensor in made):
        gc.collect()  # it may only be part of a circle
    if any(tensor() is not None for tensor in made):
        warnings.warn(
            f"{type(model).__name__} keeps a tensor outside of itself, as functools.lru_cache does; made "
            "while it was followed, it has no values: empty that cache, or make it a buffer of the module",
            stacklevel=2,
        )


def _move_to_meta(model: Any, twins: dict[int, Any]) -> None:
    """Put tensors without values in the place of parameters and buffers; ``_left_as_found`` undoes it."""

    def twin(tensor: Any) -> Any:  # weights that are tied stay tied
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
            raise TypeError(f"only {type(tensor).__name__} itself knows what is done with it")
        if id(tensor) not in twins:
            copy = like(tensor)
            if isinstance(tensor, torch.nn.Parameter):
                copy = torch.nn.Parameter(copy, tensor.requires_grad)
            vars(copy).update(vars(tensor))  # code may ask for marks that it set itself
            twins[id(tensor)] = copy
        return twins[id(tensor)]

    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            tensors.update({name: twin(tensor) for name, tensor in tensors.items() if tensor is not None})


def _on_meta(arguments: Arguments, more: int) -> Arguments:
    """Return ``arguments`` on the meta device, with ``more`` samples in each tensor that has a batch axis."""
    batch = 0

    def tensor(value: Any) -> Any:
        nonlocal batch
        if not isinstance(value, torch.Tensor):
            return value
        shape = list(value.shape)
        if shape:
            batch = batch or shape[0]
            shape[0] += more * (shape[0] == batch)
        return torch.empty(shape, dtype=value.dtype, device="meta")

    args, kwargs = map_leaves(tensor, arguments)
    return args, kwargs


def _follow(
    model: Any,
    parameters: dict[str, Any],
    arguments: Arguments,
    made: list[weakref.ref[Any]] | None = None,
    *,
    count: bool = True,
) -> list[Call]:
    """Return the calls of one pass; ``made`` gets the tensors that it made out of none."""
    tracer = CallTracer(paths_of(model), parameters)
    for name, tensor in named_tensors(model, arguments):
        tracer.add_input(name, tensor)
    args, kwargs = arguments
    with torch.no_grad(), tracer.following(count):
        model(*args, **kwargs)
    if made is not None:
        made += tracer.made_of_nothing
    return tracer.finish()


def _structure(call: Call) -> tuple[Any, ...]:
    return call.path, call.function, [origin for _, origin in call.inputs], len(call.outputs)


def _with_free_axes(one: Call, other: Call) -> Call:
    return replace(
        one,
        inputs=tuple(
            (_free(a, b), origin) for (a, origin), (b, _) in zip(one.inputs, other.inputs, strict=True)
        ),
        outputs=tuple(_free(a, b) for a, b in zip(one.outputs, other.outputs, strict=True)),
    )


def _free(one: TensorSpec, other: TensorSpec) -> TensorSpec:
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return one
    return replace(
        one, shape=tuple(a if a == b else None for a, b in zip(one.shape, other.shape, strict=True))
    )


class _Found:
    """Training modes and attributes of all modules of a model."""

    def __init__(self, model: Any) -> None:
        self.modules = list(model.modules())
        own = [m for m in self.modules if not isinstance(m, torch.jit.ScriptModule)]
        self.scripted = [(m, m.training) for m in self.modules if isinstance(m, torch.jit.ScriptModule)]
        self.attributes = [(module, dict(vars(module)), _containers(module)) for module in own]


@contextmanager
def _left_as_found(model: Any, found: _Found | None = None) -> Iterator[None]:
    """Run the block in eval mode; then put back training modes, attributes and the random state."""
    found = found or _Found(model)
    modules = [module for module, *_ in found.attributes]
    compiled = any(hasattr(m, "_orig_mod") or vars(m).get("_compiled_call_impl") for m in modules)
    with ExitStack() as stack:
        stack.enter_context(_random_state_kept(model))
        if compiled:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Using `torch.compile.* when there are global hooks")
        try:
            for module in found.modules:
                module.training = False
            yield
        finally:
            for module, attributes, (empty, filled) in found.attributes:
                for name in vars(module).keys() - attributes.keys():
                    del vars(module)[name]
                vars(module).update(attributes)
                for container in empty:
                    if container:
                        container.clear()
                for container, content in filled:
                    container.clear()
                    (container.extend if isinstance(container, list) else container.update)(content)
            for module, mode in found.scripted:
                module.training = mode


@contextmanager
def _random_state_kept(model: Any) -> Iterator[None]:
    devices = {t.device.index for t in (*model.parameters(), *model.buffers()) if t.device.type == "cuda"}
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=sorted(devices)):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def _buffers_kept(model: Any) -> Iterator[None]:
    """Put back the values of buffers that the block writes to."""
    kept = [(b, times_written(b), b.detach().clone()) for b in model.buffers() if not is_lazy(b)]
    try:
        yield
    finally:
        for buffer, written, value in kept:
            if times_written(buffer) != written:
                with torch.no_grad():
                    buffer.copy_(value)


def _containers(module: Any) -> tuple[list[Any], list[Any]]:
    """Return the containers in the attributes of ``module``, however deep, and copies of those not empty."""
    # Most are empty dictionaries of hooks. A copy of each would keep Python's garbage collector busy for
    # longer than the pass takes.
    seen: set[int] = set()
    empty, filled = [], []
    stack = list(vars(module).values())
    while stack:
        value = stack.pop()
        if isinstance(value, (list, dict, set)) and id(value) not in seen:
            seen.add(id(value))
            if value:
                filled.append((value, value.copy()))
                stack.extend(value.values() if isinstance(value, dict) else value)
            else:
                empty.append(value)
    return empty, filled
