"""The second wall: text to a tree, by Python's parser and a whitelist of its nodes. Nothing is ever evaluated."""

import ast
from collections.abc import Collection

import numpy as np

from contract.errors import FormulaError
from contract.formula.functions import FUNCTIONS
from contract.formula.grammar import MAX_DEPTH, Binary, Call, Negative, Node, Number, Variable
from contract.formula.lexing import plain_line
from contract.formula.refusals import nearest, refused, too_deep

__all__ = ["parse"]

_BINARY: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_REFUSED: dict[type[ast.expr], tuple[str, str]] = {
    ast.BoolOp: ("`and` and `or`", "multiply comparisons for `and`, take their max for `or`"),
    ast.IfExp: ("`if … else`", "write where(condition, a, b)"),
    ast.Tuple: ("a comma outside a call", "write one expression"),
}


def parse(text: str, known: Collection[str] | None = None) -> Node:
    """Read a formula.

    Args:
        text: One expression, over as many lines as you like; ``#`` begins a comment.
        known: The names that it may read; None lets it read any.

    Raises:
        FormulaError: With the position, what is wrong and what was probably meant.
    """
    line = plain_line(text)
    lead = len(line) - len(line.lstrip())
    return _Reader(line, lead, known).node(_expression(line.strip(), lead), depth=1)


def _expression(line: str, lead: int) -> ast.expr:
    try:
        return ast.parse(line, mode="eval").body
    except SyntaxError as error:
        # Python counts from 1, and says 0 where the text ends too early.
        offset, what = (error.offset, error.msg) if error.offset else (len(line) + 1, "it ends where a value belongs")
        raise FormulaError(
            f"the formula is not an expression at character {lead + offset}: {what}",
            fix="write one arithmetic expression, for example `ctr * log1p(duration_seconds)`",
            path="/formula",
        ) from None
    except (RecursionError, MemoryError):  # how Python's parser refuses what is nested too deep for it
        raise too_deep() from None
    except ValueError as error:  # lone surrogates, on their way to UTF-8
        raise FormulaError(f"the formula cannot be read: {error}", fix="use plain text", path="/formula") from None


class _Reader:
    """Copies Python's tree into the language's own, node by node, and refuses the rest."""

    def __init__(self, line: str, lead: int, known: Collection[str] | None) -> None:
        self._known = known
        self._lead = lead
        self._bytes = line.strip().encode()

    def node(self, node: ast.expr, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise too_deep(self._position(node))
        if isinstance(node, ast.Constant):
            return self._number(node)
        if isinstance(node, ast.Name):
            return self._variable(node)
        if isinstance(node, ast.BinOp):
            return self._binary(node, depth)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            operand = self.node(node.operand, depth + 1)
            return operand if isinstance(node.op, ast.UAdd) else Negative(operand, self._position(node))
        if isinstance(node, ast.Compare):
            return self._compare(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        what, fix = _REFUSED.get(type(node), (f"`{type(node).__name__}`", "write arithmetic alone"))
        raise refused(self._position(node), f"{what} is not part of the formula language", fix=fix)

    def _position(self, node: ast.expr) -> int:
        """Give the place in the text as written; Python counts the bytes of UTF-8."""
        return self._lead + len(self._bytes[: node.col_offset].decode()) + 1

    def _number(self, node: ast.Constant) -> Number:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise refused(self._position(node), f"{node.value!r} is not a number")
        try:
            value = float(node.value)
        except OverflowError:
            value = np.inf
        if not np.isfinite(value):
            raise refused(self._position(node), "the number is too large", fix="write a number below 1e308")
        return Number(value, self._position(node))

    def _variable(self, node: ast.Name) -> Variable:
        name, position = node.id, self._position(node)
        if self._known is None or name in self._known:
            return Variable(name, position)
        if name in FUNCTIONS:
            raise refused(position, f"{name!r} is a function", fix=f"give it arguments: {name}(…)")
        known = f"known names: {', '.join(sorted(self._known))}"
        raise refused(position, f"unknown name {name!r}", fix=nearest(name, self._known, otherwise=known))

    def _binary(self, node: ast.BinOp, depth: int) -> Binary:
        operator = _BINARY.get(type(node.op))
        if operator is None:
            name = type(node.op).__name__
            raise refused(self._position(node), f"the operator {name} is not part of the formula language")
        left, right = self.node(node.left, depth + 1), self.node(node.right, depth + 1)
        return Binary(operator, left, right, self._position(node))

    def _compare(self, node: ast.Compare, depth: int) -> Binary:
        operator = _COMPARE.get(type(node.ops[0]))
        if len(node.ops) != 1 or operator is None:
            raise refused(
                self._position(node),
                "only one comparison at a time: < <= > >= == !=",
                fix="multiply comparisons where all must hold: (a < b) * (b < c)",
            )
        left, right = self.node(node.left, depth + 1), self.node(node.comparators[0], depth + 1)
        return Binary(operator, left, right, self._position(node))

    def _call(self, node: ast.Call, depth: int) -> Call:
        position = self._position(node)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        function = FUNCTIONS.get(name)
        if function is None:
            every = f"functions are: {', '.join(FUNCTIONS)}"
            if not name:
                raise refused(position, "only plain functions can be called", fix=every)
            fix = nearest(name, FUNCTIONS, otherwise=every)
            raise refused(position, f"{name!r} is not a function of the formula language", fix=fix)
        if node.keywords or not function.fewest <= len(node.args) <= function.most:
            given = len(node.args) + len(node.keywords)
            what = f"{name} takes {function.arity()} arguments, this one has {given}"
            raise refused(position, what, fix=f"write {name}({', '.join('abcdefgh'[: function.fewest])})")
        return Call(name, tuple(self.node(argument, depth + 1) for argument in node.args), position)
