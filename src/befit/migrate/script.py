"""A script is read, decided about, and written anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import libcst as cst

from befit.migrate.aliases import alias_remarks
from befit.migrate.arguments import plan_arguments
from befit.migrate.calls import NewCall
from befit.migrate.gone import hints
from befit.migrate.imports import Imports, import_of, plan_imports
from befit.migrate.methods import plan_methods
from befit.migrate.migration import Migration, Remark
from befit.migrate.names_needed import NamesNeeded
from befit.migrate.source import Source, chain
from befit.migrate.uses import Uses, plan_uses


def migrate_module(module: cst.Module) -> Migration:
    """Return what becomes of a script."""
    source = Source(module)
    remarks: list[Remark] = []
    names = NamesNeeded(source)
    calls = {**plan_arguments(source, remarks), **plan_methods(source, names, remarks)}
    uses = plan_uses(source)
    imports = plan_imports(source, uses)
    at_top = [*map(import_of, imports.at_top), *names.statements()]
    remarks += [*uses.remarks, *imports.remarks, *hints(source), *alias_remarks(source)]
    rewritten = source.module.visit(_Rewriter(uses, imports, calls))
    rewritten = rewritten.with_changes(body=_with_imports(rewritten.body, at_top))
    return Migration(rewritten.code, tuple(sorted(set(remarks))))


class _Rewriter(cst.CSTTransformer):
    def __init__(self, uses: Uses, imports: Imports, calls: Mapping[cst.Call, NewCall]) -> None:
        self._uses = uses
        self._imports = imports
        self._calls = calls
        self._left_out: set[cst.CSTNode] = set()
        """What stands for imports that are not needed any more, until their lines are left out."""

    def on_leave(self, original_node: cst.CSTNodeT, updated_node: cst.CSTNodeT) -> Any:
        """Return what stands for a node; everything in it has been rewritten already."""
        updated: Any = updated_node
        match original_node:
            case cst.Attribute() if original_node in self._uses.names:
                name = chain(self._uses.names[original_node])
                return name.with_changes(lpar=updated.lpar, rpar=updated.rpar)
            case cst.Call() if original_node in self._calls:
                return self._calls[original_node].rebuild(updated)
            case cst.Import() | cst.ImportFrom():
                return self._import(original_node, updated)
            case cst.SimpleStatementLine() if len(original_node.body) == 1 < len(updated.body):
                return _lines(updated)
            case cst.SimpleStatementLine() if len(updated.body) > 1 and self._left_out & set(updated.body):
                return updated.with_changes(
                    body=[each for each in updated.body if each not in self._left_out]
                )
            case cst.IndentedBlock() | cst.Module():
                return self._without_left_out(updated)
        return updated

    def _import(
        self, before: cst.Import | cst.ImportFrom, updated: cst.Import | cst.ImportFrom
    ) -> cst.BaseSmallStatement | cst.FlattenSentinel[cst.BaseSmallStatement]:
        new = self._imports.statements.get(before)
        after = self._imports.after.get(before, [])
        if new is None and not after:
            return updated
        statements = [*([updated] if new is None else new), *after]
        if statements:
            return cst.FlattenSentinel(statements)
        left_out = cst.Pass()
        self._left_out.add(left_out)
        return left_out

    def _without_left_out(self, block: cst.IndentedBlock | cst.Module) -> cst.IndentedBlock | cst.Module:
        """Leave out the lines of imports that are not needed; their comments go to the next line."""
        body: Sequence[cst.BaseStatement] = block.body
        kept: list[cst.BaseStatement] = []
        comments: list[cst.EmptyLine] = []
        for each in body:
            if isinstance(each, cst.SimpleStatementLine) and each.body[0] in self._left_out:
                comments += [line for line in each.leading_lines if line.comment is not None]
                if each.trailing_whitespace.comment is not None:
                    comments.append(cst.EmptyLine(comment=each.trailing_whitespace.comment))
                continue
            if comments and isinstance(each, (cst.SimpleStatementLine, cst.BaseCompoundStatement)):
                kept.append(each.with_changes(leading_lines=[*comments, *each.leading_lines]))
                comments = []
            else:
                kept.append(each)
        if len(kept) == len(body):
            return block
        return block.with_changes(body=kept, footer=[*comments, *block.footer])


def _lines(line: cst.SimpleStatementLine) -> cst.FlattenSentinel[cst.SimpleStatementLine]:
    """Give each statement a line of its own."""
    first, *others = (each.with_changes(semicolon=cst.MaybeSentinel.DEFAULT) for each in line.body)
    return cst.FlattenSentinel(
        [line.with_changes(body=[first]), *(cst.SimpleStatementLine([each]) for each in others)]
    )


def _with_imports(
    body: Sequence[cst.BaseStatement], statements: Sequence[cst.BaseSmallStatement]
) -> list[cst.BaseStatement]:
    """Add statements behind the imports that a module begins with."""
    if not statements:
        return list(body)
    position = 0
    for index, statement in enumerate(body):
        is_docstring = index == 0 and _is(statement, cst.Expr)
        if not (is_docstring or _is(statement, (cst.Import, cst.ImportFrom))):
            break
        position = index + 1
    lines: list[cst.BaseStatement] = [cst.SimpleStatementLine([statement]) for statement in statements]
    if position and _is(body[position - 1], cst.Expr):
        lines[0] = lines[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    return [*body[:position], *lines, *body[position:]]


def _is(statement: cst.BaseStatement, kinds: type[cst.CSTNode] | tuple[type[cst.CSTNode], ...]) -> bool:
    """Return whether a line holds nothing but such statements."""
    return isinstance(statement, cst.SimpleStatementLine) and all(
        isinstance(each, kinds) for each in statement.body
    )
