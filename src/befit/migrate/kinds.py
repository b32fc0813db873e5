"""What the data of a model is, as far as the file says: a sequence, a generator, an array."""

from __future__ import annotations

import enum

import libcst as cst
from libcst.metadata import Scope

from befit.migrate.flow import Definition, Flow, own_statements, parameters
from befit.migrate.source import Source
from befit.migrate.table import old_name, place


class Kind(enum.Enum):
    """What an expression gives to ``fit``."""

    SEQUENCE = "a Sequence"
    GENERATOR = "a generator"
    ITERATOR = "an iterator that is no generator"
    HDF5 = "an HDF5Matrix"
    ARRAY = "an array, or a tuple or list of them"
    LOADED = "a Loader or a Stream"
    UNKNOWN = "not known"


READ_ONCE = (Kind.GENERATOR, Kind.ITERATOR)
_BUILTIN_ITERATORS = frozenset(
    f"builtins.{name}" for name in ("iter", "zip", "map", "filter", "enumerate", "reversed")
)
_PLAIN_DECORATORS = frozenset({"builtins.staticmethod", "builtins.classmethod"})
_LOADERS = frozenset(
    f"befit.{name}"
    for name in (
        "Loader",
        "loading.Loader",
        "loading.Stream",
        "loading.as_batches",
        "loading.device_prefetch",
    )
)
_SEQUENCES = frozenset({"befit.loading.Sequence", "befit.keras2.Sequence"})
_FROM_ARRAYS = frozenset({"befit.Sequence.from_arrays", "befit.loading.Sequence.from_arrays"})
_PYDATASETS = frozenset({"utils.PyDataset", "utils.Sequence"})
_CALLED = {"HDF5Matrix": Kind.HDF5, "to_categorical": Kind.ARRAY, "normalize": Kind.ARRAY}


class Kinds:
    """Answers for the expressions of one file."""

    def __init__(self, source: Source, flow: Flow) -> None:
        self._source = source
        self._flow = flow
        self._in_work: set[cst.CSTNode] = set()

    def kind(self, expression: cst.BaseExpression) -> Kind:
        """Return what an expression is; everything that it may be has to agree."""
        if expression in self._in_work:  # a function that calls itself
            return Kind.UNKNOWN
        self._in_work.add(expression)
        try:
            definitions = self._flow.definitions(expression)
            kinds = {self._of_definition(each) for each in definitions or ()}
        finally:
            self._in_work.discard(expression)
        return kinds.pop() if len(kinds) == 1 else Kind.UNKNOWN

    def batch_rows(self, expression: cst.BaseExpression) -> cst.BaseExpression | None:
        """Return what says how many rows the batches of a source have, if it may be written there."""
        definitions = self._flow.definitions(expression) or []
        only = definitions[0] if len(definitions) == 1 else None
        rows = self._batch_size(only) if isinstance(only, cst.Call) else None
        if isinstance(rows, cst.Integer):
            return rows
        if isinstance(rows, cst.Name) and self._means_the_same(rows, expression):
            return rows
        return None

    def h5py_dataset(
        self, expression: cst.BaseExpression
    ) -> tuple[cst.BaseExpression, cst.BaseExpression] | None:
        """Return path and name of a dataset of a file that h5py opened for reading."""
        definitions = self._flow.definitions(expression) or []
        only = definitions[0] if len(definitions) == 1 else None
        if not isinstance(only, cst.Subscript) or len(only.slice) != 1:
            return None
        index = only.slice[0].slice
        if not isinstance(index, cst.Index) or not isinstance(index.value, cst.SimpleString):
            return None
        path = self._h5py_path(only.value)
        if path is None or not (isinstance(path, cst.SimpleString) or self._means_the_same(path, expression)):
            return None
        return path, index.value

    def is_sequence(self, owner: cst.ClassDef) -> bool:
        """Return whether a class of this file derives from ``Sequence``."""
        names = (
            name
            for each in self._flow.lineage(owner)
            for base in each.bases
            for name in self._source.names_of(base.value)
        )
        return any(_is_sequence(name) for name in names)

    def _of_definition(self, node: Definition) -> Kind:
        if isinstance(node, cst.GeneratorExp):
            return Kind.GENERATOR
        if isinstance(node, (cst.Tuple, cst.List, cst.Dict)):
            kinds = {self.kind(element.value) for element in node.elements if hasattr(element, "value")}
            return Kind.HDF5 if kinds == {Kind.HDF5} else Kind.ARRAY
        if isinstance(node, cst.ListComp):
            return Kind.ARRAY
        if isinstance(node, cst.BinaryOperation):
            is_array = Kind.ARRAY in (self.kind(node.left), self.kind(node.right))
            return Kind.ARRAY if is_array else Kind.UNKNOWN
        if isinstance(node, cst.Subscript):
            return Kind.ARRAY if self.kind(node.value) in (Kind.ARRAY, Kind.HDF5) else Kind.UNKNOWN
        return self._of_call(node) if isinstance(node, cst.Call) else Kind.UNKNOWN

    def _of_call(self, call: cst.Call) -> Kind:
        functions = self._flow.functions(call)
        if functions is not None:
            kinds = {self._of_result(each) for each in functions}
            return kinds.pop() if len(kinds) == 1 else Kind.UNKNOWN
        kinds = {_of_name(name) for name in self._source.names_of(call.func)}
        if len(kinds) == 1:
            return kinds.pop()
        if isinstance(call.func, cst.Attribute) and self.kind(call.func.value) is Kind.ARRAY:
            return Kind.ARRAY  # x.astype("float32")
        return Kind.UNKNOWN

    def _of_result(self, node: cst.FunctionDef | cst.ClassDef) -> Kind:
        if isinstance(node, cst.ClassDef):
            if self.is_sequence(node):
                return Kind.SEQUENCE
            is_iterator = any(self._flow.method(node, name) for name in ("__next__", "next"))
            return Kind.ITERATOR if is_iterator else Kind.UNKNOWN
        returned, yields = own_statements(node)
        if yields:
            # A decorator may put an iterator around it; a Stream takes both.
            is_plain = all(
                bool(self._source.names_of(each.decorator) & _PLAIN_DECORATORS) for each in node.decorators
            )
            return Kind.GENERATOR if is_plain else Kind.ITERATOR
        kinds = {Kind.UNKNOWN if value is None else self.kind(value) for value in returned}
        return kinds.pop() if len(kinds) == 1 else Kind.UNKNOWN

    def _batch_size(self, call: cst.Call) -> cst.BaseExpression | None:
        for argument in call.args:
            if argument.keyword is not None and argument.keyword.value == "batch_size":
                return argument.value
        functions = self._flow.functions(call)
        if functions is None or len(functions) != 1 or any(argument.star for argument in call.args):
            return None
        called: cst.FunctionDef | cst.ClassDef | None = functions[0]
        is_method = isinstance(call.func, cst.Attribute)
        if isinstance(called, cst.ClassDef):
            called, is_method = self._flow.method(called, "__init__"), True
        if not isinstance(called, cst.FunctionDef):
            return None
        for position, parameter in enumerate(parameters(called)):
            if parameter.name.value == "batch_size":
                given = [argument.value for argument in call.args if argument.keyword is None]
                index = position - is_method
                return given[index] if index < len(given) else parameter.default
        return None

    def _h5py_path(self, file: cst.BaseExpression) -> cst.BaseExpression | None:
        definitions = self._flow.definitions(file) or []
        only = definitions[0] if len(definitions) == 1 else None
        if not isinstance(only, cst.Call) or "h5py.File" not in self._source.names_of(only.func):
            return None
        keywords = [None if each.keyword is None else each.keyword.value for each in only.args]
        if not only.args or any(each.star for each in only.args) or set(keywords) - {None, "mode"}:
            return None
        path, *modes = (each.value for each in only.args)
        reads = all(isinstance(mode, cst.SimpleString) and mode.evaluated_value == "r" for mode in modes)
        return path if reads and keywords[0] is None else None

    def _means_the_same(self, expression: cst.BaseExpression, there: cst.BaseExpression) -> bool:
        if not isinstance(expression, cst.Name):
            return False
        scope = self._source.scopes.get(there) or self._scope_around(there)
        here = self._source.assignments(expression)
        return len(here) == 1 and scope is not None and set(scope[expression.value]) == here

    def _scope_around(self, node: cst.CSTNode) -> Scope | None:
        return next(
            (
                scope
                for each in self._source.around(node)
                if (scope := self._source.scopes.get(each)) is not None
            ),
            None,
        )


def _of_name(name: str) -> Kind:
    if name in _LOADERS:
        return Kind.LOADED
    if name in _BUILTIN_ITERATORS or name.startswith("itertools."):
        return Kind.ITERATOR
    if name in _FROM_ARRAYS:
        return Kind.SEQUENCE
    if name.startswith("numpy."):
        return Kind.ARRAY
    row = old_name(name)
    return Kind.UNKNOWN if row is None else _CALLED.get(row.name, Kind.UNKNOWN)


def _is_sequence(name: str) -> bool:
    row, found = old_name(name), place(name)
    return (
        name in _SEQUENCES
        or (row is not None and row.name == "Sequence")
        or (found is not None and found.rest in _PYDATASETS)
    )
