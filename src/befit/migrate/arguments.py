"""What becomes of the arguments of the old functions."""

from __future__ import annotations

import libcst as cst

from befit.migrate.calls import NewArgument, NewCall, original
from befit.migrate.migration import Remark
from befit.migrate.source import Source
from befit.migrate.table import old_name

_BY_POSITION = {
    "multi_gpu_model": (2, ("model", "gpus", "cpu_merge", "cpu_relocation")),
    "plot_model": (
        5,
        ("model", "to_file", "show_shapes", "show_layer_names", "rankdir", "expand_nested", "dpi"),
    ),
    "to_categorical": (2, ("y", "num_classes", "dtype")),
}
"""Where Keras 2 took more arguments by position than befit: how many befit takes, and the names of all."""
STILL_TAKEN = frozenset({"md5_hash"})
"""Old names of arguments that work as before."""


def plan_arguments(source: Source, remarks: list[Remark]) -> dict[cst.Call, NewCall]:
    """Decide about every call of an old function."""
    new: dict[cst.Call, NewCall] = {}
    for call in source.calls:
        rows = {row.name: row for name in source.names_of(call.func) if (row := old_name(name)) is not None}
        if len(rows) != 1:
            continue
        (row,) = rows.values()
        renamed = row.arguments
        taken, names = _BY_POSITION.get(row.name, (len(call.args), ()))
        if any(argument.star for argument in call.args):
            if set(renamed) - STILL_TAKEN:
                listed = ", ".join(f"{old} is {name} today" for old, name in renamed.items())
                remarks.append(Remark(source.line(call), f"{row.name} is called with * or **", listed))
            continue
        given = {argument.keyword.value for argument in call.args if argument.keyword is not None}
        keywords: list[str | None] = []
        for position, argument in enumerate(call.args):
            if argument.keyword is None:
                keywords.append(names[position] if taken <= position < len(names) else None)
            else:
                name = argument.keyword.value
                to = renamed.get(name, name)
                keywords.append(name if to in given else to)
        before = [None if argument.keyword is None else argument.keyword.value for argument in call.args]
        if keywords != before:
            new[call] = NewCall(
                None, tuple(NewArgument(index, name, original(index)) for index, name in enumerate(keywords))
            )
    return new
