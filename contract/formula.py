"""The formula language: parsed once by Python's ``ast`` against a whitelist, run vectorised, never evaluated.

A formula is one expression over variables (heads, number fields, weights): ``+ - * / **``, comparisons, and the
functions of :data:`FUNCTIONS`. Listwise functions (``rank zscore minmax softmax``) look at those candidates of one
request that have a finite value; the others get NaN. Arithmetic is float64 and follows IEEE 754: ``1 / 0`` is infinite,
``log(-1)`` is NaN; what becomes of such scores is the profile's policy, not the formula's.
"""

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.errors import FormulaError

__all__ = ["FUNCTIONS", "MAX_DEPTH", "MAX_LENGTH", "Formula", "compile_formula"]

MAX_LENGTH = 2_000
MAX_DEPTH = 50

Values = NDArray[np.float64]
_Step = Callable[[Mapping[str, Any]], Any]


def _rank(x: Values) -> Values:
    """Share of the request's candidates that x beats; ties get their mean; 1 is the best of a list."""
    if len(x) < 2:
        return np.ones_like(x)
    _, group, counts = np.unique(x, return_inverse=True, return_counts=True)
    mean_position = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(mean_position[group] / (len(x) - 1))


def _zscore(x: Values) -> Values:
    if np.min(x) == np.max(x):  # rounding gives equal values a standard deviation above 0
        return np.zeros_like(x)
    return np.asarray((x - np.mean(x)) / np.std(x))


def _minmax(x: Values) -> Values:
    low, high = np.min(x), np.max(x)
    return np.asarray((x - low) / (high - low)) if high > low else np.zeros_like(x)


def _softmax(x: Values) -> Values:
    weights = np.exp(x - np.max(x))
    return np.asarray(weights / np.sum(weights))


def _over_finite(function: Callable[[Values], Values], x: Values) -> Values:
    """Apply a listwise function to the finite values alone; the other candidates get NaN."""
    finite = np.isfinite(x)
    out = np.full(x.shape, np.nan)
    if finite.any():
        out[finite] = function(x[finite])
    return out


def _sigmoid(x: Values) -> Values:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "log": (np.log, 1, 1),
    "log1p": (np.log1p, 1, 1),
    "exp": (np.exp, 1, 1),
    "sqrt": (np.sqrt, 1, 1),
    "abs": (np.abs, 1, 1),
    "pow": (np.power, 2, 2),
    "min": (lambda *xs: np.minimum.reduce(np.broadcast_arrays(*xs)), 2, 8),
    "max": (lambda *xs: np.maximum.reduce(np.broadcast_arrays(*xs)), 2, 8),
    "clip": (np.clip, 3, 3),
    "sigmoid": (_sigmoid, 1, 1),
    "where": (np.where, 3, 3),
    "rank": (_rank, 1, 1),
    "zscore": (_zscore, 1, 1),
    "minmax": (_minmax, 1, 1),
    "softmax": (_softmax, 1, 1),
}
"""Name to (implementation, fewest arguments, most arguments)."""

_LISTWISE = {"rank", "zscore", "minmax", "softmax"}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.Pow: np.power,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


@dataclass(frozen=True, kw_only=True)
class Formula:
    """A compiled formula.

    Args:
        text: As written.
        variables: The names that it reads, weights included.
    """

    text: str
    variables: frozenset[str]
    _run: _Step

    def __call__(self, values: Mapping[str, Any], size: int) -> Values:
        """Score *size* candidates of one request.

        Args:
            values: Variable name to a float64 array ``[size]`` or one number.
            size: Number of candidates; a formula of constants alone is spread over them.
        """
        with np.errstate(all="ignore"):
            scores = np.asarray(self._run(_Spread(values, size)), dtype=np.float64)
        return np.broadcast_to(scores, (size,)).copy()


class _Spread(dict[str, Any]):
    """The variables of one run; numbers and arrays as float64, and the list's size for listwise functions."""

    def __init__(self, values: Mapping[str, Any], size: int) -> None:
        super().__init__({name: np.asarray(value, dtype=np.float64) for name, value in values.items()})
        self.size = size


def compile_formula(text: str, known: Mapping[str, str] | frozenset[str]) -> Formula:
    """Compile a formula.

    Args:
        text: One expression.
        known: The names that it may read.

    Raises:
        FormulaError: With the position, what is wrong and what was probably meant.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            f"the formula has {len(text)} characters", fix=f"shorten it to {MAX_LENGTH}", path="/formula"
        )
    compiler = _Compiler(frozenset(known))
    step = compiler.compile(_parse(text), depth=1)
    return Formula(text=text, variables=frozenset(compiler.read), _run=step)


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise FormulaError(
            f"the formula is not an expression at character {error.offset or 1}: {error.msg}",
            fix="write one arithmetic expression, for example `ctr * log1p(duration_seconds)`",
            path="/formula",
        ) from None
    except (RecursionError, MemoryError):
        raise _too_deep() from None
    except ValueError as error:  # null bytes, and numbers of thousands of digits
        raise FormulaError(f"the formula cannot be read: {error}", fix="use plain text", path="/formula") from None


def _too_deep() -> FormulaError:
    return FormulaError(f"the formula is nested more than {MAX_DEPTH} levels deep", fix="flatten it", path="/formula")


class _Compiler:
    """Turns the syntax tree into nested closures, checking every node against the whitelist."""

    def __init__(self, known: frozenset[str]) -> None:
        self.known = known
        self.read: set[str] = set()

    def compile(self, node: ast.expr, depth: int) -> _Step:
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._variable(node)
        if isinstance(node, ast.BinOp):
            return self._binary(node, depth)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return self._unary(node, depth)
        if isinstance(node, ast.Compare):
            return self._compare(node, depth)
        if isinstance(node, ast.Call):
            return self._call(node, depth)
        raise _refused(node, f"{_described(node)} is not part of the formula language")

    def _constant(self, node: ast.Constant) -> _Step:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise _refused(node, f"{node.value!r} is not a number")
        try:
            value = np.float64(node.value)
        except OverflowError:
            raise _refused(node, "the number is too large") from None
        return lambda _: value

    def _variable(self, node: ast.Name) -> _Step:
        name = node.id
        if name not in self.known:
            near = difflib.get_close_matches(name, self.known, n=1)
            raise _refused(
                node,
                f"unknown name {name!r}",
                fix=f"did you mean {near[0]!r}?" if near else f"known names: {', '.join(sorted(self.known))}",
            )
        self.read.add(name)
        return lambda values: values[name]

    def _binary(self, node: ast.BinOp, depth: int) -> _Step:
        apply = _BINARY.get(type(node.op))
        if apply is None:
            raise _refused(node, f"the operator {type(node.op).__name__} is not part of the formula language")
        left, right = self.compile(node.left, depth + 1), self.compile(node.right, depth + 1)
        return lambda values: apply(left(values), right(values))

    def _unary(self, node: ast.UnaryOp, depth: int) -> _Step:
        operand = self.compile(node.operand, depth + 1)
        return operand if isinstance(node.op, ast.UAdd) else lambda values: np.negative(operand(values))

    def _compare(self, node: ast.Compare, depth: int) -> _Step:
        apply = _COMPARE.get(type(node.ops[0]))
        if len(node.ops) != 1 or apply is None:
            raise _refused(node, "only one comparison at a time: < <= > >= == !=")
        left, right = self.compile(node.left, depth + 1), self.compile(node.comparators[0], depth + 1)
        # A float, not a bool: NumPy refuses to subtract or negate booleans.
        return lambda values: np.asarray(apply(left(values), right(values)), dtype=np.float64)

    def _call(self, node: ast.Call, depth: int) -> _Step:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise _refused(
                node,
                f"{name!r} is not a function of the formula language" if name else "only plain functions can be called",
                fix=f"functions are: {', '.join(FUNCTIONS)}",
            )
        function, fewest, most = FUNCTIONS[name]
        if node.keywords or not fewest <= len(node.args) <= most:
            raise _refused(node, f"{name} takes {fewest if fewest == most else f'{fewest} to {most}'} arguments")
        arguments = [self.compile(argument, depth + 1) for argument in node.args]
        if name in _LISTWISE:
            return lambda values: _over_finite(function, _as_list(arguments[0](values), values))
        if name == "where":
            return lambda values: np.where(arguments[0](values) != 0, arguments[1](values), arguments[2](values))
        return lambda values: function(*(argument(values) for argument in arguments))


def _as_list(value: Any, values: Mapping[str, Any]) -> Values:
    size = values.size if isinstance(values, _Spread) else 1
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (size,))


def _refused(node: ast.expr, what: str, *, fix: str = "") -> FormulaError:
    return FormulaError(
        f"at character {node.col_offset + 1}: {what}",
        fix=fix or "use numbers, names, + - * / **, comparisons and the listed functions",
        path="/formula",
    )


def _described(node: ast.expr) -> str:
    known: dict[type[ast.expr], str] = {
        ast.Attribute: "reading an attribute",
        ast.Subscript: "indexing",
        ast.Lambda: "a lambda",
        ast.BoolOp: "`and`/`or`",
        ast.IfExp: "`if … else` (write where(condition, a, b))",
    }
    return known.get(type(node), type(node).__name__)
