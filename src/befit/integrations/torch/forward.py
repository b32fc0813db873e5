"""Runs a module's forward pass for its calls alone, and leaves the module as it was."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from befit.errors import GraphError
from befit.graph.model_graph import TensorSpec
from befit.integrations.torch.example import Arguments, map_leaves, named_tensors
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
        return _calls_on_meta(model, arguments)
    except Exception as error:  # noqa: BLE001  what a user's code raises without values is not known
        logger.debug("%s needs values: %r", type(model).__name__, error)
    parameters = dict(model.named_parameters())
    with _failures_explained(model), _left_as_found(model), _buffers_kept(model):
        return _follow(model, parameters, arguments, lambda args, kwargs: model(*args, **kwargs))


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
    tensors: dict[int, Any] = {}

    def twin(tensor: Any) -> Any:  # weights that are tied stay tied
        return tensors.setdefault(id(tensor), torch.empty_like(tensor, device="meta").requires_grad_(False))

    parameters = {name: twin(tensor) for name, tensor in model.named_parameters(remove_duplicate=False)}
    buffers = {name: twin(tensor) for name, tensor in model.named_buffers(remove_duplicate=False)}
    first = {name: parameters[name] for name, _ in model.named_parameters()}

    def calls(more: int) -> list[Call]:
        args, kwargs = _on_meta(arguments, more)
        with _left_as_found(model), torch.device("meta"):
            return _follow(
                model,
                first,
                (args, kwargs),
                lambda args, kwargs: torch.func.functional_call(model, (parameters, buffers), args, kwargs),
            )

    one = calls(0)
    try:
        other = calls(1)
    except Exception as error:  # noqa: BLE001  code that works for this batch size only
        logger.debug("%s fixes its batch size: %r", type(model).__name__, error)
        return one
    if [_structure(call) for call in one] != [_structure(call) for call in other]:
        return one
    return [_with_free_axes(a, b) for a, b in zip(one, other, strict=True)]


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


def _follow(model: Any, parameters: dict[str, Any], arguments: Arguments, run: Any) -> list[Call]:
    tracer = CallTracer(paths_of(model), parameters)
    for name, tensor in named_tensors(model, arguments):
        tracer.add_input(name, tensor)
    with torch.no_grad(), tracer.following():
        run(*arguments)
    return tracer.calls


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


@contextmanager
def _left_as_found(model: Any) -> Iterator[None]:
    """Run the block in eval mode; then put back training modes, attributes and the random state."""
    modules = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    scripted = [(m, m.training) for m in model.modules() if isinstance(m, torch.jit.ScriptModule)]
    attributes = [(module, dict(vars(module)), _containers(module)) for module in modules]
    compiled = any(hasattr(m, "_orig_mod") or vars(m).get("_compiled_call_impl") for m in modules)
    with ExitStack() as stack:
        stack.enter_context(_random_state_kept(model))
        if compiled:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Using `torch.compile.* when there are global hooks")
        try:
            for module in model.modules():
                module.training = False
            yield
        finally:
            for module, found, containers in attributes:
                for name in vars(module).keys() - found.keys():
                    del vars(module)[name]
                vars(module).update(found)
                for container, content in containers:
                    container.clear()
                    (container.extend if isinstance(container, list) else container.update)(content)
            for module, mode in scripted:
                module.training = mode


def _random_state_kept(model: Any) -> Any:
    devices = {t.device.index for t in (*model.parameters(), *model.buffers()) if t.device.type == "cuda"}
    return torch.random.fork_rng(devices=sorted(devices))


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


def _containers(module: Any) -> list[tuple[Any, Any]]:
    return [(value, value.copy()) for value in vars(module).values() if isinstance(value, (list, dict, set))]
