"""What Keras 3 does not have beside ``keras.utils``: hints of what to write, nothing is rewritten."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from befit.legacy.names import METHODS
from befit.migrate.migration import Remark
from befit.migrate.source import Reference, Source
from befit.migrate.table import hint_for, old_name, place

_KEYWORDS = {
    "optimizers.": {
        "lr": "learning_rate",
        "decay": "a schedule of keras.optimizers.schedules as learning_rate",
    },
    "layers.": {
        "init": "kernel_initializer",
        "border_mode": "padding",
        "nb_filter": "filters",
        "subsample": "strides",
        "dim_ordering": "data_format",
        "W_regularizer": "kernel_regularizer",
        "b_regularizer": "bias_regularizer",
    },
    "models.Model": {"input": "inputs", "output": "outputs"},
    "Model": {"input": "inputs", "output": "outputs"},
}
_METHODS = {
    "predict_classes": "write predict(...).argmax(axis=-1), or predict(...) > 0.5 for a single output",
}
_GONE_METHODS = {row.name: row for row in METHODS if row.gone is not None}


def hints(source: Source) -> Iterator[Remark]:
    """Yield what is known to be gone, with what to write."""
    uses_keras = any(place(binding.imported) for binding in source.bindings)
    for binding in source.bindings:
        hint, found = hint_for(binding.imported), place(binding.imported)
        if hint is not None and found is not None and not found.is_moved:
            yield Remark(source.line(binding.statement), f"{binding.imported} is gone", hint)
    for reference in source.references:
        yield from _used(source, reference)
    for call in source.calls:
        yield from _keywords(source, call)
        yield from _by_string(source, call)
        func = call.func
        if uses_keras and isinstance(func, cst.Attribute) and func.attr.value in _METHODS:
            name = func.attr.value
            yield Remark(source.line(func.attr), f"Keras 3 has no {name}", _METHODS[name])
    for string in source.strings:
        name = str(string.evaluated_value)
        row, found = old_name(name), place(name)
        if row is not None and found is not None and row.gone is not None:
            yield Remark(
                source.line(string), f"the string {string.value} names what is gone", f"write {row.today}"
            )
        elif found is not None and found.is_gone_module:
            yield Remark(
                source.line(string), f"the string {string.value} names what is gone", "import it from befit"
            )


def _used(source: Source, reference: Reference) -> Iterator[Remark]:
    """Yield a hint where a chain of attributes leads to something gone, unless its import has one already."""
    for binding in reference.bindings:
        if hint_for(binding.imported) is not None:
            continue
        for length in range(1, len(reference.nodes)):
            name = reference.full_name(binding, length)
            hint = hint_for(name)
            if hint is not None:
                yield Remark(source.line(reference.nodes[0]), f"{name} is gone", hint)
                break


def _keywords(source: Source, call: cst.Call) -> Iterator[Remark]:
    for name in source.names_of(call.func):
        found = place(name)
        if found is None:
            continue
        for prefix, renamed in _KEYWORDS.items():
            if found.rest != prefix and not (prefix.endswith(".") and found.rest.startswith(prefix)):
                continue
            for argument in call.args:
                old = None if argument.keyword is None else argument.keyword.value
                if old in renamed:
                    what = f"{found.rest.rpartition('.')[2]} has no {old}= in Keras 3"
                    yield Remark(source.line(argument), what, f"write {renamed[old]}")


def _by_string(source: Source, call: cst.Call) -> Iterator[Remark]:
    """Yield a hint where an attribute that is gone is asked for by a string."""
    asks = {"builtins.getattr", "builtins.hasattr", "builtins.setattr", "builtins.delattr"}
    if not asks & source.names_of(call.func) or len(call.args) < 2:
        return
    name = call.args[1].value
    if not isinstance(name, cst.SimpleString):
        return
    text = str(name.evaluated_value)
    row = _GONE_METHODS.get(text)
    if row is not None:
        yield Remark(source.line(call), f"{row.name} is asked for by a string", f"write {row.write}")
    for owner in source.names_of(call.args[0].value):
        found = old_name(f"{owner}.{text}")
        if found is not None and place(owner) is not None and found.gone is not None:
            yield Remark(source.line(call), f"{text} is asked for by a string", f"write {found.write}")
