"""How a replica of a plain module runs: a copy of its structure on one device, here or in another process."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils import _pytree as pytree

from befit.errors import ReplicationError
from befit.integrations.torch.replicate_buffers import (
    BufferCopies,
    Change,
    Given,
    Place,
    changes,
    given_itself,
)
from befit.integrations.torch.replicate_crew import ReplicaProcesses
from befit.integrations.torch.replicate_sent import ModelKind, SentModel
from befit.integrations.torch.replicate_threads import ReplicaThreads, torch_device

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments, by position and by name."""

_REGISTRIES = frozenset(vars(torch.nn.Module())) - {"training"}


class Pass(NamedTuple):
    """What a replica's forward pass came to."""

    outputs: Any
    changes: dict[Place, Change]
    """What it changed of the template's buffers."""
    given: dict[Place, Given] = {}  # noqa: RUF012 - never written to
    """The buffers from before; of the caller's own replica only."""


Merge = Callable[[list[Pass]], Any]
"""Returns the passes of all replicas as one result."""


class ModuleThreads:
    """Runs replicas in threads of this process."""

    pids: list[int] = []  # noqa: RUF012 - always empty

    def __init__(self, names: tuple[str, ...]) -> None:
        self._threads = ReplicaThreads(names)

    def run(self, template: Any, calls: Sequence[Call], merge: Merge) -> Any:
        """Return what ``merge`` makes of what each replica makes of its call."""
        return merge(
            self._threads.run(
                lambda replica: run_copy(template, self._threads.devices[replica], calls[replica]), len(calls)
            )
        )

    def release(self) -> None:
        """End the threads."""
        self._threads.release()


class ModuleProcesses:
    """Runs the first replica here and every other one in a process of its own."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._device = torch_device(names[0])
        self._processes = ReplicaProcesses(names, MODULE)
        self._own: Any = None
        self._of = 0  # the key of the model that it runs

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        return self._processes.pids

    def run(self, template: Any, calls: Sequence[Call], merge: Merge) -> Any:
        """Return what ``merge`` makes of what each replica makes of its call."""
        if len(calls) == 1:
            return merge([run_copy(template, self._device, calls[0])])
        return self._processes.run(template, calls, self._run_here, merge)

    def _run_here(self, sent: SentModel, call: Call) -> Pass:
        if not sent.is_on(self._device):
            return run_copy(sent.model, self._device, call)
        if self._of != sent.key:
            self._of = sent.key
            self._own = OwnRunner(sent.model, self._device, copies_buffers=False)
        own: Pass = self._own(
            pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(self._device), call)
        )
        return own

    def release(self) -> None:
        """End the processes."""
        self._own, self._of = None, 0
        self._processes.release()


def run_copy(template: Any, device: torch.device, call: Call) -> Pass:
    """Run a copy of ``template`` on ``device``; gradients flow to the template's own parameters."""
    replica = _Replica(template, device)
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), call)
    outputs = replica.module(*args, **kwargs)
    return Pass(outputs, changes(list(replica.shadows.values()), replica.copies.given), replica.copies.given)


class _Replica:
    """The template's structure with its parameters and copies of its buffers, on one device."""

    def __init__(self, template: Any, device: torch.device) -> None:
        self._device = device
        self.copies = BufferCopies(device)
        self.shadows: dict[Any, Any] = {}
        self.module = self._shadow(template)

    def _shadow(self, module: Any) -> Any:
        if module in self.shadows:
            return self.shadows[module]
        number = len(self.shadows)
        # The method that torch.nn.DataParallel uses, and that modules such as nn.LSTM override.
        shadow = self.shadows[module] = module._replicate_for_data_parallel()
        for name, child in module._modules.items():
            shadow._modules[name] = None if child is None else self._shadow(child)
        for name, parameter in module._parameters.items():
            # A plain attribute: gradients flow through the copy to the template's parameter.
            setattr(shadow, name, None if parameter is None else parameter.to(self._device))
        for name, buffer in module._buffers.items():
            shadow._buffers[name] = None if buffer is None else self.copies.copy((number, name), buffer)
        return shadow


class OwnRunner:
    """Runs a module itself, without a copy: it has the device to itself.

    Args:
        module: The module, all on ``device``.
        device: Where its inputs go.
        copies_buffers: Its buffers belong to another process: each run gets copies.
    """

    def __init__(self, module: Any, device: torch.device, *, copies_buffers: bool) -> None:
        self._module = module
        self._device = device
        self._modules = list(module.modules())
        self._shared = [
            (number, part, name, buffer)
            for number, part in enumerate(self._modules if copies_buffers else ())
            for name, buffer in part._buffers.items()
            if buffer is not None
        ]
        self._has_buffers = any(part._buffers for part in self._modules)

    def __call__(self, call: Call) -> Pass:
        """Return what the module makes of a call."""
        given: dict[Place, Given] = {}
        if self._shared:
            copies = BufferCopies(self._device)
            for number, part, name, buffer in self._shared:
                part._buffers[name] = copies.copy((number, name), buffer)
            given = copies.given
        elif self._has_buffers:
            given = given_itself(self._modules)
        args, kwargs = call
        outputs = self._module(*args, **kwargs)
        return Pass(outputs, changes(self._modules, given) if given else {}, given)


def _runner(module: Any, replica: int, device: torch.device) -> Callable[[Call], Pass]:
    """Return what runs the module in the process of a replica."""
    del replica  # what it draws is seeded for it
    run = OwnRunner(module, device, copies_buffers=True)
    return lambda call: run(call)._replace(given={})


def _parts(module: Any) -> list[Any]:
    return list(module.modules())


class _FollowedModule:
    """A module's tensors, found once, and whether they are still all there is."""

    def __init__(self, module: Any) -> None:
        parts = _parts(module)
        self.weights = list(dict.fromkeys([*module.parameters(), *module.buffers()]))
        for weight in self.weights:
            if torch.nn.parameter.is_lazy(weight):
                raise ReplicationError(
                    "the module has a lazy parameter, which has no shape yet; call the module itself once, "
                    "on a batch, before it is replicated"
                )
            if weight.layout is not torch.strided:
                raise ReplicationError(
                    "the module has a sparse parameter or buffer, which processes cannot share; make it "
                    "dense, or pass engine='threads'"
                )
        registries = [
            registry for part in parts for registry in (part._parameters, part._buffers, part._modules)
        ]
        self._registries = [(registry, tuple(registry.values())) for registry in registries]
        self._hooks = [
            hooks
            for part in parts
            for hooks in (
                part._forward_hooks,
                part._forward_pre_hooks,
                part._backward_hooks,
                part._backward_pre_hooks,
            )
        ]
        self._hook_keys = self._find_hooks()

    def is_whole(self) -> bool:
        """Return whether the module has the same tensors, parts and hooks as then."""
        return self._find_hooks() == self._hook_keys and all(
            len(registry) == len(seen) and all(map(operator.is_, registry.values(), seen))
            for registry, seen in self._registries
        )

    def _find_hooks(self) -> list[int]:
        return list(itertools.chain.from_iterable(self._hooks))  # torch numbers all hooks there ever were


MODULE = ModelKind(
    runner=_runner,
    follow=_FollowedModule,
    parts=_parts,
    is_followed=lambda name, value: name not in _REGISTRIES,
)
