"""Data flow in one file: the expressions that give a name its value where it is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst
from libcst.metadata import Assignment, BaseAssignment, BuiltinAssignment, ImportAssignment

from befit.migrate.source import Source, dotted_name, walk

Definition = cst.BaseExpression | cst.FunctionDef | cst.ClassDef
_LOOPS = (cst.For, cst.While)
_BLOCKS = (cst.IndentedBlock, cst.SimpleStatementSuite, cst.Module)
_DEEPEST = 12


class Flow:
    """Follows names, attributes of ``self``, and functions and classes that are defined in the file."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._attributes: dict[tuple[cst.ClassDef, str], list[cst.BaseExpression]] = {}
        for node in walk(source.module):
            if isinstance(node, cst.Assign):
                for target in node.targets:
                    self._note_attribute(target.target, node.value)

    def definitions(self, expression: cst.BaseExpression) -> list[Definition] | None:
        """Return everything that ``expression`` may be: calls and other expressions, functions, classes.

        ``None``: something among it is not known.
        """
        found: list[Definition] = []
        return found if self._collect(expression, found, 0) else None

    def functions(self, call: cst.Call) -> list[cst.FunctionDef | cst.ClassDef] | None:
        """Return the functions and classes of this file that a call may call; ``None``: or another one."""
        if isinstance(call.func, cst.Attribute):
            owner = self.class_of(call.func.value)
            method = None if owner is None else self.method(owner, call.func.attr.value)
            return None if method is None else [method]
        definitions = self.definitions(call.func)
        if not definitions:
            return None
        found: list[cst.FunctionDef | cst.ClassDef] = []
        for each in definitions:
            if isinstance(each, cst.Call):  # an instance is called
                owner = self.class_of(each)
                method = None if owner is None else self.method(owner, "__call__")
                if method is None:
                    return None
                found.append(method)
            elif isinstance(each, (cst.FunctionDef, cst.ClassDef)):
                found.append(each)
            else:
                return None
        return found

    def class_of(self, expression: cst.BaseExpression) -> cst.ClassDef | None:
        """Return the class of this file that ``expression`` is an instance of."""
        if isinstance(expression, cst.Name) and expression.value == "self":
            return self.class_around(expression)
        definitions = self.definitions(expression) or []
        classes = {self._class_called(each) for each in definitions}
        return classes.pop() if len(classes) == 1 else None

    def class_around(self, node: cst.CSTNode) -> cst.ClassDef | None:
        """Return the class in whose body ``node`` is."""
        return next((each for each in self._source.around(node) if isinstance(each, cst.ClassDef)), None)

    def bases(self, owner: cst.ClassDef) -> list[cst.ClassDef]:
        """Return the classes of this file that ``owner`` derives from, directly."""
        definitions = (self.definitions(base.value) or [] for base in owner.bases)
        return [each for found in definitions for each in found if isinstance(each, cst.ClassDef)]

    def method(self, owner: cst.ClassDef, name: str) -> cst.FunctionDef | None:
        """Return the method that instances of ``owner`` have, as far as this file says."""
        for each in self.lineage(owner):
            for statement in each.body.body:
                if isinstance(statement, cst.FunctionDef) and statement.name.value == name:
                    return statement
        return None

    def lineage(self, owner: cst.ClassDef) -> list[cst.ClassDef]:
        """Return ``owner`` and the classes of this file that it derives from, directly or not."""
        found = [owner]
        for each in found:
            found.extend(base for base in self.bases(each) if base not in found)
        return found

    def _class_called(self, node: Definition) -> cst.ClassDef | None:
        if not isinstance(node, cst.Call) or isinstance(node.func, cst.Attribute):
            return None
        definitions = self.definitions(node.func) or []
        only = definitions[0] if len(definitions) == 1 else None
        return only if isinstance(only, cst.ClassDef) else None

    def _collect(self, expression: cst.BaseExpression, found: list[Definition], depth: int) -> bool:
        if depth > _DEEPEST:
            return False
        if isinstance(expression, cst.IfExp):
            return all(self._collect(each, found, depth + 1) for each in (expression.body, expression.orelse))
        if isinstance(expression, cst.NamedExpr):
            return self._collect(expression.value, found, depth + 1)
        if isinstance(expression, cst.Attribute) and dotted_name(expression).startswith("self."):
            owner = self.class_around(expression)
            values = None if owner is None else self._attributes.get((owner, dotted_name(expression)))
            return bool(values) and all(self._collect(each, found, depth + 1) for each in values or ())
        if not isinstance(expression, cst.Name):
            found.append(expression)
            return True
        assignments = self._reaching(expression)
        if not assignments or any(isinstance(each, BuiltinAssignment) for each in assignments):
            found.append(expression)
            return bool(assignments)
        for each in assignments:
            if isinstance(each, ImportAssignment):
                found.append(expression)
                continue
            node = each.node if isinstance(each, Assignment) else None
            if isinstance(node, (cst.FunctionDef, cst.ClassDef)):
                found.append(node)
                continue
            value = None if node is None else self._value_given_to(node)
            if value is None or not self._collect(value, found, depth + 1):
                return False
        return True

    def _reaching(self, name: cst.Name) -> Sequence[BaseAssignment]:
        """Return the assignments whose value may be there where ``name`` is used.

        In the scope of the use, an assignment that always runs before it hides the ones before; the ones
        after it count only in a loop around both. From other scopes, all of them count.
        """
        source = self._source
        assignments = list(source.assignments(name))
        scope = source.scopes.get(name)
        if any(not isinstance(each, Assignment) or each.scope is not scope for each in assignments):
            return assignments
        around = set(source.around(name))
        loops = [node for node in around if isinstance(node, _LOOPS)]
        reaching: list[BaseAssignment] = []
        for each in sorted(assignments, key=lambda each: source.position(each.node)):  # type: ignore[attr-defined]
            node = each.node  # type: ignore[attr-defined]
            if source.position(node) >= source.position(name):
                if any(loop in source.around(node) for loop in loops):
                    reaching.append(each)
            elif self._block_of(node) in around:
                reaching = [each]
            else:
                reaching.append(each)
        return reaching

    def _block_of(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return next((each for each in self._source.around(node) if isinstance(each, _BLOCKS)), None)

    def _value_given_to(self, target: cst.CSTNode) -> cst.BaseExpression | None:
        parent = self._source.parents.get(target)
        if isinstance(parent, cst.AssignTarget):
            assign = self._source.parents.get(parent)
            return assign.value if isinstance(assign, cst.Assign) else None
        if isinstance(parent, (cst.AnnAssign, cst.NamedExpr)):
            return parent.value
        if isinstance(parent, cst.AsName):
            item = self._source.parents.get(parent)
            return item.item if isinstance(item, cst.WithItem) else None
        if isinstance(parent, cst.Element):
            return self._value_unpacked_to(parent)
        return None

    def _value_unpacked_to(self, element: cst.Element) -> cst.BaseExpression | None:
        targets = self._source.parents.get(element)
        if not isinstance(targets, (cst.Tuple, cst.List)):
            return None
        value = self._value_given_to(targets)
        if not isinstance(value, (cst.Tuple, cst.List)) or len(value.elements) != len(targets.elements):
            return None
        given = value.elements[targets.elements.index(element)]
        return given.value if isinstance(given, cst.Element) else None

    def _note_attribute(self, target: cst.BaseExpression, value: cst.BaseExpression) -> None:
        """Remember an assignment to an attribute of ``self``."""
        name = dotted_name(target)
        owner = self.class_around(target) if name.startswith("self.") else None
        if owner is not None:
            self._attributes.setdefault((owner, name), []).append(value)


def own_statements(function: cst.FunctionDef) -> tuple[list[cst.BaseExpression | None], bool]:
    """Return what a function returns, and whether it is a generator function."""
    nodes = list(walk(function.body, but=(cst.FunctionDef, cst.Lambda, cst.ClassDef)))
    returned = [node.value for node in nodes if isinstance(node, cst.Return)]
    return returned, any(isinstance(node, cst.Yield) for node in nodes)


def parameters(function: cst.FunctionDef) -> Iterator[cst.Param]:
    """Yield the parameters that may be given by position."""
    yield from function.params.posonly_params
    yield from function.params.params
