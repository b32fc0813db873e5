"""A parsed script, and what its names stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import (
    BaseAssignment,
    BuiltinAssignment,
    ExpressionContext,
    ExpressionContextProvider,
    ImportAssignment,
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    Scope,
    ScopeProvider,
)

from befit.migrate.table import dotted

Chain = cst.Name | cst.Attribute
ImportStatement = cst.Import | cst.ImportFrom


@dataclass(frozen=True, eq=False)
class Binding:
    """One name that an import binds."""

    name: str
    origin: str
    """The dotted name that the name stands for."""
    imported: str
    """The dotted name that is imported; another one than ``origin`` for ``import a.b``."""
    scope: Scope
    alias: cst.ImportAlias | None
    """``None``: ``from module import *``."""
    statement: ImportStatement


@dataclass(frozen=True, eq=False)
class Reference:
    """A use of names that imports bind: ``keras.utils.to_categorical``."""

    nodes: tuple[Chain, ...]
    """The first name, and the chain up to each further attribute."""
    attributes: tuple[str, ...]
    bindings: tuple[Binding, ...]
    scope: Scope
    is_shadowed: bool
    """Something else than imports gives the first name a value, too."""

    def full_name(self, binding: Binding, length: int) -> str:
        """Return what the name with ``length`` attributes stands for."""
        return dotted(binding.origin, *self.attributes[:length])


class Source:
    """A module with its metadata. Nodes are those of ``self.module``, which is a copy of the one given."""

    def __init__(self, module: cst.Module) -> None:
        wrapper = MetadataWrapper(module)
        self.module = wrapper.module
        self.scopes = wrapper.resolve(ScopeProvider)
        self.parents = wrapper.resolve(ParentNodeProvider)
        self._positions = wrapper.resolve(PositionProvider)
        contexts = wrapper.resolve(ExpressionContextProvider)
        nodes = list(walk(self.module))
        self.calls = [node for node in nodes if isinstance(node, cst.Call)]
        self.attributes = [node for node in nodes if isinstance(node, cst.Attribute)]
        self.strings = [node for node in nodes if isinstance(node, cst.SimpleString)]
        self.imports = [node for node in nodes if isinstance(node, (cst.Import, cst.ImportFrom))]
        self.exported = _exported(self.module)
        """The names in ``__all__``."""
        self.bindings = [binding for node in self.imports for binding in self._bound_by(node)]
        self._by_alias: dict[tuple[ImportStatement, str], list[Binding]] = {}
        self._star_names: dict[tuple[Binding, str], Binding] = {}
        self.stars = [binding for binding in self.bindings if binding.alias is None]
        for binding in self.bindings:
            self._by_alias.setdefault((binding.statement, binding.name), []).append(binding)
        in_imports = {name for statement in self.imports for name in walk(statement)}
        names = [
            node
            for node in nodes
            if isinstance(node, cst.Name) and node in contexts and node not in in_imports
        ]
        loaded = [name for name in names if contexts[name] is not ExpressionContext.STORE]
        self.stored_names = {name.value for name in names if contexts[name] is ExpressionContext.STORE}
        """The names that get a value anywhere, in any scope, otherwise than by an import."""
        self.stored = {
            target
            for target in self.attributes
            if contexts.get(target) in (ExpressionContext.STORE, ExpressionContext.DEL)
        }
        """The attributes that are given a value, or deleted."""
        self.references = [found for name in loaded if (found := self._reference(name)) is not None]
        self._by_node = {
            node: (reference, length)
            for reference in self.references
            for length, node in enumerate(reference.nodes)
        }

    def line(self, node: cst.CSTNode) -> int:
        """Return the line where ``node`` begins, from 1."""
        return self.position(node)[0]

    def position(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return line and column where ``node`` begins."""
        start = self._positions[node].start
        return start.line, start.column

    def names_of(self, expression: cst.BaseExpression) -> frozenset[str]:
        """Return the dotted names that an expression may stand for: what is imported, and builtins."""
        found = self._by_node.get(expression)  # type: ignore[call-overload]
        if found is not None:
            reference, length = found
            if reference.is_shadowed:
                return frozenset()
            return frozenset(reference.full_name(binding, length) for binding in reference.bindings)
        if isinstance(expression, cst.Name):
            assignments = self.assignments(expression)
            if assignments and all(isinstance(each, BuiltinAssignment) for each in assignments):
                return frozenset({f"builtins.{expression.value}"})
        return frozenset()

    def assignments(self, name: cst.Name) -> set[BaseAssignment]:
        """Return what gives the name its value, seen from where it is used."""
        scope = self.scopes.get(name)
        return set() if scope is None else set(scope[name.value])

    def bindings_of(self, scope: Scope, name: str) -> list[Binding | None]:
        """Return the imports that bind a name, seen from ``scope``; ``None`` for what is no import."""
        found: list[Binding | None] = []
        for each in scope[name]:
            if isinstance(each, ImportAssignment) and isinstance(each.node, (cst.Import, cst.ImportFrom)):
                found.extend(self._by_alias.get((each.node, name), ()))
            else:
                found.append(None)
        return list(dict.fromkeys(found))

    def around(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """Yield the nodes that ``node`` is in, from inside out."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent

    def is_at_top_level(self, statement: cst.CSTNode) -> bool:
        """Return whether a statement is in no other one, as an ``if`` or a function."""
        return self.parents.get(self.parents[statement]) is self.module

    def is_called(self, chain: cst.CSTNode) -> bool:
        """Return whether ``chain`` is what a call calls."""
        parent = self.parents.get(chain)
        return isinstance(parent, cst.Call) and parent.func is chain

    def code(self, node: cst.CSTNode) -> str:
        """Return the source of ``node``."""
        return self.module.code_for_node(node)

    def _bound_by(self, node: ImportStatement) -> Iterator[Binding]:
        module = ""
        scope = self.scopes[node]
        assert scope is not None  # every import binds names somewhere
        if isinstance(node, cst.ImportFrom):
            module = "." * len(node.relative) + (dotted_name(node.module) if node.module else "")
        if isinstance(node.names, cst.ImportStar):
            yield Binding("*", module, module, scope, None, node)
            return
        for alias in node.names:
            imported = dotted_name(alias.name)
            if isinstance(node, cst.ImportFrom):
                origin = f"{module}.{imported}"
                yield Binding(alias.evaluated_alias or imported, origin, origin, scope, alias, node)
            elif alias.evaluated_alias is not None:
                yield Binding(alias.evaluated_alias, imported, imported, scope, alias, node)
            else:
                first = imported.partition(".")[0]
                yield Binding(first, first, imported, scope, alias, node)

    def _reference(self, name: cst.Name) -> Reference | None:
        scope = self.scopes.get(name)
        parent = self.parents.get(name)
        if scope is None:
            return None
        bound = self.bindings_of(scope, name.value)
        bindings = tuple(binding for binding in bound if binding is not None)
        if not bound:
            bindings = tuple(self._star_binding(star, name.value) for star in self.stars)
        if not bindings:
            return None
        nodes: list[Chain] = [name]
        while isinstance(parent, cst.Attribute) and parent.value is nodes[-1]:
            nodes.append(parent)
            parent = self.parents.get(parent)
        attributes = tuple(node.attr.value for node in nodes if isinstance(node, cst.Attribute))
        return Reference(tuple(nodes), attributes, bindings, scope, None in bound)

    def _star_binding(self, star: Binding, name: str) -> Binding:
        origin = f"{star.origin}.{name}"
        new = Binding(name, origin, star.origin, star.scope, None, star.statement)
        return self._star_names.setdefault((star, name), new)


def walk(node: cst.CSTNode, *, but: tuple[type[cst.CSTNode], ...] = ()) -> Iterator[cst.CSTNode]:
    """Yield a node and all nodes in it, in their order, except for those in nodes of the types ``but``."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, but):
            waiting.extend(reversed(node.children))


def _exported(module: cst.Module) -> frozenset[str]:
    found: set[str] = set()
    for line in module.body:
        if not isinstance(line, cst.SimpleStatementLine):
            continue
        for statement in line.body:
            if (
                isinstance(statement, cst.Assign)
                and any(
                    isinstance(t.target, cst.Name) and t.target.value == "__all__" for t in statement.targets
                )
                and isinstance(statement.value, (cst.List, cst.Tuple))
            ):
                strings = (element.value for element in statement.value.elements)
                found |= {str(each.evaluated_value) for each in strings if isinstance(each, cst.SimpleString)}
    return frozenset(found)


def dotted_name(node: cst.BaseExpression) -> str:
    """Return the text of a chain of names and attributes; empty: it is something else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        before = dotted_name(node.value)
        return f"{before}.{node.attr.value}" if before else ""
    return ""


def chain(name: str) -> Chain:
    """Return the node of a dotted name."""
    node: Chain = cst.Name(name.partition(".")[0])
    for part in name.split(".")[1:]:
        node = cst.Attribute(node, cst.Name(part))
    return node
