"""What becomes of the uses of imported names: chains such as ``keras.utils.np_utils.to_categorical``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from befit.migrate import keras3
from befit.migrate.migration import Remark
from befit.migrate.source import Binding, Chain, Reference, Source
from befit.migrate.table import dotted, hint_for, old_name, place, today, why_none


@dataclass(frozen=True)
class _Outcome:
    length: int
    """How many attributes of the chain are replaced, beside its first name."""
    text: str
    module: str | None
    """The module to import for it; ``None``: the binding itself is still used."""


_Problem = tuple[str, str]


@dataclass
class Uses:
    """The replacements, and how the bindings are used after them."""

    names: dict[Chain, str] = field(default_factory=dict)
    """Chains to replace, and by what."""
    kept: Counter[Binding] = field(default_factory=Counter)
    """How often a binding is still needed."""
    replaced: Counter[Binding] = field(default_factory=Counter)
    """How often a binding was needed, and is no longer."""
    stuck: set[Binding] = field(default_factory=set)
    """Those with a use that could not be rewritten."""
    modules: dict[Binding, list[str]] = field(default_factory=dict)
    """What has to be imported where a binding was."""
    remarks: list[Remark] = field(default_factory=list)


def plan_uses(source: Source) -> Uses:
    """Decide about every use of an imported name."""
    uses = Uses()
    for reference in source.references:
        bindings = tuple(filter(is_known, reference.bindings))
        outcome = _agreed(source, reference, bindings, uses)
        if outcome is not None:
            uses.names[reference.nodes[outcome.length]] = outcome.text
        if outcome is None or outcome.module is None:
            uses.kept.update(reference.bindings)
            continue
        uses.replaced.update(bindings)
        bound = _bound_already(outcome.module, reference, source)
        uses.kept.update(bound)
        if not bound:
            for binding in bindings:
                modules = uses.modules.setdefault(binding, [])
                if outcome.module not in modules:
                    modules.append(outcome.module)
    return uses


def is_known(binding: Binding) -> bool:
    """Return whether the import surely brings this name; ``from module import *`` may not."""
    if binding.alias is not None:
        return True
    found, module = place(binding.origin), place(binding.imported)
    if found is None or module is None or not (module.rest == "utils" or module.is_gone_module):
        return False
    return found.is_gone_module or today(binding.origin) is not None


def _agreed(
    source: Source, reference: Reference, bindings: tuple[Binding, ...], uses: Uses
) -> _Outcome | None:
    """Return what all bindings of a reference lead to; ``None``: the use stays."""
    found = [_outcome(reference, binding) for binding in bindings]
    outcomes = {each for each in found if isinstance(each, _Outcome)}
    problems = [each for each in found if isinstance(each, tuple)]
    if not outcomes and not problems:
        return None
    problem = problems[0] if problems else _obstacle(source, reference, outcomes, len(set(found)))
    if problem is None:
        return outcomes.pop()
    uses.stuck.update(bindings)
    uses.remarks.append(Remark(source.line(reference.nodes[0]), *problem))
    return None


def _obstacle(source: Source, reference: Reference, outcomes: set[_Outcome], count: int) -> _Problem | None:
    outcome = next(iter(outcomes))
    name = reference.nodes[0].value
    if reference.is_shadowed or count > 1:
        return f"{name} may be more than one thing here", f"write {outcome.text} where it is that"
    node = reference.nodes[outcome.length]
    if node in source.stored:
        return f"{source.code(node)} is given another value", f"write {outcome.text}, or a name of your own"
    first = outcome.text.partition(".")[0]
    if outcome.module is not None and not all(
        binding is not None and (binding.origin == first or _is_root(binding.origin))
        for binding in source.bindings_of(reference.scope, first)
    ):
        return f"{first} is another thing here", f"import what {outcome.text} is under another name"
    return None


def _outcome(reference: Reference, binding: Binding) -> _Outcome | _Problem | None:
    """Return what stands for a use today, or what is wrong with it; ``None``: nothing has to be done."""
    for length in range(len(reference.nodes)):
        name = reference.full_name(binding, length)
        found = place(name)
        if found is None:
            continue
        if old_name(name) is not None:  # without attributes, the import changes its module
            return _replaced(reference, binding, length, name) if length else None
        if found.is_gone_module:
            if length == len(reference.attributes):
                return why_none(name)
            return _replaced(reference, binding, length + 1, f"{name}.{reference.attributes[length]}")
        if not length:
            continue
        if found.rest.startswith("utils.") and today(name) is None:
            return why_none(name)
        if found.is_moved and not found.rest and length < len(reference.attributes):
            last = reference.attributes[length]
            if last in keras3.MODULES or last[0].isupper():
                return _Outcome(length, "keras", "keras")
            # What is known to be gone has its own remark.
            return None if hint_for(f"keras.{last}") else why_none(f"{name}.{last}")
    return None


def _replaced(reference: Reference, binding: Binding, length: int, name: str) -> _Outcome | _Problem:
    new = today(name)
    if new is None:
        return why_none(name)
    if new.startswith(f"{binding.origin}."):  # keras.utils.layer_utils.get_source_inputs
        return _Outcome(length, dotted(binding.name, new.removeprefix(f"{binding.origin}.")), None)
    module = new.rpartition(".")[0]
    return _Outcome(length, new, module if module.startswith("befit") else new.partition(".")[0])


def _is_root(name: str) -> bool:
    found = place(name)
    return found is not None and not found.rest


def _bound_already(module: str, reference: Reference, source: Source) -> list[Binding]:
    """Return the imports that bind what ``import module`` would, seen from a reference."""
    first = module.partition(".")[0]
    bound = [binding for binding in source.bindings_of(reference.scope, first) if binding is not None]
    if module == "keras":
        return [binding for binding in bound if _is_root(binding.origin)]
    return [binding for binding in bound if binding.imported == module]
