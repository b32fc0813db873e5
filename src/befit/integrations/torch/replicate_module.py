"""A plain ``torch.nn.Module`` on several devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from befit.errors import ReplicationError
from befit.integrations.torch.replicate_buffers import merge_buffers
from befit.integrations.torch.replicate_copy import ModuleProcesses, ModuleThreads, Pass
from befit.integrations.torch.replicate_threads import torch_device
from befit.replicate.split import row_ranges, sub_batch_sizes


class ParallelModule(torch.nn.Module):
    """Runs ``template`` once per device, each on its own rows of the batch.

    It has the template's own parameters, buffers and children, not copies, and so the same ``state_dict``
    keys; gradients arrive at the template's parameters. A pickle or a copy of it is the plain template.
    """

    devices: tuple[str, ...]
    """The names of the devices, one for each replica."""

    def __init__(self, template: Any, names: tuple[str, ...], *, in_processes: bool = False) -> None:
        super().__init__()
        # Past nn.Module.__setattr__: the template is no child, whose name would prefix every key.
        self.__dict__["template"] = template
        self.__dict__["devices"] = names
        self.__dict__["_runner"] = (ModuleProcesses if in_processes else ModuleThreads)(names)
        # One set of registries for both: nn.Module's own methods then see, move and freeze the template's.
        for registry in ("_parameters", "_buffers", "_modules"):
            self.__dict__[registry] = template.__dict__[registry]
        self.training = template.training

    @property
    def replica_pids(self) -> list[int]:
        """The ids of the processes of the replicas, all but the first; empty where none run."""
        pids: list[int] = self._runner.pids
        return pids

    def release(self) -> None:
        """End the processes or threads of the replicas; the next call starts new ones."""
        self._runner.release()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Split the tensors among ``args`` and ``kwargs`` along axis 0, and concatenate the outputs."""
        values, structure = pytree.tree_flatten((args, kwargs))
        rows = _count_rows(values)
        if rows is None:
            return self.template(*args, **kwargs)
        sizes = sub_batch_sizes(rows, len(self.devices))
        calls = [
            pytree.tree_unflatten(
                [value[first:end] if _is_split(value) else value for value in values], structure
            )
            for first, end in row_ranges(sizes)
        ]
        first = torch_device(self.devices[0])

        def merge(passes: list[Pass]) -> Any:
            merge_buffers(self.template, [one.changes for one in passes], passes[0].given, sizes, first)
            return _concatenate([one.outputs for one in passes], sizes, first)

        return self._runner.run(self.template, calls, merge)

    def train(self, mode: bool = True) -> Any:
        """Set training mode, of the template too."""
        self.template.train(mode)
        return super().train(mode)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the template's ``state_dict``."""
        return self.template.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load into the template, whose parameters are shared."""
        return self.template.load_state_dict(*args, **kwargs)

    def apply(self, fn: Any) -> Any:
        """Apply ``fn`` to the template and every module in it."""
        self.template.apply(fn)
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> Any:  # to(), cuda(), half() …
        self.template._apply(*args, **kwargs)
        return self

    def extra_repr(self) -> str:
        """Say what is replicated, and where."""
        return f"{type(self.template).__name__} on {', '.join(self.devices)}"

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "template":  # not there yet while being built
                raise
            return getattr(self.template, name)

    def __reduce__(self) -> Any:
        return _itself, (self.template,)


def _itself(template: Any) -> Any:
    return template


def _is_split(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0


def _count_rows(values: list[Any]) -> int | None:
    lengths = {len(value) for value in values if _is_split(value)}
    if len(lengths) > 1:
        raise ReplicationError(
            f"the inputs have {' and '.join(map(str, sorted(lengths)))} rows; every tensor is split along "
            "axis 0 and needs one row per sample: keep what is not per sample in a buffer of the module"
        )
    return lengths.pop() if lengths else None


def _holds_tensors(value: Any) -> bool:
    held = value.values() if isinstance(value, Mapping) else getattr(value, "__dict__", {}).values()
    return not isinstance(value, torch.nn.Module) and any(isinstance(one, torch.Tensor) for one in held)


def _concatenate(outputs: list[Any], sizes: list[int], device: Any) -> Any:
    flat, structures = zip(*map(pytree.tree_flatten, outputs), strict=True)
    merged = []
    for values in zip(*flat, strict=True):
        if isinstance(values[0], torch.Tensor):
            for value, size in zip(values, sizes, strict=True):
                if value.ndim == 0 or len(value) != size:
                    raise ReplicationError(
                        f"a replica was given {size} rows and returned a tensor of shape "
                        f"{tuple(value.shape)}; outputs are concatenated along axis 0 and need one row per "
                        "sample: compute losses and other totals outside the module"
                    )
            merged.append(torch.cat([value.to(device) for value in values]))
        elif _holds_tensors(values[0]):
            raise ReplicationError(
                f"the module returned a {type(values[0]).__qualname__}, in which torch does not see the "
                "tensors that are to be concatenated; return a dict, a tuple or a named tuple, or register "
                "the class (torch.utils._pytree.register_pytree_node, or register_dataclass)"
            )
        else:
            merged.append(values[0])
    return pytree.tree_unflatten(merged, structures[0])
