"""What becomes of the imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import libcst as cst

from befit.migrate import keras3
from befit.migrate.migration import Remark
from befit.migrate.source import Binding, ImportStatement, Source, chain, dotted_name
from befit.migrate.table import old_name, place, today, why_none
from befit.migrate.uses import Uses, is_known

Small = cst.BaseSmallStatement


@dataclass
class Imports:
    """The statements to replace, and what to import beside."""

    statements: dict[ImportStatement, list[Small]] = field(default_factory=dict)
    """The imports that change, and what stands for them; nothing, for those that are not needed any more."""
    at_top: list[str] = field(default_factory=list)
    """Modules to import at the end of the imports that the file begins with."""
    after: dict[ImportStatement, list[Small]] = field(default_factory=dict)
    """What to add behind imports inside of functions."""
    remarks: list[Remark] = field(default_factory=list)


@dataclass
class _Part:
    """Names that are imported from the same place."""

    module: str
    aliases: list[cst.ImportAlias] = field(default_factory=list)


def plan_imports(source: Source, uses: Uses) -> Imports:
    """Decide about every import, given what becomes of the uses."""
    imports = Imports()
    is_dropped: set[Binding] = set()
    for statement in source.imports:
        bindings = [binding for binding in source.bindings if binding.statement is statement]
        if isinstance(statement.names, cst.ImportStar):
            new = _star(source, uses, statement, bindings[0], imports.remarks)
            is_dropped.update(bindings if new is not None else ())
        elif isinstance(statement, cst.Import):
            new = _import(source, uses, statement, bindings, is_dropped, imports.remarks)
        else:
            new = _import_from(source, uses, statement, bindings, is_dropped, imports.remarks)
        if new is not None:
            imports.statements[statement] = new
    _add_modules(source, uses, imports, is_dropped)
    return imports


def _is_needed(source: Source, uses: Uses, binding: Binding, *, is_gone: bool) -> bool:
    if uses.kept[binding] or binding.name in source.exported:
        return True
    return not uses.replaced[binding] and not is_gone


def _import(
    source: Source,
    uses: Uses,
    statement: cst.Import,
    bindings: Sequence[Binding],
    is_dropped: set[Binding],
    remarks: list[Remark],
) -> list[Small] | None:
    aliases: list[cst.ImportAlias] = []
    for binding in bindings:
        assert binding.alias is not None
        found = place(binding.imported)
        is_gone = found is not None and found.is_gone_module
        if not _is_needed(source, uses, binding, is_gone=is_gone):
            is_dropped.add(binding)
        elif found is None or binding in uses.stuck or not (is_gone or found.is_moved):
            aliases.append(binding.alias)
        elif binding.alias.asname is not None:
            if found.is_in_keras3:
                is_plain = binding.name == found.today
                asname = None if is_plain else binding.alias.asname
                aliases.append(binding.alias.with_changes(name=chain(found.today), asname=asname))
            else:
                aliases.append(binding.alias)
                remarks.append(Remark(source.line(statement), *why_none(binding.imported)))
        elif binding.name == "keras" and _is_imported_otherwise(source, binding):
            is_dropped.add(binding)
        else:
            root = "keras" if found.is_moved else found.root
            new = cst.ImportAlias(chain(root))
            if (
                found.is_moved
                and binding.name != "keras"
                and binding.name == binding.imported.partition(".")[0]
            ):
                new = cst.ImportAlias(chain(root), _as(binding.name))
            aliases.append(new)
    if _same(aliases, statement.names):
        return None
    return [statement.with_changes(names=_closed(aliases))] if aliases else []


def _is_imported_otherwise(source: Source, binding: Binding) -> bool:
    """Return whether the same name is imported in the same scope, and not by way of a module that is gone."""
    return any(
        each.scope is binding.scope
        and each.name == each.origin == binding.name
        and each.imported in ("keras", "keras.utils")
        for each in source.bindings
    )


def _import_from(
    source: Source,
    uses: Uses,
    statement: cst.ImportFrom,
    bindings: Sequence[Binding],
    is_dropped: set[Binding],
    remarks: list[Remark],
) -> list[Small] | None:
    module = "" if statement.module is None or statement.relative else dotted_name(statement.module)
    parts: dict[str, _Part] = {}
    for binding in bindings:
        alias = binding.alias
        assert alias is not None
        found = place(binding.imported)
        if found is None:
            parts.setdefault(module, _Part(module)).aliases.append(alias)
            continue
        if found.is_gone_module or found.rest in keras3.MODULES or not found.rest:
            if not _is_needed(source, uses, binding, is_gone=found.is_gone_module):
                is_dropped.add(binding)
                continue
            new = binding.imported if found.is_gone_module else found.today
            if found.is_gone_module and binding not in uses.stuck:
                remarks.append(Remark(source.line(statement), *why_none(binding.imported)))
        else:
            known = today(binding.imported)
            if known is None:
                remarks.append(Remark(source.line(alias), *why_none(binding.imported)))
            new = known or binding.imported
        target, _, name = new.rpartition(".")
        part = parts.setdefault(target, _Part(target))
        part.aliases.append(alias if new == binding.imported else _renamed(alias, name, binding.name))
    new_parts = list(parts.values())
    if len(new_parts) == 1 and new_parts[0].module == module and _same(new_parts[0].aliases, statement.names):
        return None
    return list(_statements(statement, module, new_parts))


def _statements(statement: cst.ImportFrom, module: str, parts: Sequence[_Part]) -> Iterator[Small]:
    for part in parts:
        if not part.module:  # from tensorflow.python import keras
            yield cst.Import([alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in part.aliases])
        elif part.module == module or len(parts) == 1:
            is_open = statement.lpar is None
            aliases = _closed(part.aliases) if is_open else part.aliases
            kept: Small = statement.with_changes(names=aliases)
            yield kept if part.module == module else kept.with_changes(module=chain(part.module))
        else:
            aliases = [alias.with_changes(comma=cst.MaybeSentinel.DEFAULT) for alias in part.aliases]
            yield cst.ImportFrom(chain(part.module), aliases)


def _star(
    source: Source, uses: Uses, statement: ImportStatement, binding: Binding, remarks: list[Remark]
) -> list[Small] | None:
    found = place(binding.origin)
    if found is None or not isinstance(statement, cst.ImportFrom):
        return None
    if found.rest != "utils" and not found.is_gone_module:
        return (
            [statement.with_changes(module=chain(found.today))]
            if found.is_moved and found.is_in_keras3
            else None
        )
    used: dict[str, Binding] = {}
    for reference in source.references:
        for each in reference.bindings:
            if each.statement is statement and is_known(each):
                used.setdefault(each.name, each)
    if not used and (found.is_gone_module or found.is_moved):
        remarks.append(
            Remark(
                source.line(statement), f"nothing in this file shows what {binding.origin} is for", "name it"
            )
        )
    rows = {name: each for name, each in used.items() if old_name(each.origin) or _is_gone(each.origin)}
    if not used or not (rows or found.is_gone_module or found.is_moved):
        return None
    parts: dict[str, _Part] = {}
    for each in used.values():
        if _is_gone(each.origin):
            continue  # its uses were replaced, or remarked
        new = today(each.origin)
        assert new is not None  # else the name would not be known
        target, _, name = new.rpartition(".")
        part = parts.setdefault(target, _Part(target))
        part.aliases.append(_renamed(cst.ImportAlias(cst.Name(each.name)), name, each.name))
    return [cst.ImportFrom(chain(part.module), part.aliases) for part in parts.values()]


def _is_gone(name: str) -> bool:
    found = place(name)
    return found is not None and found.is_gone_module


def _add_modules(source: Source, uses: Uses, imports: Imports, is_dropped: set[Binding]) -> None:
    """Import the modules of the replacements: where an import is not needed any more, or at the top."""
    top = source.scopes[source.module]
    there: set[tuple[object, str]] = set()
    beside: set[tuple[ImportStatement, str]] = set()
    for binding in sorted(uses.modules, key=lambda each: source.position(each.statement)):
        modules = uses.modules[binding]
        scope = source.scopes[binding.statement]
        is_star = binding.alias is None
        missing = [
            module
            for module in modules
            if not {(scope, module), (top, module)} & there and (binding.statement, module) not in beside
        ]
        beside |= {(binding.statement, module) for module in missing}
        is_at_top = source.is_at_top_level(binding.statement)
        if is_star or binding in is_dropped:
            imports.statements.setdefault(binding.statement, []).extend(map(import_of, missing))
            there |= {(scope, module) for module in missing if is_at_top}
        elif scope is top:
            imports.at_top.extend(missing)
            there |= {(scope, module) for module in missing}
        else:
            imports.after.setdefault(binding.statement, []).extend(map(import_of, missing))


def import_of(module: str) -> Small:
    """Return the statement that imports a module."""
    return cst.Import([cst.ImportAlias(chain(module))])


def _as(name: str) -> cst.AsName:
    return cst.AsName(cst.Name(name))


def _renamed(alias: cst.ImportAlias, name: str, bound: str) -> cst.ImportAlias:
    """Import ``name`` instead, bound as before."""
    asname = alias.asname or (None if name == bound else _as(bound))
    return alias.with_changes(name=cst.Name(name), asname=asname)


def _closed(aliases: Sequence[cst.ImportAlias]) -> list[cst.ImportAlias]:
    """Return the aliases without a comma behind the last one."""
    return [*aliases[:-1], aliases[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)]


def _same(aliases: Sequence[cst.ImportAlias], before: Sequence[cst.ImportAlias] | cst.ImportStar) -> bool:
    return not isinstance(before, cst.ImportStar) and list(aliases) == list(before)
