"""What becomes of ``fit_generator`` and its likes, and of arguments that ``fit`` has no longer."""

from __future__ import annotations

import libcst as cst

from befit.legacy.names import METHODS
from befit.migrate.calls import NewCall
from befit.migrate.flow import Flow
from befit.migrate.generator_fit import generator_call
from befit.migrate.kinds import Kinds
from befit.migrate.method_call import CannotRewriteError, MethodCall
from befit.migrate.migration import Remark
from befit.migrate.names_needed import NamesNeeded
from befit.migrate.plain_fit import plain_call
from befit.migrate.source import Source
from befit.migrate.table import place

_METHODS = {row.name: row for row in METHODS}


def plan_methods(source: Source, names: NamesNeeded, remarks: list[Remark]) -> dict[cst.Call, NewCall]:
    """Decide about every call of a method that is gone, or has lost arguments."""
    flow = Flow(source)
    kinds = Kinds(source, flow)
    # What is added by rewriting shows it, too: to migrate the result has to change nothing.
    uses_keras = any(
        place(binding.imported) or binding.imported.partition(".")[0] in ("tensorflow", "befit")
        for binding in source.bindings
    ) or any(_is_gone(attribute) for attribute in source.attributes)
    new: dict[cst.Call, NewCall] = {}
    for call in source.calls:
        func = call.func
        row = _METHODS.get(func.attr.value) if isinstance(func, cst.Attribute) else None
        if row is None or not isinstance(func, cst.Attribute):
            continue
        is_gone = row.gone is not None
        if not (is_gone or uses_keras) or _is_of_others(source, flow, func):
            continue
        try:
            with names.undone_by_errors():
                rebuilt = _plan(MethodCall(source, kinds, names, call, row))
        except CannotRewriteError as error:
            remarks.append(Remark(source.line(func.attr), error.what, error.instead))
            continue
        if rebuilt is not None:
            new[call] = rebuilt
    for attribute in source.attributes:
        if not _is_gone(attribute) or source.is_called(attribute) or attribute in source.stored:
            continue
        row = _METHODS[attribute.attr.value]
        remarks.append(
            Remark(source.line(attribute), f"{row.name} is used without being called", f"write {row.write}")
        )
    return new


def _plan(call: MethodCall) -> NewCall | None:
    return generator_call(call) if call.row.gone is not None else plain_call(call)


def _is_gone(attribute: cst.Attribute) -> bool:
    row = _METHODS.get(attribute.attr.value)
    return row is not None and row.gone is not None


def _is_of_others(source: Source, flow: Flow, func: cst.Attribute) -> bool:
    """Return whether the object is surely no Keras model, or has a method of its own by that name."""
    receiver = func.value
    owner = flow.class_of(receiver)
    if owner is not None:
        return flow.method(owner, func.attr.value) is not None
    for each in flow.definitions(receiver) or []:
        called = source.names_of(each.func) if isinstance(each, cst.Call) else frozenset()
        if called and not any(name.startswith(("befit.", "builtins.")) or place(name) for name in called):
            return True
    return False
