"""Follows one forward pass of a PyTorch module: which modules and functions ran, on which tensors.

Modules report through global forward hooks, functions through a ``TorchFunctionMode``. Tensors are told apart
by identity, so all of them stay alive until the pass is over.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from befit.graph.model_graph import TensorSpec
from befit.integrations.torch.macs import RECURRENT, MacCounter, Work, recurrent_macs
from befit.integrations.torch.shortcuts import SHORTCUTS

# Modules of torch.nn that hold others are one box each (attention, for example), except for these.
TRANSPARENT = ("torch.nn.modules.container", "torch.nn.modules.transformer", "torch.nn.parallel")


@dataclass(frozen=True, slots=True)
class Origin:
    """The call that a tensor came from, and which of its outputs it is."""

    call: int
    output: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a module or function, or one input of the model.

    Attributes:
        module: the module, if it is one.
        path: its attribute path; for a function the path of the module whose code called it.
        function: the function's name, ``""`` for a module.
        inputs: the tensors that went in, and where each came from, if that was followed.
        outputs: the tensors that came out.
        parameters: names of the parameters that a function was given.
        macs: its multiply-adds; ``None`` if they are not known.
    """

    module: Any
    path: str
    function: str
    inputs: tuple[tuple[TensorSpec, Origin | None], ...]
    outputs: tuple[TensorSpec, ...]
    parameters: tuple[str, ...] = ()
    macs: int | None = 0


class CallTracer(TorchFunctionMode):
    """Records the calls of one forward pass.

    Args:
        paths: the attribute path of each module.
        parameters: name and tensor of each parameter, as this pass will see it.
    """

    def __init__(self, paths: Mapping[Any, str], parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.made_of_nothing: list[weakref.ref[Any]] = []
        self._paths = paths
        self._origins: dict[int, Origin] = {}
        self._parameters: dict[int, tuple[str, ...]] = {}
        for name, tensor in parameters.items():
            self._parameters[id(tensor)] = (name,)
        self._alive: list[Any] = list(parameters.values())
        self._scopes: list[tuple[str, tuple[int, int]]] = []
        self._counter = MacCounter()
        self._owed: dict[int, Work] = {}
        self._leaves = 0  # how many modules deep the pass is inside one that counts as one box
        self._boxes = {
            module for module, path in paths.items() if is_leaf(module) and (path or _is_torchs(module))
        }
        self._thread = threading.get_ident()

    @contextmanager
    def following(self, count: bool = True) -> Iterator[None]:
        """Record what happens inside this block, in this thread; multiply-adds only if told to ``count``."""
        hooks = (
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        )
        try:
            with self, self._counter if count else nullcontext():
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def finish(self) -> list[Call]:
        """Return the calls; if work was done for none of them, not all of it is known."""
        if self.calls and any(work != Work() for work in self._owed.values()):
            self.calls[-1] = dataclasses.replace(self.calls[-1], macs=None)
        return self.calls

    def add_input(self, name: str, tensor: Any) -> None:
        """Record that ``tensor`` comes from outside."""
        self._record(Call(None, name, "", (), (_spec(tensor),)), [tensor])

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func``; record it if a tensor of the model went through."""
        kwargs = kwargs or {}
        if self._leaves:
            return self._run(func, args, kwargs)
        given = tensors_in((args, kwargs))
        if not given:
            result = func(*args, **kwargs)
            self.made_of_nothing += [weakref.ref(tensor) for tensor in tensors_in(result)]
            return result
        versions = [times_written(tensor) for tensor in given]
        mark = self._counter.now()
        result = self._run(func, args, kwargs)
        changed = [t for t, version in zip(given, versions, strict=True) if times_written(t) != version]
        known = {id(tensor) for tensor in given}
        # What comes back unchanged, as from x.contiguous(), went through nothing.
        made = [tensor for tensor in tensors_in(result) if id(tensor) not in known] + changed
        if made:
            self._follow(_name(func), given, made, self._counter.since(mark))
        return result

    def _run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shortcut = func in SHORTCUTS and getattr(args[0] if args else None, "is_meta", False)
        # Inside torch.vmap a tensor hides an axis, inside torch.func.grad a way back.
        if shortcut and torch._C._functorch.peek_interpreter_stack() is None:
            result = SHORTCUTS[func](*args, **kwargs)
            if result is not None:
                if func is torch.nn.functional.linear:
                    self._counter.macs += result.numel() * args[0].shape[-1]
                return result
        if func not in RECURRENT:
            return func(*args, **kwargs)
        mark = self._counter.now()
        result = func(*args, **kwargs)
        self._counter.replace(mark, recurrent_macs(args))
        return result

    def _follow(self, function: str, given: list[Any], made: list[Any], work: Work) -> None:
        names: dict[str, None] = {}
        for tensor in given:
            names.update(dict.fromkeys(self._parameters.get(id(tensor), ())))
        flowing = [tensor for tensor in given if id(tensor) not in self._parameters]
        work = self._with_owed(given, work)
        if any(id(tensor) in self._origins for tensor in flowing):
            path = self._scopes[-1][0] if self._scopes else ""
            inputs, outputs = self._sources(flowing), tuple(map(_spec, made))
            self._record(Call(None, path, function, inputs, outputs, tuple(names), work.known), made)
            return
        if names:  # made of parameters only: whoever uses the result uses the parameters
            for tensor in made:
                self._parameters[id(tensor)] = tuple(names)
        if work != Work():
            self._owed[id(made[0])] = work
        self._alive += made

    def _with_owed(self, given: list[Any], work: Work) -> Work:
        """Add what it took to make ``given`` out of tensors that do not flow: no call was recorded for it."""
        for tensor in given:
            if owed := self._owed.pop(id(tensor), None):
                work = Work(work.macs + owed.macs, work.and_more or owed.and_more)
        return work

    def _enter(self, module: Any, args: Any) -> None:
        if threading.get_ident() == self._thread and module in self._paths:
            self._scopes.append((self._paths[module], self._counter.now()))
            self._leaves += module in self._boxes

    def _leave(self, module: Any, args: Any, *kwargs_and_result: Any) -> None:
        # After an exception, which the model may catch, torch leaves the keyword arguments out.
        *kwargs, result = kwargs_and_result
        if threading.get_ident() != self._thread or module not in self._paths:
            return
        path, mark = self._scopes.pop()
        if module not in self._boxes:
            return
        if self._leaves == 1 and (made := tensors_in(result)):
            given = tensors_in((args, kwargs))
            work = self._with_owed(given, self._counter.since(mark))
            inputs, outputs = self._sources(given), tuple(map(_spec, made))
            self._record(Call(module, path, "", inputs, outputs, macs=work.known), made)
        self._leaves -= 1  # last: until here what is asked of tensors is not followed

    def _sources(self, tensors: Sequence[Any]) -> tuple[tuple[TensorSpec, Origin | None], ...]:
        return tuple((_spec(tensor), self._origins.get(id(tensor))) for tensor in tensors)

    def _record(self, call: Call, made: Sequence[Any]) -> None:
        for number, tensor in enumerate(made):
            self._origins[id(tensor)] = Origin(len(self.calls), number)
            self._alive.append(tensor)
        self.calls.append(call)


def is_leaf(module: Any) -> bool:
    """Return whether ``module`` is one box: it holds no modules, or only torch's own, or is scripted."""
    if isinstance(module, torch.jit.ScriptModule) or next(module.children(), None) is None:
        return True
    return _is_torchs(module) and not type(module).__module__.startswith(TRANSPARENT)


def _is_torchs(module: Any) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def paths_of(model: Any) -> dict[Any, str]:
    """Return the attribute path of each module in ``model``, without the wrappers of ``torch.compile``."""
    return {
        module: ".".join(part for part in path.split(".") if part != "_orig_mod")
        for path, module in model.named_modules()
    }


def tensors_in(value: Any) -> list[Any]:
    """Return the tensors in any nesting of tuples, lists, mappings and dataclasses, in order."""
    found: list[Any] = []
    stack = [value]
    entered: set[int] = set()  # an object may hold itself
    while stack:
        item = stack.pop()
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, Mapping):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, (tuple, list)):
            stack.extend(reversed(item))
        elif dataclasses.is_dataclass(item) and not isinstance(item, type) and id(item) not in entered:
            entered.add(id(item))
            stack.extend(getattr(item, field.name) for field in reversed(dataclasses.fields(item)))
    return found


def _spec(tensor: Any) -> TensorSpec:
    return TensorSpec(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def times_written(tensor: Any) -> int:
    """Return how often ``tensor`` was written to; inference tensors do not count."""
    return 0 if tensor.is_inference() else int(tensor._version)


def _name(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    if name in ("__get__", "__set__"):  # a property, such as x.T
        name = getattr(getattr(function, "__self__", None), "__name__", name)
    return str(name).strip("_")
