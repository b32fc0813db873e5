"""How a call is put together again from its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import libcst as cst

from befit.migrate.source import chain

Arguments = Sequence[cst.Arg]
Build = Callable[[Arguments], cst.BaseExpression]
"""Makes an expression, given the arguments of the call after everything in them has been rewritten."""

_TIGHT = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
_ATOMS = (cst.Name, cst.Integer, cst.Call, cst.Attribute, cst.Subscript)


@dataclass(frozen=True)
class NewArgument:
    """An argument that stays, as another one perhaps."""

    index: int
    """Its position before, which also gives the space around it."""
    keyword: str | None
    build: Build


@dataclass(frozen=True)
class NewCall:
    """What becomes of a call."""

    method: str | None
    """Another name for the method that is called."""
    arguments: tuple[NewArgument, ...]

    def rebuild(self, call: cst.Call) -> cst.Call:
        """Return ``call``, whose parts have been rewritten, with the new arguments."""
        kept = [self._argument(call.args, each) for each in self.arguments]
        if kept and kept[-1].comma is not call.args[-1].comma:
            last = call.args[-1]
            kept[-1] = kept[-1].with_changes(comma=last.comma, whitespace_after_arg=last.whitespace_after_arg)
        func = call.func
        if self.method is not None and isinstance(func, cst.Attribute):
            func = func.with_changes(attr=func.attr.with_changes(value=self.method))
        return call.with_changes(func=func, args=kept)

    @staticmethod
    def _argument(before: Arguments, new: NewArgument) -> cst.Arg:
        argument = before[new.index]
        value = new.build(before)
        if new.keyword is None:
            return argument.with_changes(value=value, keyword=None, equal=cst.MaybeSentinel.DEFAULT)
        if argument.keyword is None:
            return argument.with_changes(value=value, keyword=cst.Name(new.keyword), equal=_TIGHT)
        return argument.with_changes(value=value, keyword=argument.keyword.with_changes(value=new.keyword))


def original(index: int) -> Build:
    """Return the value of the argument at a position."""
    return lambda arguments: arguments[index].value


def code(text: str) -> Build:
    """Return an expression given as source."""
    return lambda arguments: cst.parse_expression(text)


def call(function: str, *values: Build, **options: Build) -> Build:
    """Return a call with positional and keyword arguments."""

    def build(arguments: Arguments) -> cst.BaseExpression:
        new = [cst.Arg(_inside(value(arguments))) for value in values]
        new += [
            cst.Arg(value(arguments), keyword=cst.Name(name), equal=_TIGHT) for name, value in options.items()
        ]
        return cst.Call(chain(function), new)

    return build


def rounded_up(samples: Build, rows: Build) -> Build:
    """Return how many batches of ``rows`` hold so many samples."""

    def build(arguments: Arguments) -> cst.BaseExpression:
        number, size = samples(arguments), rows(arguments)
        if isinstance(number, cst.Integer) and isinstance(size, cst.Integer) and size.evaluated_value:
            return cst.Integer(str(-(-number.evaluated_value // size.evaluated_value)))
        quotient = cst.BinaryOperation(_minus(number), cst.FloorDivide(), _atom(size))
        return _minus(_parenthesized(quotient))

    return build


def _minus(node: cst.BaseExpression) -> cst.BaseExpression:
    return cst.UnaryOperation(cst.Minus(), _atom(node))


def _atom(node: cst.BaseExpression) -> cst.BaseExpression:
    return node if isinstance(node, _ATOMS) or node.lpar else _parenthesized(node)


def _parenthesized(node: cst.BaseExpression) -> cst.BaseExpression:
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _inside(node: cst.BaseExpression) -> cst.BaseExpression:
    """Return an expression that may be one of several arguments."""
    return _parenthesized(node) if isinstance(node, cst.GeneratorExp) and not node.lpar else node
