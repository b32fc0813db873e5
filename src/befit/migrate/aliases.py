"""Old names that a script gives another name, under which its uses are not seen."""

from __future__ import annotations

import re

import libcst as cst

from befit.legacy.names import NAMES
from befit.migrate.arguments import STILL_TAKEN
from befit.migrate.migration import Remark
from befit.migrate.source import Source
from befit.migrate.table import old_name, place
from befit.migrate.uses import is_known

_OLD = "|".join(sorted({row.name for row in NAMES}))
_USED = {"": rf"\.utils\.(?:\w+\.)?(?:{_OLD})\b", "utils": rf"\.(?:\w+\.)?(?:{_OLD})\b"}
"""How a module that has another name is used, by its place below a root."""


def alias_remarks(source: Source) -> list[Remark]:
    """Return what to do about modules and functions that are used under names of the script's own."""
    remarks = []
    for reference in source.references:
        node = reference.nodes[-1]
        parent = source.parents[node]
        for binding in filter(is_known, reference.bindings):
            name = reference.full_name(binding, len(reference.attributes))
            found = place(name)
            if found is None:
                continue
            if found.rest in _USED and isinstance(parent, cst.Assign):
                alias = source.code(parent.targets[0].target)
                if re.search(rf"\b{re.escape(alias)}{_USED[found.rest]}", source.module.code):
                    remarks.append(_remark(source, node, f"{alias} is another name for {name}", f"{name}..."))
            row = old_name(name)
            is_called = isinstance(parent, cst.Call) and parent.func is node
            if row is None or is_called:
                continue
            for old in set(row.arguments) - STILL_TAKEN:
                if re.search(rf"\b{old}\s*=", source.module.code):
                    what = f"{name} is passed on, and {old}= is {row.arguments[old]}= today"
                    remarks.append(_remark(source, node, what, f"{row.arguments[old]}="))
    return remarks


def _remark(source: Source, node: cst.CSTNode, what: str, write: str) -> Remark:
    return Remark(source.line(node), what, f"write {write} where it is used")
